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
        Ok(if self.cleans(options) {
            clean_up_spaces(&text)
        } else {
            text
        })
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
    /// character, and never what the cleaning of blanks may still change. What stays incomplete comes
    /// with the last.
    pub fn decode_stream(
        &self,
        ids: &[u32],
        options: DecodeOptions,
    ) -> Result<Vec<String>, Failure> {
        let pieces = self.raw_pieces(ids, options.skip_special_tokens)?;
        if !self.cleans(options) {
            return Ok(pieces);
        }
        let mut held = String::new();
        let mut cleaned = Vec::with_capacity(pieces.len());
        for (at, piece) in pieces.iter().enumerate() {
            held += piece;
            let settled = if at + 1 == pieces.len() {
                held.len()
            } else {
                settled(&held)
            };
            let rest = held.split_off(settled);
            cleaned.push(clean_up_spaces(&held));
            held = rest;
        }
        Ok(cleaned)
    }

    /// The pieces before blanks are cleaned.
    fn raw_pieces(&self, ids: &[u32], skip_special_tokens: bool) -> Result<Vec<String>, Failure> {
        let options = DecodeOptions {
            skip_special_tokens,
            clean_up_tokenization_spaces: Some(false),
        };
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

    fn cleans(&self, options: DecodeOptions) -> bool {
        options
            .clean_up_tokenization_spaces
            .unwrap_or(self.parts.clean_up_spaces)
    }
}

/// How much of a text [`clean_up_spaces`] treats the same whatever follows. All that it replaces begins
/// with a blank, and in it only a blank, `'`, `n`, `v` and `r` can be followed by more: a letter where a
/// blank or `'` is before it.
fn settled(text: &str) -> usize {
    let mut end = text.len();
    loop {
        let mut before = text[..end].chars().rev();
        let (last, previous) = (before.next(), before.next());
        let is_open = match last {
            Some(' ' | '\'') => true,
            Some('n' | 'v' | 'r') => matches!(previous, Some(' ' | '\'')),
            _ => false,
        };
        let Some(last) = last.filter(|_| is_open) else {
            return end;
        };
        end -= last.len_utf8();
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Each text of six of these characters, so that patterns meet in every way.
    #[test]
    fn what_is_settled_does_not_change_with_what_follows() {
        let characters = [' ', '\'', 'n', 't', 'v', 'e', 'm', '.'];
        for number in 0..characters.len().pow(6) {
            let mut rest = number;
            let text: String = (0..6)
                .map(|_| {
                    let character = characters[rest % characters.len()];
                    rest /= characters.len();
                    character
                })
                .collect();
            for end in 1..text.len() {
                // The text as it is when no more than this has come.
                let (first, second) = text.split_at(settled(&text[..end]));
                let parts = clean_up_spaces(first) + &clean_up_spaces(second);
                assert_eq!(parts, clean_up_spaces(&text), "{text:?} after {end}");
            }
        }
    }
}
