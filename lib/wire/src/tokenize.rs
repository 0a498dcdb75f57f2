//! What is asked of a tokenizer and what it answers, under the names that transformers has. Texts
//! with their tokens for display are in [`crate::text`].

use serde::{Deserialize, Serialize};

use crate::{model::ModelSource, packed, text::Encoding};

/// A tokenizer as a handle knows it: which one, and what the handle's owner added to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TokenizerSpec {
    /// Where its files come from.
    pub source: ModelSource,
    /// Tokens of `add_tokens`, in the order they were added.
    pub added: Vec<NewToken>,
    /// Identity of the vocabulary that the handle was given, the added tokens left out. Files that
    /// changed since are an error, not other ids.
    pub fingerprint: Option<String>,
}

impl From<ModelSource> for TokenizerSpec {
    fn from(source: ModelSource) -> Self {
        Self {
            source,
            added: Vec::new(),
            fingerprint: None,
        }
    }
}

/// A token that is found in a text before anything is cut: transformers' `AddedToken`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the fields of `AddedToken`, each its own question"
)]
pub struct NewToken {
    /// Its text.
    pub content: String,
    /// Whether it is left out with `skip_special_tokens`.
    pub special: bool,
    /// Found only where no letter or digit touches it.
    pub single_word: bool,
    /// Takes the blanks before it.
    pub lstrip: bool,
    /// Takes the blanks after it.
    pub rstrip: bool,
    /// Searched in the normalised text; ordinary tokens are, special ones are not, when not given.
    pub normalized: Option<bool>,
}

impl NewToken {
    /// An ordinary token, as of `tokenizer.add_tokens("…")`.
    pub fn new(content: impl Into<String>) -> Self {
        Self {
            content: content.into(),
            special: false,
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: None,
        }
    }

    /// A special token, as of `add_tokens(…, special_tokens=True)`.
    pub fn special(content: impl Into<String>) -> Self {
        Self {
            special: true,
            ..Self::new(content)
        }
    }
}

impl From<&str> for NewToken {
    fn from(content: &str) -> Self {
        Self::new(content)
    }
}

impl From<String> for NewToken {
    fn from(content: String) -> Self {
        Self::new(content)
    }
}

/// One input: a text, or two that belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextInput {
    /// The text, or the first of two.
    pub text: String,
    /// The second text.
    pub pair: Option<String>,
}

impl From<&str> for TextInput {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<String> for TextInput {
    fn from(text: String) -> Self {
        Self { text, pair: None }
    }
}

impl From<&String> for TextInput {
    fn from(text: &String) -> Self {
        text.clone().into()
    }
}

impl<A: Into<String>, B: Into<String>> From<(A, B)> for TextInput {
    fn from((text, pair): (A, B)) -> Self {
        Self {
            text: text.into(),
            pair: Some(pair.into()),
        }
    }
}

/// A side of a sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Side {
    /// Before the first token.
    Left,
    /// After the last token.
    #[default]
    Right,
}

/// How sequences are made equally long: transformers' `padding`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Padding {
    /// Not at all.
    #[default]
    DoNotPad,
    /// To the longest of the batch; `padding=True`.
    Longest,
    /// To `max_length`, or to the longest that the model takes.
    MaxLength,
}

/// How a sequence that is too long is cut: transformers' `truncation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Truncation {
    /// Not at all; or as `LongestFirst` where a `max_length` is given without padding.
    #[default]
    DoNotTruncate,
    /// Token by token from the longer text; `truncation=True`.
    LongestFirst,
    /// Only the first text.
    OnlyFirst,
    /// Only the second text.
    OnlySecond,
}

/// What encoding takes beyond the texts: the arguments of calling a tokenizer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the arguments of a tokenizer's call, each its own question"
)]
pub struct EncodeOptions {
    /// Add what the tokenizer adds around a text (`<s>`, `[CLS]`). On by default.
    pub add_special_tokens: bool,
    /// How sequences are made equally long.
    pub padding: Padding,
    /// How a sequence that is too long is cut.
    pub truncation: Truncation,
    /// Longest sequence, special tokens included; that of the model when not given.
    pub max_length: Option<u32>,
    /// Tokens that a window of `return_overflowing_tokens` shares with the one before.
    pub stride: u32,
    /// Pad to a multiple of this.
    pub pad_to_multiple_of: Option<u32>,
    /// Where padding goes; the tokenizer's own side when not given.
    pub padding_side: Option<Side>,
    /// The token to pad with; the tokenizer's own when not given.
    pub pad_token: Option<String>,
    /// What truncation cuts off comes as further rows.
    pub return_overflowing_tokens: bool,
    /// Cut the text of special tokens like any other text.
    pub split_special_tokens: bool,
    /// The texts are of the target language: transformers' `text_target`.
    pub text_target: bool,
    /// What stands behind a gap comes before what stands in front: `CodeLlama`'s infilling alone.
    pub suffix_first: bool,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self {
            add_special_tokens: true,
            padding: Padding::default(),
            truncation: Truncation::default(),
            max_length: None,
            stride: 0,
            pad_to_multiple_of: None,
            padding_side: None,
            pad_token: None,
            return_overflowing_tokens: false,
            split_special_tokens: false,
            text_target: false,
            suffix_first: false,
        }
    }
}

/// What decoding takes beyond the ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DecodeOptions {
    /// Leave special tokens out. Off by default, as in transformers.
    pub skip_special_tokens: bool,
    /// Take the blanks before punctuation away; as the tokenizer's configuration says when not given.
    pub clean_up_tokenization_spaces: Option<bool>,
}

/// One encoded sequence: a row of transformers' `BatchEncoding`. All lists are equally long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncodedRow {
    /// Which input it is of: `overflow_to_sample_mapping`.
    pub sample: u32,
    /// Ids.
    #[serde(with = "packed")]
    pub input_ids: Vec<u32>,
    /// 0 for the first text, 1 for the second, as the tokenizer's template says.
    #[serde(with = "packed")]
    pub token_type_ids: Vec<u32>,
    /// 1 for what is to be read, 0 for padding.
    #[serde(with = "packed")]
    pub attention_mask: Vec<u32>,
    /// 1 for what the tokenizer added.
    #[serde(with = "packed")]
    pub special_tokens_mask: Vec<u32>,
    /// Where each token begins in its text, in characters.
    #[serde(with = "packed")]
    pub char_starts: Vec<u32>,
    /// Where it ends.
    #[serde(with = "packed")]
    pub char_ends: Vec<u32>,
    /// Where each token begins in its text, in bytes.
    #[serde(with = "packed")]
    pub byte_starts: Vec<u32>,
    /// Where it ends.
    #[serde(with = "packed")]
    pub byte_ends: Vec<u32>,
}

/// Encoded sequences: transformers' `BatchEncoding`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchEncoding {
    /// The sequences, those cut off an input right behind it.
    pub rows: Vec<EncodedRow>,
    /// Identity of the vocabulary the ids belong to.
    pub fingerprint: String,
}

/// How far a streamed text is; empty at its beginning. The streamer's own, to be handed back as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamState {
    /// Ids since the last line break.
    #[serde(with = "packed")]
    pub pending: Vec<u32>,
    /// Characters of their text that were given out.
    pub printed: u32,
}

/// What can be asked of a tokenizer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum TokenizerCall {
    /// What is known of it. Answered by [`TokenizerAnswer::Info`].
    Info,
    /// Encode, for computing. Answered by [`TokenizerAnswer::Batch`].
    Encode {
        /// The texts.
        inputs: Vec<TextInput>,
        /// How.
        options: EncodeOptions,
    },
    /// Encode, for looking at: without padding, and with what each token is.
    /// Answered by [`TokenizerAnswer::Encodings`].
    Tokens {
        /// The texts.
        inputs: Vec<TextInput>,
        /// How.
        options: EncodeOptions,
    },
    /// Decode sequences of ids. Answered by [`TokenizerAnswer::Texts`].
    Decode {
        /// The sequences.
        sequences: Vec<Ids>,
        /// How.
        options: DecodeOptions,
    },
    /// Decode a sequence id by id, each to the text that is complete with it.
    /// Answered by [`TokenizerAnswer::Texts`].
    DecodeStream {
        /// The sequence.
        ids: Ids,
        /// How.
        options: DecodeOptions,
    },
    /// The text that becomes printable with further ids, or at the end with none: transformers'
    /// `TextStreamer`. Answered by [`TokenizerAnswer::Streamed`].
    Stream {
        /// How far the text is.
        state: StreamState,
        /// The new ids; none ends it.
        ids: Option<Ids>,
        /// How.
        options: DecodeOptions,
    },
    /// Spellings of ids. Answered by [`TokenizerAnswer::Pieces`].
    IdsToTokens {
        /// The ids.
        ids: Ids,
        /// Leave special tokens out.
        skip_special_tokens: bool,
    },
    /// Ids of spellings; the unknown token's for what is not in the vocabulary. Answered by
    /// [`TokenizerAnswer::Ids`].
    TokensToIds(Vec<String>),
    /// The vocabulary by id, or the added tokens alone. Answered by [`TokenizerAnswer::Vocabulary`].
    Vocabulary {
        /// Only tokens that were added to the model's own.
        added_only: bool,
    },
    /// Write its files into a folder. Answered by [`TokenizerAnswer::Saved`].
    Save {
        /// The folder, absolute; made when it is not there.
        folder: String,
    },
}

/// A sequence of ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids(#[serde(with = "packed")] pub Vec<u32>);

/// What a tokenizer answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum TokenizerAnswer {
    /// What is known of it.
    Info(Box<crate::model::TokenizerInfo>),
    /// Encoded sequences.
    Batch(BatchEncoding),
    /// Encoded texts with their tokens, in order.
    Encodings(Vec<Encoding>),
    /// Decoded texts, in order.
    Texts(Vec<String>),
    /// What became printable, and how far the text is now.
    Streamed {
        /// The text to print.
        text: String,
        /// To be handed back with the next ids.
        state: StreamState,
    },
    /// Spellings, in order; `None` for an id that is not in the vocabulary.
    Pieces(Vec<Option<String>>),
    /// Ids, in order; `None` for what is not in a vocabulary without an unknown token.
    Ids(Vec<Option<u32>>),
    /// Tokens with their ids, in the order of the ids.
    Vocabulary(Vec<(String, u32)>),
    /// Paths of the files that were written.
    Saved(Vec<String>),
}
