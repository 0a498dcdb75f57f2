//! The iterator of tokens: reads the prompt, then chooses, checks and reads one token after another.

use std::time::Instant;

use wire::{Failure, generate::FinishReason};

use super::{Generator, Settings, processors, sampling::Sampler};
use crate::{Cancel, failures, layers::KvCache};

/// Tokens of a prompt that are read at once: long enough for the matrix products, short enough for
/// an interrupt to be heard.
const PREFILL_CHUNK: usize = 256;

/// The tokens that continue a prompt. Ends after the last one; a cancelled sequence ends early,
/// without an error.
pub struct Tokens<'a> {
    generator: Generator<'a>,
    settings: Settings,
    sampler: Sampler,
    cancel: &'a Cancel,
    cache: KvCache,
    /// The prompt and what was added.
    ids: Vec<u32>,
    prompt_length: usize,
    finish_reason: Option<FinishReason>,
    prefill_seconds: f64,
}

impl<'a> Tokens<'a> {
    /// Prepares to continue `prompt`. Fails on an id that the model does not know.
    pub fn new(
        generator: Generator<'a>,
        prompt: Vec<u32>,
        settings: Settings,
        cancel: &'a Cancel,
    ) -> Result<Self, Failure> {
        let vocab_size = generator.model.sizes().vocab_size;
        if let Some(id) = prompt.iter().find(|&&id| id as usize >= vocab_size) {
            return Err(failures::invalid(format!(
                "the prompt has token {id}, the model knows {vocab_size}"
            ))
            .hint("encode the prompt with the model's own tokenizer"));
        }
        Ok(Self {
            sampler: Sampler::new(settings.sampling.as_ref()),
            settings,
            cancel,
            cache: generator.model.new_cache(),
            generator,
            prompt_length: prompt.len(),
            ids: prompt,
            finish_reason: None,
            prefill_seconds: 0.0,
        })
    }

    /// The tokens that were added so far.
    pub fn added(&self) -> &[u32] {
        &self.ids[self.prompt_length..]
    }

    /// Why the sequence ended, once it has.
    pub fn finish_reason(&self) -> Option<FinishReason> {
        self.finish_reason
    }

    /// Seconds that reading the prompt took.
    pub fn prefill_seconds(&self) -> f64 {
        self.prefill_seconds
    }

    /// Reads what the cache lacks; gives the logits after the last token, or `None` when cancelled.
    fn read(&mut self) -> Result<Option<Vec<f32>>, Failure> {
        let model = self.generator.model;
        loop {
            if self.cancel.is_cancelled() {
                return Ok(None);
            }
            let start = self.cache.len();
            let end = self.ids.len().min(start + PREFILL_CHUNK);
            // (1, tokens, hidden)
            let hidden = model
                .hidden_states(&self.ids[start..end], &mut self.cache)
                .map_err(failures::internal)?;
            if end == self.ids.len() {
                let last = hidden.narrow(1, end - start - 1, 1);
                let logits = last
                    .and_then(|last| model.logits(&last))
                    .and_then(|logits| logits.flatten_all()?.to_vec1::<f32>())
                    .map_err(failures::internal)?;
                return Ok(Some(logits));
            }
        }
    }

    fn advance(&mut self) -> Result<Option<u32>, Failure> {
        let started = Instant::now();
        let first = self.cache.is_empty();
        let Some(mut logits) = self.read()? else {
            self.finish_reason = Some(FinishReason::Cancelled);
            return Ok(None);
        };
        if first {
            self.prefill_seconds = started.elapsed().as_secs_f64();
        }
        processors::process(&mut logits, &self.settings, &self.ids, self.prompt_length);
        let id = self.sampler.choose(&logits);
        self.ids.push(id);
        self.finish_reason = self.ended(id)?;
        Ok(Some(id))
    }

    fn ended(&self, id: u32) -> Result<Option<FinishReason>, Failure> {
        Ok(if self.settings.eos.contains(&id) {
            Some(FinishReason::EndOfSequence)
        } else if self.completes_stop_string()? {
            Some(FinishReason::StopString)
        } else if self.added().len() >= self.settings.max_new_tokens {
            Some(FinishReason::Length)
        } else {
            None
        })
    }

    /// Whether the last token completed a stop string. As in transformers the text before it may be
    /// the prompt's, and the token may say more than the string.
    fn completes_stop_string(&self) -> Result<bool, Failure> {
        let stops = &self.settings.stop_strings;
        let Some(longest) = stops.iter().map(String::len).max() else {
            return Ok(false);
        };
        // A token is at least one byte of text, a special one none: leave some room for those.
        let tail = &self.ids[self.ids.len().saturating_sub(longest + 16)..];
        let tokenizer = self.generator.tokenizer;
        let text = tokenizer.decode(tail, false)?;
        let before = tokenizer.decode(&tail[..tail.len() - 1], false)?;
        Ok(stops.iter().any(|stop| completed_now(stop, &text, &before)))
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

impl Iterator for Tokens<'_> {
    type Item = Result<u32, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finish_reason.is_some() {
            return None;
        }
        self.advance().transpose()
    }
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
