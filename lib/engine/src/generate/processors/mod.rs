//! What happens to logits before a token is chosen: transformers' `logits_process.py` in the order of
//! `_get_logits_processor` (4.57), with its edge cases. All work in place on one position's logits in
//! f32. Which of them run is decided once a request, here; what each does is in the files beside.

mod lengths;
mod penalties;
mod sequences;
mod warpers;

use wire::{Failure, generate::GenerationConfig};

use crate::failures::invalid;
pub use warpers::{log_softmax, softmax};

/// The processors of a request, in the order in which they run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Processors(Vec<Processor>);

/// One processor with its parameters, which were checked.
#[derive(Clone, Debug, PartialEq)]
enum Processor {
    /// Runs of tokens, each with what is added to the logit of its last.
    SequenceBias(Vec<(Vec<u32>, f32)>),
    /// The reciprocal of `encoder_repetition_penalty`, over the prompt.
    PromptPenalty(f32),
    RepetitionPenalty(f32),
    NoRepeatNgram(usize),
    NoRepeatPromptNgram(usize),
    /// Fewest tokens in all, and what must not come before.
    MinLength(usize, Vec<u32>),
    ForcedFirst(u32),
    /// Tokens in all, and of which one is the last of them.
    ForcedLast(usize, Vec<u32>),
    RemoveInvalid,
    /// Length from which on, factor, and tokens that become likelier.
    ExponentialDecay(usize, f64, Vec<u32>),
    Suppress(Vec<u32>),
    /// Length at which, and what.
    SuppressAt(usize, Vec<u32>),
    Warp(Warper),
    Renormalize,
}

/// A processor that only sampling has.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Warper {
    kind: WarperKind,
    /// Tokens that stay whatever the kind says.
    keep: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum WarperKind {
    Temperature(f32),
    TopK(usize),
    TopP(f64),
    MinP(f32),
    Typical(f32),
    Epsilon(f32),
    Eta(f32),
}

/// What the processors of a request depend on beside its configuration.
#[derive(Clone, Copy, Debug)]
pub struct Lengths {
    /// Tokens of the prompt, padding included.
    pub prompt: usize,
    /// Most tokens in all.
    pub max: usize,
    /// Tokens that the model knows.
    pub vocabulary: usize,
}

/// What processors know of prompts, at one row of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Prompted<'a> {
    /// The row's prompt; for a decoder with an encoder, what that one read.
    pub own: &'a [u32],
    /// What `encoder_repetition_penalty` looks for; nothing in a row that it leaves as it is.
    pub rewarded: &'a [u32],
}

impl<'a> Prompted<'a> {
    /// Of a prompt with a single sequence.
    pub fn alone(prompt: &'a [u32]) -> Self {
        Self {
            own: prompt,
            rewarded: prompt,
        }
    }

    /// Of a row among `sequences` for each of `prompts`. `EncoderRepetitionPenaltyLogitsProcessor` has every prompt
    /// once, however many sequences each has: it changes as many of the first rows as there are prompts, each by the
    /// prompt of the row's number, which may be another sequence's.
    pub fn of_row(prompts: &[&'a [u32]], row: usize, sequences: usize) -> Self {
        let at = |index: usize| prompts.get(index).copied().unwrap_or_default();
        Self {
            own: at(row / sequences.max(1)),
            rewarded: at(row),
        }
    }
}

impl Processors {
    /// The processors of a resolved configuration. Fails, in transformers' words, on what cannot be
    /// right.
    pub fn new(config: &GenerationConfig, lengths: Lengths) -> Result<Self, Failure> {
        let mut list = Vec::new();
        sequences::add(&mut list, config, lengths)?;
        lengths::add(&mut list, config, lengths)?;
        if config.do_sample == Some(true) {
            warpers::add(&mut list, config)?;
        }
        if config.renormalize_logits == Some(true) {
            list.push(Processor::Renormalize);
        }
        Ok(Self(list))
    }

    /// How many of the largest logits decide what is chosen, where no other does: one where the likeliest is, those
    /// that `top_k` leaves where one is drawn and nothing before it looks at single tokens. `None` where all do.
    pub fn deciding(&self, draws: bool) -> Option<usize> {
        if !draws {
            return self.0.is_empty().then_some(1);
        }
        let sees_ranks_alone = |processor: &Processor| {
            matches!(processor, Processor::Warp(_) | Processor::Renormalize)
        };
        if !self.0.iter().all(sees_ranks_alone) {
            return None;
        }
        // What only scales keeps the order.
        let scales = |processor: &&Processor| matches!(processor, Processor::Warp(warper) if matches!(warper.kind, WarperKind::Temperature(_)));
        match self.0.iter().find(|processor| !scales(processor)) {
            Some(&Processor::Warp(Warper {
                kind: WarperKind::TopK(count),
                keep,
            })) => Some(count.max(keep)),
            _ => None,
        }
    }

    /// Processes the logits after `ids`, of which the first are the prompt, unless an encoder read that.
    pub fn process(&self, logits: &mut [f32], ids: &[u32], prompt: Prompted) {
        for processor in &self.0 {
            match processor {
                Processor::SequenceBias(biases) => sequences::bias(logits, ids, biases),
                Processor::PromptPenalty(penalty) => {
                    penalties::repetition(logits, prompt.rewarded, *penalty);
                }
                Processor::RepetitionPenalty(penalty) => {
                    penalties::repetition(logits, ids, *penalty);
                }
                Processor::NoRepeatNgram(size) => sequences::no_repeat(logits, ids, ids, *size),
                Processor::NoRepeatPromptNgram(size) => {
                    sequences::no_repeat(logits, prompt.own, ids, *size);
                }
                Processor::MinLength(length, eos) if ids.len() < *length => forbid(logits, eos),
                Processor::ForcedFirst(id) if ids.len() == 1 => lengths::force(logits, &[*id]),
                Processor::ForcedLast(length, eos) if ids.len() + 1 == *length => {
                    lengths::force(logits, eos);
                }
                Processor::RemoveInvalid => lengths::remove_invalid(logits),
                Processor::ExponentialDecay(start, factor, eos) => {
                    let over = ids.len().saturating_sub(*start);
                    penalties::exponential_decay(logits, eos, *factor, over);
                }
                Processor::Suppress(tokens) => forbid(logits, tokens),
                Processor::SuppressAt(length, tokens) if ids.len() == *length => {
                    forbid(logits, tokens);
                }
                // What waits for a length that is not there.
                Processor::MinLength(..)
                | Processor::ForcedFirst(_)
                | Processor::ForcedLast(..)
                | Processor::SuppressAt(..) => {}
                Processor::Warp(warper) => warper.warp(logits),
                Processor::Renormalize => log_softmax(logits),
            }
        }
    }
}

fn forbid(logits: &mut [f32], ids: &[u32]) {
    for &id in ids {
        if let Some(logit) = logits.get_mut(id as usize) {
            *logit = f32::NEG_INFINITY;
        }
    }
}

/// Fails when the model does not know one of these tokens, which torch would not find either.
fn check_known(name: &str, ids: &[u32], vocabulary: usize) -> Result<(), Failure> {
    match ids.iter().find(|&&id| id as usize >= vocabulary) {
        None => Ok(()),
        Some(id) => Err(invalid(format!(
            "`{name}` has token {id}, but the model vocabulary size is {vocabulary}"
        ))
        .hint("look tokens up with the model's own tokenizer")),
    }
}

fn eos(config: &GenerationConfig) -> Option<&Vec<u32>> {
    config.eos_token_id.as_ref().filter(|ids| !ids.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of two prompts with three sequences each the first two rows are changed, the second by a prompt not its own.
    #[test]
    fn a_penalty_of_the_prompt_knows_each_prompt_once() {
        let prompts: [&[u32]; 2] = [&[1, 2], &[3]];
        let rows = [0, 1, 2, 3, 5].map(|row| Prompted::of_row(&prompts, row, 3));
        assert_eq!(
            rows.map(|row| row.own),
            [prompts[0], prompts[0], prompts[0], prompts[1], prompts[1]]
        );
        assert_eq!(
            rows.map(|row| row.rewarded),
            [prompts[0], prompts[1], &[], &[], &[]]
        );
    }

    #[test]
    fn what_decides_is_known_where_nothing_looks_at_single_tokens() {
        let lengths = Lengths {
            prompt: 3,
            max: 9,
            vocabulary: 100,
        };
        let deciding = |config: GenerationConfig| {
            let draws = config.do_sample == Some(true);
            let processors = Processors::new(&config, lengths);
            processors.expect("is right").deciding(draws)
        };
        let greedy = GenerationConfig::default();
        assert_eq!(deciding(greedy.clone()), Some(1));
        let penalised = GenerationConfig {
            repetition_penalty: Some(1.2),
            ..greedy
        };
        assert_eq!(deciding(penalised.clone()), None);
        let drawn = GenerationConfig {
            do_sample: Some(true),
            temperature: Some(0.6),
            top_k: Some(20),
            top_p: Some(0.9),
            renormalize_logits: Some(true),
            ..GenerationConfig::default()
        };
        assert_eq!(deciding(drawn.clone()), Some(20));
        let without = |top_k| GenerationConfig {
            top_k,
            ..drawn.clone()
        };
        assert_eq!(deciding(without(None)), Some(50), "the default");
        assert_eq!(deciding(without(Some(0))), None);
        let both = GenerationConfig {
            repetition_penalty: Some(1.2),
            ..drawn
        };
        assert_eq!(deciding(both), None);
    }
}
