//! What pipelines ask of a tokenizer beyond rows: windows with the words and spans of their tokens, and
//! tokens joined to text.

use tokenizers::{Decoder, Encoding as Raw};
use wire::{
    Failure,
    tokenize::{EncodeOptions, TextInput},
};

use super::{Tokenizer, encode::Offsets};

impl Tokenizer {
    /// One input alone, with what truncation cut off as further windows where
    /// `return_overflowing_tokens` asks for them. Spans are in bytes.
    pub(crate) fn windows(
        &self,
        input: &TextInput,
        options: &EncodeOptions,
    ) -> Result<Vec<Raw>, Failure> {
        let first = self.alone(input, options, Offsets::Trimmed)?.raw;
        Ok(with_windows(first, options))
    }

    /// The same of a text that was split into words before: transformers' `is_split_into_words`. Spans are in
    /// bytes of the words that tokens are of.
    pub(crate) fn windows_of_words(
        &self,
        words: &[String],
        options: &EncodeOptions,
    ) -> Result<Vec<Raw>, Failure> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let first = self
            .inner
            .encode(words, false)
            .map_err(|error| self.failed("encode", error.as_ref()))?;
        let steps = self.steps_behind(Offsets::Trimmed);
        let first = self.finished((first, None), options, steps)?;
        Ok(with_windows(first, options))
    }

    /// Spellings joined as the decoder joins them: `convert_tokens_to_string` of transformers.
    pub(crate) fn tokens_to_string(&self, tokens: Vec<String>) -> Result<String, Failure> {
        match self.inner.get_decoder() {
            Some(decoder) => decoder.decode(tokens),
            None => Ok(tokens.join(" ")),
        }
        .map_err(|error| self.failed("decode", error.as_ref()))
    }

    /// Whether tokens inside words are spelt otherwise than those that begin one, as in `WordPiece`.
    pub(crate) fn marks_continuations(&self) -> bool {
        let prefix = &self.parts.json["model"]["continuing_subword_prefix"];
        prefix.as_str().is_some_and(|prefix| !prefix.is_empty())
    }

    /// Whether the model is told which of two texts a token is of.
    pub(crate) fn has_token_types(&self) -> bool {
        let names = &self.info.model_input_names;
        names.iter().any(|name| name == "token_type_ids")
    }
}

/// A sequence, and what truncation cut off where that is asked for.
fn with_windows(mut first: Raw, options: &EncodeOptions) -> Vec<Raw> {
    let more = first.take_overflowing();
    let mut windows = vec![first];
    if options.return_overflowing_tokens {
        windows.extend(more);
    }
    windows
}
