//! What a generation gave: one sequence, or several of one or several prompts.

use std::fmt;

use ::display::{Chart, RichDisplay, Sequences};
use serde::{Serialize, Serializer};
use wire::{
    array::Array,
    generate::{Details, FinishReason, Generated},
    mime::Bundle,
};

use crate::Logprobs;

/// What a model added to its prompts: `num_return_sequences` for each, in order, the best first. Never
/// empty; `Display` and what follows are the first's, [`Self::sequences`] has all.
#[derive(Clone, Debug, PartialEq)]
pub struct Generation {
    first: Generated,
    others: Vec<Generated>,
    /// Whether all prompts were conversations: what answers one is Markdown.
    are_answers: bool,
}

impl Generation {
    /// `None` of no sequence.
    pub(crate) fn new(mut sequences: Vec<Generated>, are_answers: bool) -> Option<Self> {
        if sequences.is_empty() {
            return None;
        }
        Some(Self {
            first: sequences.remove(0),
            others: sequences,
            are_answers,
        })
    }

    /// All sequences.
    pub fn sequences(&self) -> impl ExactSizeIterator<Item = &Generated> {
        let count = 1 + self.others.len();
        (0..count).map(|index| match index {
            0 => &self.first,
            _ => &self.others[index - 1],
        })
    }

    /// The texts of all sequences.
    pub fn texts(&self) -> Vec<&str> {
        self.sequences().map(|one| one.text.as_str()).collect()
    }

    /// The added text, without special tokens.
    pub fn text(&self) -> &str {
        &self.first.text
    }

    /// The added tokens, the end-of-sequence token included.
    pub fn ids(&self) -> &[u32] {
        &self.first.ids
    }

    /// The prompt's tokens.
    pub fn prompt_ids(&self) -> &[u32] {
        &self.first.prompt_ids
    }

    /// The prompt's text, without special tokens.
    pub fn prompt_text(&self) -> &str {
        &self.first.prompt_text
    }

    /// Why it ended.
    pub fn finish_reason(&self) -> FinishReason {
        self.first.finish_reason
    }

    /// Processed logits `(tokens, vocabulary)`, with `output_scores`: minus infinity for what was ruled
    /// out.
    pub fn scores(&self) -> Option<&Array> {
        self.first.details.scores.as_ref()
    }

    /// The model's own logits `(tokens, vocabulary)`, with `output_logits`.
    pub fn logits(&self) -> Option<&Array> {
        self.first.details.logits.as_ref()
    }

    /// How likely each token was, with `logprobs`.
    pub fn logprobs(&self) -> Option<Logprobs> {
        let logprobs = self.first.details.logprobs.clone();
        logprobs.map(Logprobs::new)
    }

    /// The probabilities of all sequences over their positions, with `logprobs`: a line each. `None`
    /// without.
    pub fn probability_plot(&self) -> Option<Chart> {
        let logprobs = self
            .sequences()
            .filter_map(|one| one.details.logprobs.as_ref());
        ::display::probability_plot(&logprobs.collect::<Vec<_>>())
    }

    /// Of beam search, transformers' `sequences_scores`: the sum of the logarithms of probabilities over
    /// the length to the power of `length_penalty`.
    pub fn sequence_score(&self) -> Option<f32> {
        self.first.details.score
    }

    /// How it was come by: tokens reused of an earlier turn, guessed ones, beams.
    pub fn details(&self) -> &Details {
        &self.first.details
    }

    /// Seconds from the request to the first token.
    pub fn time_to_first_token(&self) -> f64 {
        self.first.timing.first_token
    }

    /// Tokens of the prompts read a second, without those of an earlier turn; `None` when none was.
    pub fn prefill_tokens_per_second(&self) -> Option<f64> {
        let read: usize = self
            .distinct_prompts()
            .map(|one| {
                one.prompt_ids.len() - (one.details.reused as usize).min(one.prompt_ids.len())
            })
            .sum();
        let seconds = self.first.timing.prefill;
        (read > 0 && seconds > 0.0).then(|| read as f64 / seconds)
    }

    /// Tokens a second after the first, of all sequences; `None` when there is only one.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let tokens: usize = self.sequences().map(|one| one.ids.len()).sum();
        let (after, seconds) = (
            tokens.saturating_sub(self.sequences().len()),
            self.first.timing.decode,
        );
        (after > 0 && seconds > 0.0).then(|| after as f64 / seconds)
    }

    /// One sequence of each prompt; those of one prompt are neighbours.
    fn distinct_prompts(&self) -> impl Iterator<Item = &Generated> {
        let mut before: Option<&[u32]> = None;
        self.sequences().filter(move |one| {
            let is_new = before != Some(one.prompt_ids.as_slice());
            before = Some(&one.prompt_ids);
            is_new
        })
    }

    /// Whether it answers conversations.
    pub(crate) fn are_answers(&self) -> bool {
        self.are_answers
    }

    fn all(&self) -> Vec<Generated> {
        self.sequences().cloned().collect()
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first.text)
    }
}

impl RichDisplay for Generation {
    fn bundle(&self) -> Bundle {
        Sequences {
            all: &self.all(),
            are_answers: self.are_answers,
        }
        .bundle()
    }
}

/// A sequence, or a list of them.
impl Serialize for Generation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.others.is_empty() {
            return self.first.serialize(serializer);
        }
        self.all().serialize(serializer)
    }
}
