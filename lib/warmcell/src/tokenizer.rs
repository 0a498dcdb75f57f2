//! `AutoTokenizer` and what it encodes to. The vocabulary stays with the models; a handle here knows
//! its name and its identity.

use std::{fmt, ops::Deref};

use ::display::RichDisplay;
use serde::{Serialize, Serializer};
use wire::{
    FailureKind,
    host::{Request, Response},
    mime::Bundle,
    model::{ModelSource, TokenizerInfo},
    text::{Encoding, Token},
};

use crate::{
    Error, Result,
    backend::{run, unexpected},
    rich::shows_as,
};

/// Loads tokenizers by the name of their repository.
#[derive(Debug)]
pub struct AutoTokenizer;

impl AutoTokenizer {
    /// The tokenizer of a repository on the hub, of a folder, or of a `.gguf` file.
    ///
    /// # Errors
    /// The repository is missing, gated or not reached, or holds no tokenizer.
    pub fn from_pretrained(name: impl Into<String>) -> Result<Tokenizer> {
        Self::builder(name).load()
    }

    /// As [`Self::from_pretrained`], with options.
    pub fn builder(name: impl Into<String>) -> TokenizerBuilder {
        TokenizerBuilder {
            source: crate::model::source(name),
        }
    }
}

/// Which tokenizer to load.
#[derive(Clone, Debug)]
#[must_use = "nothing is loaded before `load()`"]
pub struct TokenizerBuilder {
    source: ModelSource,
}

impl TokenizerBuilder {
    /// Branch, tag or commit; `main` when not given.
    pub fn revision(mut self, revision: impl Into<String>) -> Self {
        self.source.revision = Some(revision.into());
        self
    }

    /// The GGUF file of the repository whose vocabulary it is.
    pub fn gguf_file(mut self, file: impl Into<String>) -> Self {
        self.source.gguf_file = Some(file.into());
        self
    }

    /// Use only what is on this machine.
    pub fn local_files_only(mut self) -> Self {
        self.source.local_files_only = true;
        self
    }

    /// Loads it, or finds it loaded.
    ///
    /// # Errors
    /// As [`AutoTokenizer::from_pretrained`].
    pub fn load(self) -> Result<Tokenizer> {
        Tokenizer::load(self.source)
    }
}

/// What `encode_with` takes beyond the text.
#[derive(Clone, Copy, Debug)]
pub struct EncodeOptions {
    /// Add what the tokenizer adds around a text (`<s>`, `[CLS]`). On by default.
    pub add_special_tokens: bool,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self {
            add_special_tokens: true,
        }
    }
}

/// What `decode_with` takes beyond the tokens.
#[derive(Clone, Copy, Debug, Default)]
pub struct DecodeOptions {
    /// Leave special tokens out. Off by default, as in transformers.
    pub skip_special_tokens: bool,
}

/// A loaded tokenizer.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    pub(crate) source: ModelSource,
    info: TokenizerInfo,
}

shows_as!(Tokenizer, info);

impl Tokenizer {
    pub(crate) fn load(source: ModelSource) -> Result<Self> {
        match run(&Request::LoadTokenizer(source.clone()))? {
            Response::Tokenizer(info) => Ok(Self { source, info }),
            other => Err(unexpected(&other)),
        }
    }

    /// Cuts a text into tokens, with the special tokens that the tokenizer adds.
    ///
    /// # Errors
    /// The model host ended or the request was interrupted.
    pub fn encode(&self, text: &str) -> Result<Tokens> {
        self.encode_with(text, EncodeOptions::default())
    }

    /// As [`Self::encode`], with options.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_with(&self, text: &str, options: EncodeOptions) -> Result<Tokens> {
        let request = Request::Encode {
            tokenizer: self.source.clone(),
            texts: vec![text.to_owned()],
            add_special_tokens: options.add_special_tokens,
        };
        match run(&request)? {
            Response::Encodings(mut encodings) if encodings.len() == 1 => {
                Ok(Tokens::new(encodings.remove(0)))
            }
            other => Err(unexpected(&other)),
        }
    }

    /// The text that tokens stand for, special tokens included.
    ///
    /// # Errors
    /// The tokens are another tokenizer's, or an id is not in the vocabulary.
    pub fn decode(&self, tokens: &(impl TokenIds + ?Sized)) -> Result<String> {
        self.decode_with(tokens, DecodeOptions::default())
    }

    /// As [`Self::decode`], with options.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_with(
        &self,
        tokens: &(impl TokenIds + ?Sized),
        options: DecodeOptions,
    ) -> Result<String> {
        self.check_vocabulary(tokens.fingerprint())?;
        let request = Request::Decode {
            tokenizer: self.source.clone(),
            sequences: vec![tokens.token_ids().to_vec()],
            skip_special_tokens: options.skip_special_tokens,
        };
        match run(&request)? {
            Response::Texts(mut texts) if texts.len() == 1 => Ok(texts.remove(0)),
            other => Err(unexpected(&other)),
        }
    }

    /// What is known of it: sizes and special tokens.
    pub fn info(&self) -> &TokenizerInfo {
        &self.info
    }

    /// Number of tokens, added ones included.
    pub fn vocab_size(&self) -> usize {
        self.info.vocab_size as usize
    }

    /// Fails for tokens that mean something else in this vocabulary.
    fn check_vocabulary(&self, fingerprint: Option<&str>) -> Result<()> {
        if fingerprint.is_none_or(|theirs| theirs == self.info.fingerprint) {
            return Ok(());
        }
        let message = format!(
            "these tokens were made by another tokenizer than `{}`",
            self.info.name
        );
        Err(Error::new(FailureKind::InvalidArgument, message)
            .with_hint("decode them with the tokenizer that encoded them, or pass the bare ids"))
    }
}

impl fmt::Display for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({}, {} tokens)",
            self.info.name, self.info.model, self.info.vocab_size
        )
    }
}

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
