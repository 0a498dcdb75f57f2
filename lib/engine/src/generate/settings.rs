//! From what a request leaves open to what is done: the request, then the model's files, then
//! transformers' defaults (`GenerationConfig` of 4.57). What is wrong with the whole is `validate`'s.

use std::time::Duration;

use wire::{
    Failure,
    generate::{AssistantSchedule, EarlyStopping, GenerationConfig},
};

use super::{
    guidance::Guidance,
    output::MOST_BYTES,
    processors::{Lengths, Processors},
    validate::{self, Issues},
};
use crate::{failures::invalid, families::ModelSizes};

/// Tokens that are added when nobody says how many: transformers' default `max_length`, which counts
/// new tokens when it is the default and all tokens when it is not.
const DEFAULT_MAX_LENGTH: u32 = 20;
/// transformers' default `num_assistant_tokens`.
const DEFAULT_ASSISTANT_TOKENS: usize = 20;
/// transformers' default `assistant_confidence_threshold`.
const DEFAULT_CONFIDENCE: f64 = 0.4;

/// What is done.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Tokens of the prompt, padding included.
    pub prompt_length: usize,
    /// Most tokens in all.
    pub max_length: usize,
    /// Longest time.
    pub max_time: Option<Duration>,
    /// Tokens that end a sequence.
    pub eos: Vec<u32>,
    /// Texts that end a sequence.
    pub stop_strings: Vec<String>,
    /// What happens to logits.
    pub processors: Processors,
    /// Greedy without.
    pub sampling: Option<Sampling>,
    /// Several sequences at once, or one at a time.
    pub beams: Option<Beams>,
    /// Sequences for each prompt.
    pub num_return_sequences: usize,
    /// Whether an earlier turn's keys and values are used.
    pub use_cache: bool,
    /// Guesses tokens from the sequence itself.
    pub lookup: Option<Lookup>,
    /// How far a draft model guesses.
    pub drafting: Drafting,
    /// Logits move away from those without the prompt.
    pub guidance: Option<Guidance>,
    /// Keep each step's processed logits.
    pub output_scores: bool,
    /// Keep each step's logits.
    pub output_logits: bool,
    /// Keep how likely each token was, and so many of the likeliest.
    pub logprobs: Option<usize>,
}

/// Draws instead of the likeliest tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// A fresh one when not given.
    pub seed: Option<u64>,
}

/// A beam search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beams {
    /// Sequences that are followed at once.
    pub count: usize,
    /// Exponent of the length.
    pub length_penalty: f64,
    /// When it ends.
    pub early_stopping: EarlyStopping,
}

/// Prompt lookup decoding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lookup {
    /// Most tokens to guess at once.
    pub tokens: usize,
    /// Longest run of last tokens to look for.
    pub ngram: usize,
}

/// Assisted decoding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drafting {
    /// Most tokens to guess at once.
    pub tokens: usize,
    /// How that changes.
    pub schedule: AssistantSchedule,
    /// Probability below which a guess is the last.
    pub confidence: f32,
}

/// What a request is resolved for.
#[derive(Clone, Copy)]
pub struct Situation<'a> {
    /// Tokens of the prompt, padding included.
    pub prompt_length: usize,
    /// Number of prompts.
    pub prompts: usize,
    /// Of the model.
    pub sizes: &'a ModelSizes,
    /// Whether a draft model was given.
    pub has_assistant: bool,
    /// Whether text is to be sent as it comes.
    pub streams: bool,
    /// What is read in the prompts' place for guidance.
    pub negative: Option<&'a [Vec<u32>]>,
}

impl Settings {
    /// Resolves a request, and says what of it has no effect. Fails, in transformers' words, on what
    /// cannot be right.
    pub fn resolve(
        request: &GenerationConfig,
        defaults: &GenerationConfig,
        situation: Situation,
    ) -> Result<(Self, Vec<String>), Failure> {
        let Situation {
            prompt_length,
            sizes,
            ..
        } = situation;
        check_prompt(prompt_length, sizes)?;
        let config = request.clone().or(defaults);
        let mut issues = Issues::default();
        validate::check(&config, situation, &mut issues)?;
        validate::warn_of_lengths(request, &config, &mut issues);
        let wanted = max_length(request, &config, prompt_length)?;
        let max_length = wanted.min(sizes.context_length);
        validate::warn_of_context(&config, (prompt_length, wanted), max_length, &mut issues);
        validate::check_guidance(&config, situation, max_length - prompt_length, &mut issues)?;
        validate::warn_of_reach(&config, prompt_length, max_length, &mut issues);
        let lengths = Lengths {
            prompt: prompt_length,
            max: max_length,
            vocabulary: sizes.vocab_size,
        };
        let settings = Self {
            processors: Processors::new(&config, lengths)?,
            max_time: max_time(&config)?,
            sampling: (config.do_sample == Some(true)).then_some(Sampling { seed: config.seed }),
            beams: beams(&config),
            num_return_sequences: config.num_return_sequences.unwrap_or(1) as usize,
            use_cache: config.use_cache.unwrap_or(true),
            lookup: lookup(&config)?
                .filter(|_| config.num_beams.unwrap_or(1) == 1 && !validate::guides(&config)),
            guidance: guidance(&config, situation.negative),
            drafting: drafting(&config),
            output_scores: config.output_scores.unwrap_or(false),
            output_logits: config.output_logits.unwrap_or(false),
            logprobs: config.logprobs.map(|count| count as usize),
            eos: config.eos_token_id.unwrap_or_default(),
            stop_strings: config.stop_strings.unwrap_or_default(),
            prompt_length,
            max_length,
        };
        settings.check_output(situation)?;
        Ok((settings, issues.into_notices()))
    }

    /// Most tokens that are added.
    pub fn max_new_tokens(&self) -> usize {
        self.max_length - self.prompt_length
    }

    /// Scores of a long generation of a large vocabulary do not fit one answer.
    fn check_output(&self, situation: Situation) -> Result<(), Failure> {
        let kinds = usize::from(self.output_scores) + usize::from(self.output_logits);
        let bytes = [
            kinds,
            situation.prompts,
            self.num_return_sequences,
            self.max_new_tokens(),
            situation.sizes.vocab_size,
        ]
        .iter()
        .fold(4_usize, |bytes, &count| bytes.saturating_mul(count));
        if bytes <= MOST_BYTES {
            return Ok(());
        }
        Err(invalid(format!(
            "the scores of {} new tokens would take up to {} MiB, more than the {} MiB that an answer can \
             carry",
            self.max_new_tokens(),
            bytes >> 20,
            MOST_BYTES >> 20
        ))
        .hint("set a smaller `max_new_tokens`, or fewer sequences"))
    }
}

fn check_prompt(prompt_length: usize, sizes: &ModelSizes) -> Result<(), Failure> {
    if prompt_length == 0 {
        return Err(invalid("the prompt has no tokens")
            .hint("a model continues at least one token; give it some text"));
    }
    if prompt_length >= sizes.context_length {
        return Err(invalid(format!(
            "the prompt has {prompt_length} tokens, the model's context holds {}",
            sizes.context_length
        ))
        .hint("shorten the prompt, or take a model with a longer context"));
    }
    Ok(())
}

/// Most tokens in all. `max_length` counts the prompt, unless it is the default.
fn max_length(
    request: &GenerationConfig,
    config: &GenerationConfig,
    prompt_length: usize,
) -> Result<usize, Failure> {
    if let Some(count) = config.max_new_tokens {
        return Ok(prompt_length + count as usize);
    }
    let stated = request.max_length.or(config
        .max_length
        .filter(|&length| length != DEFAULT_MAX_LENGTH));
    let Some(max_length) = stated.map(|length| length as usize) else {
        return Ok(prompt_length + DEFAULT_MAX_LENGTH as usize);
    };
    if prompt_length < max_length {
        return Ok(max_length);
    }
    Err(invalid(format!(
        "the prompt has {prompt_length} tokens, but `max_length` is set to {max_length}"
    ))
    .hint("increase `max_length` or, better yet, set `max_new_tokens`"))
}

fn max_time(config: &GenerationConfig) -> Result<Option<Duration>, Failure> {
    let Some(seconds) = config.max_time else {
        return Ok(None);
    };
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) => Ok(Some(time)),
        Err(_) => Err(invalid(format!(
            "`max_time` has to be a number of seconds, but is {seconds}"
        ))),
    }
}

fn beams(config: &GenerationConfig) -> Option<Beams> {
    let count = config.num_beams.filter(|&count| count > 1)?;
    Some(Beams {
        count: count as usize,
        length_penalty: config.length_penalty.unwrap_or(1.0),
        early_stopping: config.early_stopping.unwrap_or_default(),
    })
}

fn lookup(config: &GenerationConfig) -> Result<Option<Lookup>, Failure> {
    let Some(tokens) = config.prompt_lookup_num_tokens else {
        return Ok(None);
    };
    let ngram = config.max_matching_ngram_size.filter(|&size| size > 0);
    if tokens == 0 {
        return Err(invalid(
            "`prompt_lookup_num_tokens` has to be greater than 0, but is 0",
        ));
    }
    Ok(Some(Lookup {
        tokens: tokens as usize,
        ngram: ngram.unwrap_or(2) as usize,
    }))
}

/// 1 is off, and then negative prompts have no effect.
fn guidance(config: &GenerationConfig, negative: Option<&[Vec<u32>]>) -> Option<Guidance> {
    validate::guides(config).then(|| Guidance {
        scale: config.guidance_scale.unwrap_or(1.0) as f32,
        negative: negative.map(<[_]>::to_vec),
    })
}

fn drafting(config: &GenerationConfig) -> Drafting {
    let tokens = config.num_assistant_tokens;
    Drafting {
        schedule: config.num_assistant_tokens_schedule.unwrap_or_default(),
        tokens: tokens.map_or(DEFAULT_ASSISTANT_TOKENS, |tokens| tokens as usize),
        confidence: config
            .assistant_confidence_threshold
            .unwrap_or(DEFAULT_CONFIDENCE) as f32,
    }
}
