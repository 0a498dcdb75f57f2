//! When a sequence ends: transformers' `stopping_criteria.py`.

use std::time::Instant;

use wire::{Failure, generate::FinishReason, tokenize::DecodeOptions};

use super::Settings;
use crate::tokenizer::Tokenizer;

/// Tokens of no text of their own that may stand among those of a stop string.
const SILENT_TOKENS: usize = 16;

/// What ends the sequences of a request.
pub struct Stopping<'a> {
    eos: &'a [u32],
    stop_strings: StopStrings<'a>,
    max_length: usize,
    deadline: Option<Instant>,
}

impl<'a> Stopping<'a> {
    /// What settings say, for a request that came at `started`.
    pub fn new(settings: &'a Settings, tokenizer: &'a Tokenizer, started: Instant) -> Self {
        Self {
            eos: &settings.eos,
            stop_strings: StopStrings::new(tokenizer, &settings.stop_strings),
            max_length: settings.max_length,
            deadline: settings.max_time.map(|time| started + time),
        }
    }

    /// Whether a sequence, the prompt included, ends with its last token.
    pub fn check(&self, ids: &[u32]) -> Result<Option<FinishReason>, Failure> {
        Ok(if ids.last().is_some_and(|last| self.eos.contains(last)) {
            Some(FinishReason::EndOfSequence)
        } else if self.stop_strings.are_completed(ids)? {
            Some(FinishReason::StopString)
        } else if ids.len() >= self.max_length {
            Some(FinishReason::Length)
        } else if self.deadline.is_some_and(|time| Instant::now() > time) {
            Some(FinishReason::Time)
        } else {
            None
        })
    }
}

/// Texts that end a sequence: `StopStringCriteria`.
#[derive(Clone, Copy)]
pub struct StopStrings<'a> {
    tokenizer: &'a Tokenizer,
    texts: &'a [String],
}

impl<'a> StopStrings<'a> {
    /// Texts, in the tokens of a tokenizer.
    pub fn new(tokenizer: &'a Tokenizer, texts: &'a [String]) -> Self {
        Self { tokenizer, texts }
    }

    /// Whether the last token completed one of them. As in transformers the text before it may be
    /// the prompt's, and the token may say more than the string.
    pub fn are_completed(&self, ids: &[u32]) -> Result<bool, Failure> {
        let Some(longest) = self.texts.iter().map(String::len).max() else {
            return Ok(false);
        };
        // A token is at least one byte of text, a special one none.
        let tail = &ids[ids.len().saturating_sub(longest + SILENT_TOKENS)..];
        let Some(before) = tail.len().checked_sub(1).map(|end| &tail[..end]) else {
            return Ok(false);
        };
        let text = self.text(tail)?;
        let before = self.text(before)?;
        let mut stops = self.texts.iter();
        Ok(stops.any(|stop| completed_now(stop, &text, &before)))
    }

    /// The text that stop strings are looked for in: what tokens stand for, blanks where they are.
    fn text(&self, ids: &[u32]) -> Result<String, Failure> {
        let options = DecodeOptions {
            skip_special_tokens: false,
            clean_up_tokenization_spaces: Some(false),
        };
        self.tokenizer.decode_with(ids, options)
    }
}

/// Whether `stop` ends in what `text` has beyond `before`, the text without its last token. A character
/// whose bytes lie in several tokens stands in `before` as U+FFFD, so the two are compared, not their
/// lengths.
fn completed_now(stop: &str, text: &str, before: &str) -> bool {
    let common = text
        .bytes()
        .zip(before.bytes())
        .take_while(|(a, b)| a == b)
        .count();
    !stop.is_empty() && text.rfind(stop).is_some_and(|at| at + stop.len() > common)
}

#[cfg(test)]
mod tests {
    use super::completed_now;

    #[test]
    fn a_stop_string_is_seen_when_its_last_character_spans_tokens() {
        assert!(completed_now("다", "합니다", "합니\u{FFFD}"));
        assert!(completed_now("\n\n", "a\n\nb", "a\n"));
        assert!(
            !completed_now("a", "a b", "a "),
            "completed by an earlier token"
        );
        assert!(!completed_now("", "ab", "a"));
    }
}
