//! What a text is encoded to: ids that know their vocabulary, with each token's spelling and place.

use std::{fmt, ops::Deref};

use ::display::RichDisplay;
use serde::{Serialize, Serializer};
use wire::{
    mime::Bundle,
    text::{Encoding, Token},
};

/// An encoded text. Reads as a slice of ids; shows as a token table.
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens {
    encoding: Encoding,
    ids: Vec<u32>,
}

impl Tokens {
    pub(crate) fn new(encoding: Encoding) -> Self {
        let ids = encoding.tokens.iter().map(|token| token.id).collect();
        Self { encoding, ids }
    }

    pub(crate) fn into_tokens(self) -> Vec<Token> {
        self.encoding.tokens
    }

    pub(crate) fn into_encoding(self) -> Encoding {
        self.encoding
    }

    /// The ids.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The text that was encoded.
    pub fn text(&self) -> &str {
        &self.encoding.text
    }

    /// The tokens with their spelling and place.
    pub fn tokens(&self) -> &[Token] {
        &self.encoding.tokens
    }

    /// Where each token is in the text, in bytes, end excluded: to cut a `&str` with. The blank before
    /// a word is the word's.
    pub fn byte_offsets(&self) -> Vec<(usize, usize)> {
        let spans = self.encoding.tokens.iter().map(|token| token.bytes);
        spans
            .map(|(start, end)| (start as usize, end as usize))
            .collect()
    }

    /// The same in characters. For transformers' `offset_mapping`, which leaves blanks out where the
    /// tokenizer says so, see [`crate::Row::offset_mapping`].
    pub fn char_offsets(&self) -> Vec<(usize, usize)> {
        let text = &self.encoding.text;
        let mut chars = vec![0; text.len() + 1];
        let mut count = 0;
        for (at, place) in chars.iter_mut().enumerate() {
            *place = count;
            count += usize::from(text.is_char_boundary(at + 1));
        }
        let spans = self.byte_offsets().into_iter();
        spans
            .map(|(start, end)| (chars[start], chars[end]))
            .collect()
    }
}

impl Deref for Tokens {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        &self.ids
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.ids, f)
    }
}

impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.ids, f)
    }
}

impl RichDisplay for Tokens {
    fn bundle(&self) -> Bundle {
        self.encoding.bundle()
    }
}

impl Serialize for Tokens {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.encoding.serialize(serializer)
    }
}

/// What can be decoded: [`Tokens`], or bare ids of an unknown vocabulary.
pub trait TokenIds {
    /// The ids.
    fn token_ids(&self) -> &[u32];

    /// Identity of their vocabulary, where it is known.
    fn fingerprint(&self) -> Option<&str> {
        None
    }
}

impl TokenIds for Tokens {
    fn token_ids(&self) -> &[u32] {
        &self.ids
    }

    fn fingerprint(&self) -> Option<&str> {
        Some(&self.encoding.fingerprint)
    }
}

/// A single id, as in a flat list of ids: a text each.
impl TokenIds for u32 {
    fn token_ids(&self) -> &[u32] {
        std::slice::from_ref(self)
    }
}

impl TokenIds for [u32] {
    fn token_ids(&self) -> &[u32] {
        self
    }
}

impl TokenIds for Vec<u32> {
    fn token_ids(&self) -> &[u32] {
        self
    }
}

impl<const N: usize> TokenIds for [u32; N] {
    fn token_ids(&self) -> &[u32] {
        self
    }
}

impl<T: TokenIds + ?Sized> TokenIds for &T {
    fn token_ids(&self) -> &[u32] {
        (**self).token_ids()
    }

    fn fingerprint(&self) -> Option<&str> {
        (**self).fingerprint()
    }
}
