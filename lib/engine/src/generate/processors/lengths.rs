//! Processors that look at how long the sequence is: what may not end yet, what must end now, what may
//! not come first; and the removal of what is no number.

use wire::{Failure, generate::GenerationConfig};

use super::{Lengths, Processor, check_known, eos};
use crate::failures::invalid;

/// Adds the processors between the bad words and the warpers, in order.
pub fn add(
    list: &mut Vec<Processor>,
    config: &GenerationConfig,
    lengths: Lengths,
) -> Result<(), Failure> {
    let min_length = min_length(config, lengths).filter(|&length| length > 0);
    if let (Some(eos), Some(length)) = (eos(config), min_length) {
        list.push(Processor::MinLength(length, eos.clone()));
    }
    if let Some(id) = config.forced_bos_token_id {
        check_known("forced_bos_token_id", &[id], lengths.vocabulary)?;
        list.push(Processor::ForcedFirst(id));
    }
    if let Some(ids) = &config.forced_eos_token_id {
        check_known("forced_eos_token_id", ids, lengths.vocabulary)?;
        list.push(Processor::ForcedLast(lengths.max, ids.clone()));
    }
    if config.remove_invalid_values == Some(true) {
        list.push(Processor::RemoveInvalid);
    }
    if let Some((start, factor)) = config.exponential_decay_length_penalty {
        let Some(eos) = eos(config) else {
            return Err(invalid(
                "`exponential_decay_length_penalty` makes ending likelier, but there is no `eos_token_id`",
            )
            .hint("set `eos_token_id`"));
        };
        let start = start as usize + lengths.prompt;
        list.push(Processor::ExponentialDecay(start, factor, eos.clone()));
    }
    if let Some(ids) = &config.suppress_tokens {
        list.push(Processor::Suppress(ids.clone()));
    }
    if let Some(ids) = &config.begin_suppress_tokens {
        let is_forced = lengths.prompt <= 1 && config.forced_bos_token_id.is_some();
        let at = lengths.prompt + usize::from(is_forced);
        list.push(Processor::SuppressAt(at, ids.clone()));
    }
    Ok(())
}

/// Fewest tokens in all: `min_new_tokens` goes before `min_length`.
fn min_length(config: &GenerationConfig, lengths: Lengths) -> Option<usize> {
    match config.min_new_tokens {
        Some(new) => Some(lengths.prompt + new as usize),
        None => config.min_length.map(|length| length as usize),
    }
}

/// Leaves these tokens alone, all with the logit 0.
pub fn force(logits: &mut [f32], ids: &[u32]) {
    logits.fill(f32::NEG_INFINITY);
    for &id in ids {
        if let Some(logit) = logits.get_mut(id as usize) {
            *logit = 0.0;
        }
    }
}

/// What is no number becomes 0, what is infinite the largest number there is.
pub fn remove_invalid(logits: &mut [f32]) {
    for logit in logits {
        if logit.is_nan() {
            *logit = 0.0;
        }
        *logit = logit.clamp(f32::MIN, f32::MAX);
    }
}
