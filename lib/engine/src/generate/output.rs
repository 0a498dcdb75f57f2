//! What a generation gives: the scores that were asked for on the way, and its sequences in the end.

use wire::{
    Failure,
    array::Array,
    generate::{Details, FinishReason, Generated, Timing},
};

use super::{
    Settings,
    logprobs::{self, Candidates},
};
use crate::tokenizer::Tokenizer;

/// Bytes of arrays that one answer carries at most: what a message may have, less some room.
pub const MOST_BYTES: usize = wire::frame::MAX_FRAME - (56 << 20);

/// Each step's numbers of one sequence, where they are asked for.
#[derive(Clone, Debug, Default)]
pub struct Record {
    scores: Option<Vec<Vec<f32>>>,
    logits: Option<Vec<Vec<f32>>>,
    candidates: Option<Candidates>,
}

impl Record {
    /// An empty record of what settings ask for.
    pub fn new(settings: &Settings) -> Self {
        Self {
            scores: settings.output_scores.then(Vec::new),
            logits: settings.output_logits.then(Vec::new),
            candidates: settings.logprobs.map(Candidates::new),
        }
    }

    /// Whether nothing of a step's logits is recorded.
    pub fn is_off(&self) -> bool {
        self.scores.is_none() && self.logits.is_none() && self.candidates.is_none()
    }

    /// Adds a step's logits, as the model gave them.
    pub fn logits(&mut self, logits: &[f32]) {
        if let Some(rows) = &mut self.logits {
            rows.push(logits.to_vec());
        }
    }

    /// Adds a step's processed logits.
    pub fn scores(&mut self, scores: Vec<f32>) {
        if let Some(rows) = &mut self.scores {
            rows.push(scores);
        }
    }

    /// Adds a step's processed logits, and the token that was chosen by them.
    pub fn choice(&mut self, scores: Vec<f32>, id: u32) {
        if let Some(candidates) = &mut self.candidates {
            candidates.add(&scores, id);
        }
        self.scores(scores);
    }

    /// What was recorded, which is gone from here then.
    pub fn take(&mut self) -> Details {
        let array = |rows: Vec<Vec<f32>>| Array::from_rows(&rows);
        Details {
            scores: self.scores.take().and_then(array),
            logits: self.logits.take().and_then(array),
            logprobs: self.candidates.take().map(Candidates::into_logprobs),
            ..Details::default()
        }
    }
}

/// What was added to one prompt.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// Which prompt.
    pub prompt: usize,
    /// The added tokens.
    pub ids: Vec<u32>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// What was recorded.
    pub details: Details,
}

/// All sequences of a request, and what they took.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Prompt by prompt, the best first.
    pub sequences: Vec<Sequence>,
    /// Seconds that reading the prompts took.
    pub prefill: f64,
    /// Seconds from the request to the first token.
    pub first_token: f64,
}

impl Outcome {
    /// The answer, for these prompts and `seconds` in all.
    pub fn into_generated(
        self,
        prompts: &[Vec<u32>],
        tokenizer: &Tokenizer,
        seconds: f64,
    ) -> Result<Vec<Generated>, Failure> {
        let is_empty = self.sequences.iter().all(|one| one.ids.is_empty());
        let timing = Timing {
            first_token: self.first_token,
            prefill: self.prefill,
            decode: if is_empty {
                0.0
            } else {
                seconds - self.first_token
            },
        };
        let finished = self.sequences.into_iter().map(|mut sequence| {
            let prompt_ids = prompts[sequence.prompt].clone();
            if let Some(logprobs) = &mut sequence.details.logprobs {
                logprobs::write_texts(logprobs, tokenizer, &prompt_ids)?;
            }
            Ok(Generated {
                text: tokenizer.decode(&sequence.ids, true)?,
                prompt_text: tokenizer.decode(&prompt_ids, true)?,
                prompt_ids,
                ids: sequence.ids,
                finish_reason: sequence.finish_reason,
                timing,
                details: sequence.details,
            })
        });
        finished.collect()
    }
}
