//! What cannot be right about a configuration, and what of it has no effect: `GenerationConfig.validate`
//! and the checks of `generate` in transformers 4.57, in their sense.

use wire::{
    Failure,
    generate::{EarlyStopping, GenerationConfig},
};

use super::settings::Situation;
use crate::failures::invalid;

/// Alternatives of a token that are kept at most.
const MOST_LOGPROBS: u32 = 100;

/// What a user is told beside the result.
#[derive(Debug, Default)]
pub struct Issues {
    /// Flags that nothing looks at, each with the reason.
    unused: Vec<(&'static str, String)>,
    others: Vec<String>,
}

impl Issues {
    /// A line for each thing to tell.
    pub fn into_notices(self) -> Vec<String> {
        let mut notices = self.others;
        if !self.unused.is_empty() {
            let reasons = self
                .unused
                .iter()
                .map(|(name, reason)| format!("\n- `{name}`: {reason}"));
            notices.push(format!(
                "the following generation flags are not valid and may be ignored; some may come from the \
                 model's `generation_config.json`:{}",
                reasons.collect::<String>()
            ));
        }
        notices
    }
}

/// Fails on contradictions, and notes what is not used.
pub fn check(
    config: &GenerationConfig,
    situation: Situation,
    issues: &mut Issues,
) -> Result<(), Failure> {
    if config.max_new_tokens == Some(0) {
        return Err(invalid("`max_new_tokens` must be greater than 0, but is 0"));
    }
    if config.num_beams == Some(0) {
        return Err(
            invalid("`num_beams` has to be an integer strictly greater than 0, but is 0")
                .hint("1 beam is no beam search"),
        );
    }
    check_counts(config)?;
    check_logprobs(config)?;
    check_modes(config, situation, issues)?;
    if config.do_sample != Some(true) {
        warn_of_sampling_flags(config, issues);
    }
    if config.num_beams.unwrap_or(1) == 1 {
        warn_of_beam_flags(config, issues);
    }
    Ok(())
}

fn check_counts(config: &GenerationConfig) -> Result<(), Failure> {
    let (beams, sequences) = (
        config.num_beams.unwrap_or(1),
        config.num_return_sequences.unwrap_or(1),
    );
    let samples = config.do_sample == Some(true);
    if sequences == 0 {
        return Err(invalid(
            "`num_return_sequences` has to be a strictly positive integer, but is 0",
        ));
    }
    if sequences > 1 && beams == 1 && !samples {
        return Err(invalid(format!(
            "greedy methods without beam search do not support `num_return_sequences` different than 1 (got \
             {sequences})"
        ))
        .hint("the likeliest sequence is one: set `do_sample` or `num_beams`"));
    }
    if beams > 1 && sequences > beams {
        return Err(invalid(format!(
            "`num_return_sequences` ({sequences}) has to be smaller or equal to `num_beams` ({beams})"
        )));
    }
    Ok(())
}

/// What transformers does not have, and thus no words for.
fn check_logprobs(config: &GenerationConfig) -> Result<(), Failure> {
    let Some(count) = config.logprobs else {
        return Ok(());
    };
    if count > MOST_LOGPROBS {
        return Err(invalid(format!(
            "`logprobs` keeps at most {MOST_LOGPROBS} alternatives of a token, but is {count}"
        ))
        .hint("`output_scores` keeps the scores of all tokens"));
    }
    if config.num_beams.unwrap_or(1) > 1 {
        return Err(invalid(
            "`logprobs` cannot be used with beam search, which chooses sequences and not tokens",
        )
        .hint(
            "leave `num_beams` out; a beam has its `sequence_score`, and `output_scores` its steps",
        ));
    }
    Ok(())
}

/// What streams and what guesses does so for one sequence.
fn check_modes(
    config: &GenerationConfig,
    situation: Situation,
    issues: &mut Issues,
) -> Result<(), Failure> {
    let (beams, sequences) = (
        config.num_beams.unwrap_or(1),
        config.num_return_sequences.unwrap_or(1),
    );
    if situation.streams && beams > 1 {
        return Err(invalid(
            "`streamer` cannot be used with beam search (yet!): which sequence it is turns out at the end",
        )
        .hint("make sure that `num_beams` is set to 1"));
    }
    if situation.streams && (situation.prompts > 1 || sequences > 1) {
        return Err(invalid(format!(
            "a streamer only supports batch size 1, but there are {} sequences",
            situation.prompts * sequences as usize
        ))
        .hint("leave the streamer out, or generate one by one"));
    }
    if !situation.has_assistant && config.prompt_lookup_num_tokens.is_none() {
        return Ok(());
    }
    if beams > 1 {
        issues.others.push(
            "assisted generation is only supported with greedy search and sampling; with `num_beams` > 1 the \
             draft is not used"
                .to_owned(),
        );
        return Ok(());
    }
    if config.use_cache == Some(false) {
        return Err(invalid("assisted generate requires `use_cache=True`")
            .hint("leave `use_cache` out, or the assistant and `prompt_lookup_num_tokens`"));
    }
    if sequences > 1 {
        return Err(invalid(format!(
            "`num_return_sequences` has to be 1 when doing assisted generate, but is {sequences}"
        )));
    }
    if situation.prompts > 1 {
        return Err(invalid(format!(
            "assisted generate is only supported for batch size 1, but there are {} prompts",
            situation.prompts
        )));
    }
    Ok(())
}

/// Whether logits are guided.
#[expect(
    clippy::float_cmp,
    reason = "1 is the value that means off, as written"
)]
pub fn guides(config: &GenerationConfig) -> bool {
    config.guidance_scale.is_some_and(|scale| scale != 1.0)
}

/// Guidance with what it can and cannot go with. Where transformers ends in a tensor's size that does not
/// fit, the reason is said here.
pub fn check_guidance(
    config: &GenerationConfig,
    situation: Situation,
    max_new_tokens: usize,
    issues: &mut Issues,
) -> Result<(), Failure> {
    if !guides(config) {
        if situation.negative.is_some() {
            issues.others.push(
                "negative prompts have no effect without a `guidance_scale` other than 1"
                    .to_owned(),
            );
        }
        return Ok(());
    }
    let drafts = situation.has_assistant || config.prompt_lookup_num_tokens.is_some();
    if drafts && config.num_beams.unwrap_or(1) == 1 {
        // There the reading without the prompt keeps every token that was guessed, also those that were wrong.
        issues.others.push(
            "with `guidance_scale` nothing is guessed: assisted generation is not used".to_owned(),
        );
    }
    let Some(negative) = situation.negative else {
        return Ok(());
    };
    if negative.len() != situation.prompts {
        return Err(invalid(format!(
            "there are {} negative prompts for {} prompts",
            negative.len(),
            situation.prompts
        ))
        .hint("give each prompt one of its own"));
    }
    for (name, count) in [
        ("num_beams", config.num_beams),
        ("num_return_sequences", config.num_return_sequences),
    ] {
        if let Some(count) = count.filter(|&count| count > 1) {
            return Err(invalid(format!(
                "a negative prompt goes with one sequence, but `{name}` is {count}"
            ))
            .hint(
                "leave the negative prompt out: guidance then begins at the prompt's last token",
            ));
        }
    }
    let longest = negative.iter().map(Vec::len).max().unwrap_or(0);
    let context = situation.sizes.context_length;
    // The last new token is not read.
    if longest + max_new_tokens > context.saturating_add(1) {
        return Err(invalid(format!(
            "a negative prompt of {longest} tokens with {max_new_tokens} new ones is longer than the model's \
             context, which holds {context}"
        ))
        .hint("shorten the negative prompt, or set a smaller `max_new_tokens`"));
    }
    Ok(())
}

#[expect(clippy::float_cmp, reason = "a default is meant as it is written")]
fn warn_of_sampling_flags(config: &GenerationConfig, issues: &mut Issues) {
    let mut note = |name, value: Option<String>| {
        if let Some(value) = value {
            let reason = format!(
                "`do_sample` is set to `false`. However, `{name}` is set to `{value}` -- this flag is only \
                 used in sample-based generation modes. You should set `do_sample` or unset `{name}`"
            );
            issues.unused.push((name, reason));
        }
    };
    let unless = |value: Option<f64>, default: f64| {
        value
            .filter(|&value| value != default)
            .map(|value| value.to_string())
    };
    note("temperature", unless(config.temperature, 1.0));
    note("top_p", unless(config.top_p, 1.0));
    note("min_p", config.min_p.map(|value| value.to_string()));
    note("typical_p", unless(config.typical_p, 1.0));
    let top_k = config.top_k.filter(|&k| k != 50);
    note("top_k", top_k.map(|k| k.to_string()));
    note("epsilon_cutoff", unless(config.epsilon_cutoff, 0.0));
    note("eta_cutoff", unless(config.eta_cutoff, 0.0));
}

#[expect(clippy::float_cmp, reason = "a default is meant as it is written")]
fn warn_of_beam_flags(config: &GenerationConfig, issues: &mut Issues) {
    let mut note = |name, value: String| {
        let reason = format!(
            "`num_beams` is set to 1. However, `{name}` is set to `{value}` -- this flag is only used in \
             beam-based generation modes. You should set `num_beams` > 1 or unset `{name}`"
        );
        issues.unused.push((name, reason));
    };
    match config.early_stopping {
        Some(EarlyStopping::AsSoonAsFull) => note("early_stopping", "true".to_owned()),
        Some(EarlyStopping::Never) => note("early_stopping", "never".to_owned()),
        Some(EarlyStopping::Heuristic) | None => {}
    }
    if let Some(penalty) = config.length_penalty.filter(|&penalty| penalty != 1.0) {
        note("length_penalty", penalty.to_string());
    }
}

/// Two limits of one thing, of which one wins.
pub fn warn_of_lengths(request: &GenerationConfig, config: &GenerationConfig, issues: &mut Issues) {
    let mut both = |new: (&str, Option<u32>), all: (&str, Option<u32>)| {
        if let ((name, Some(value)), (other, Some(loses))) = (new, all) {
            issues.others.push(format!(
                "both `{name}` (={value}) and `{other}` (={loses}) seem to have been set. `{name}` will take \
                 precedence"
            ));
        }
    };
    both(
        ("max_new_tokens", config.max_new_tokens),
        ("max_length", request.max_length),
    );
    both(
        ("min_new_tokens", config.min_new_tokens),
        ("min_length", request.min_length),
    );
}

/// A length that was asked for and that the context does not hold. transformers goes on past it, with
/// positions that the model has not learned, and says so; here the context is the end.
pub fn warn_of_context(
    config: &GenerationConfig,
    (prompt_length, wanted): (usize, usize),
    max_length: usize,
    issues: &mut Issues,
) {
    // The default is cut in silence there too.
    let asked = config.max_new_tokens.or(config.max_length).is_some();
    if wanted > max_length && asked {
        let name = if config.max_new_tokens.is_some() {
            "max_new_tokens"
        } else {
            "max_length"
        };
        issues.others.push(format!(
            "`{name}` asks for {wanted} tokens in all, the model's context holds {max_length}: at most {} are \
             added to the prompt's {prompt_length}",
            max_length - prompt_length
        ));
    }
}

/// A fewest that is more than the most.
pub fn warn_of_reach(
    config: &GenerationConfig,
    prompt_length: usize,
    max_length: usize,
    issues: &mut Issues,
) {
    const SUFFIX: &str = "Generation will stop at the defined maximum length. You should decrease the minimum \
        length and/or increase the maximum length";
    if let Some(new) = config.min_new_tokens {
        if prompt_length + new as usize > max_length {
            issues.others.push(format!(
                "unfeasible length constraints: `min_new_tokens` ({new}), when added to the prompt length \
                 ({prompt_length}), is larger than the maximum possible length ({max_length}). {SUFFIX}"
            ));
        }
    } else if let Some(length) = config.min_length.filter(|&l| l as usize > max_length) {
        issues.others.push(format!(
            "unfeasible length constraints: `min_length` ({length}) is larger than the maximum possible length \
             ({max_length}). {SUFFIX}"
        ));
    }
}
