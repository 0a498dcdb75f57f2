//! Guesses of the next tokens, which the model then checks all at once: from what followed the same
//! tokens before (`PromptLookupCandidateGenerator` in transformers), or by a smaller model
//! (`AssistedCandidateGenerator`). A guess costs time at worst: only what the model itself would have
//! chosen is kept.

use wire::{Failure, generate::AssistantSchedule};

use super::{
    Generator, Settings,
    processors::{Processors, Prompted, softmax},
    reading::Reader,
    sampling::likeliest,
    settings::{Drafting, Lookup},
};
use crate::{Cancel, failures::invalid, layers::KvCache};

/// What guesses.
pub enum Drafter<'a> {
    /// The sequence itself.
    Lookup(Lookup),
    /// A smaller model.
    Model(Box<DraftModel<'a>>),
}

impl<'a> Drafter<'a> {
    /// What settings ask for; `None` when nothing guesses. Fails when the draft model speaks of other
    /// tokens.
    pub fn new(
        settings: &Settings,
        generator: Generator<'a>,
        assistant: Option<Generator<'a>>,
        cancel: &'a Cancel,
    ) -> Result<Option<Self>, Failure> {
        if let Some(lookup) = settings.lookup {
            return Ok(Some(Self::Lookup(lookup)));
        }
        let Some(assistant) = assistant else {
            return Ok(None);
        };
        check_vocabularies(generator, assistant)?;
        Ok(Some(Self::Model(Box::new(DraftModel {
            reader: Reader {
                seat: assistant.seat,
                cancel,
            },
            cache: assistant.model().new_cache(),
            drafting: settings.drafting,
            tokens: settings.drafting.tokens,
            processors: settings.processors.clone(),
            prompt_length: settings.prompt_length,
        }))))
    }

    /// Takes to heart how many of the last guesses were right.
    pub fn learn(&mut self, guessed: usize, right: usize) {
        match self {
            Self::Lookup(_) => {}
            Self::Model(model) => model.learn(guessed, right),
        }
    }

    /// At most `room` tokens that may follow `ids`.
    pub fn draft(&mut self, ids: &[u32], room: usize) -> Result<Vec<u32>, Failure> {
        match self {
            Self::Lookup(lookup) => Ok(looked_up(ids, *lookup, room)),
            Self::Model(model) => model.draft(ids, room),
        }
    }
}

impl DraftModel<'_> {
    /// `update_candidate_strategy`. The threshold of confidence stays: transformers moves it where
    /// scikit-learn is there, which changes how far it guesses and no text.
    fn learn(&mut self, guessed: usize, right: usize) {
        self.tokens = match self.drafting.schedule {
            AssistantSchedule::Constant => self.tokens,
            AssistantSchedule::Heuristic | AssistantSchedule::HeuristicTransient => {
                if right == guessed {
                    self.tokens + 2
                } else {
                    self.tokens.saturating_sub(1).max(1)
                }
            }
        };
    }
}

fn check_vocabularies(generator: Generator, assistant: Generator) -> Result<(), Failure> {
    let (own, other) = (generator.model().sizes(), assistant.model().sizes());
    let same_tokens = generator.tokenizer.fingerprint() == assistant.tokenizer.fingerprint();
    if own.vocab_size == other.vocab_size && same_tokens {
        return Ok(());
    }
    Err(invalid(format!(
        "the main and the assistant model have different tokenizers: {} tokens and {}",
        own.vocab_size, other.vocab_size
    ))
    .hint("take a smaller model of the same family as `assistant_model`"))
}

/// What followed the longest run of last tokens where it first came before.
fn looked_up(ids: &[u32], lookup: Lookup, room: usize) -> Vec<u32> {
    for size in (1..=lookup.ngram.min(ids.len().saturating_sub(1))).rev() {
        let end = &ids[ids.len() - size..];
        // The run at the end itself has nothing after it.
        let places = ids[..ids.len() - 1].windows(size);
        if let Some(place) = places.into_iter().position(|run| run == end) {
            let after = &ids[place + size..];
            return after[..after.len().min(lookup.tokens).min(room)].to_vec();
        }
    }
    Vec::new()
}

/// A model that guesses greedily, as far as it is sure of itself.
pub struct DraftModel<'a> {
    reader: Reader<'a>,
    cache: KvCache,
    drafting: Drafting,
    /// Most tokens of the next guess.
    tokens: usize,
    processors: Processors,
    prompt_length: usize,
}

impl DraftModel<'_> {
    fn draft(&mut self, ids: &[u32], room: usize) -> Result<Vec<u32>, Failure> {
        let context = self.reader.seat.model().sizes().context_length;
        let room = room.min(self.tokens).min(context.saturating_sub(ids.len()));
        // What it read of guesses that were wrong.
        let shared = self.cache.shared_prefix(ids).min(ids.len() - 1);
        self.cache.truncate(shared);
        let mut sequence = ids.to_vec();
        while sequence.len() < ids.len() + room {
            let Some(logits) = self
                .reader
                .read(&[sequence.as_slice()], &mut self.cache, 1)?
            else {
                break;
            };
            let [row] = logits.as_slice() else {
                break;
            };
            let mut logits = row.last().cloned().unwrap_or_default();
            let prompt = Prompted::alone(&sequence[..self.prompt_length]);
            self.processors.process(&mut logits, &sequence, prompt);
            let id = likeliest(&logits);
            sequence.push(id);
            if softmax(&logits)[id as usize] < self.drafting.confidence {
                break;
            }
        }
        Ok(sequence.split_off(ids.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_run_is_looked_up_where_it_first_came() {
        let lookup = Lookup {
            tokens: 3,
            ngram: 2,
        };
        let ids = [1, 2, 9, 8, 7, 2, 5, 1, 2];
        assert_eq!(looked_up(&ids, lookup, 10), [9, 8, 7], "after 1, 2");
        assert_eq!(looked_up(&ids, lookup, 1), [9]);
        let ids = [4, 2, 5, 3, 2];
        assert_eq!(looked_up(&ids, lookup, 10), [5, 3, 2], "after 2 alone");
        assert_eq!(looked_up(&[6, 6], lookup, 10), [6]);
        assert_eq!(looked_up(&[1, 2, 3], lookup, 10), [0_u32; 0]);
    }
}
