//! Tokens to text: whole sequences, and token by token as they come.

use tokenizers::{Decoder, Model};
use wire::{Failure, tokenize::DecodeOptions};

use super::Tokenizer;

impl Tokenizer {
    /// Decodes ids. Ids past the vocabulary decode to nothing, as in transformers.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, Failure> {
        self.decode_with(
            ids,
            DecodeOptions {
                skip_special_tokens,
                ..Default::default()
            },
        )
    }

    /// As [`Self::decode`], with options.
    pub fn decode_with(&self, ids: &[u32], options: DecodeOptions) -> Result<String, Failure> {
        let skip = options.skip_special_tokens;
        let mut text = match &self.parts.python {
            Some(python) => python.decode(self, ids, skip),
            None => self.joined(ids, skip)?,
        };
        if let Some(suffix) = &self.parts.replaces_suffix {
            text.replace(suffix.as_str(), " ")
                .trim()
                .clone_into(&mut text);
        }
        let cleans = options
            .clean_up_tokenization_spaces
            .unwrap_or(self.parts.clean_up_spaces);
        Ok(if cleans { clean_up_spaces(&text) } else { text })
    }

    fn joined(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, Failure> {
        let tokens = ids.iter().filter_map(|&id| match self.added.get(&id) {
            Some((_, true)) if skip_special_tokens => None,
            Some((token, _)) => Some(token.clone()),
            None => self.inner.get_model().id_to_token(id),
        });
        let tokens: Vec<String> = tokens.collect();
        match self.inner.get_decoder() {
            Some(decoder) => decoder.decode(tokens),
            None => Ok(tokens.join(" ")),
        }
        .map_err(|error| self.failed("decode", error.as_ref()))
    }

    /// Decodes ids one by one, each to the text that is complete with it: never a part of a
    /// character. What stays incomplete comes with the last.
    pub fn decode_stream(
        &self,
        ids: &[u32],
        options: DecodeOptions,
    ) -> Result<Vec<String>, Failure> {
        let mut pieces = Vec::with_capacity(ids.len());
        // Decoding from a token that began a piece keeps what its beginning would lose, such as the
        // blank before a word; `shown` is what of that text was given out.
        let (mut from, mut read, mut shown) = (0, 0, String::new());
        for end in 1..=ids.len() {
            let text = self.decode_with(&ids[from..end], options)?;
            let is_last = end == ids.len();
            if text.len() > shown.len() && (is_last || !text.ends_with('\u{FFFD}')) {
                pieces.push(text.get(shown.len()..).unwrap_or_default().to_owned());
                from = read;
                read = end;
                shown = self.decode_with(&ids[from..end], options)?;
            } else {
                pieces.push(String::new());
            }
        }
        Ok(pieces)
    }
}

/// `clean_up_tokenization` of transformers.
fn clean_up_spaces(text: &str) -> String {
    let pairs = [
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    ];
    pairs
        .into_iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}
