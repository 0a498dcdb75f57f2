//! Processors that look at which tokens followed which: biases on runs of tokens, bad words, n-grams
//! that must not repeat; and where they and the penalties stand in the order.

use wire::{Failure, generate::GenerationConfig};

use super::{Lengths, Processor, check_known, eos, penalties};
use crate::failures::invalid;

/// Adds the processors up to the bad words, in order.
pub fn add(
    list: &mut Vec<Processor>,
    config: &GenerationConfig,
    lengths: Lengths,
) -> Result<(), Failure> {
    if let Some(biases) = &config.sequence_bias {
        list.push(sequence_bias(biases, lengths.vocabulary)?);
    }
    if let Some(penalty) = penalties::checked(config.encoder_repetition_penalty)? {
        list.push(Processor::PromptPenalty((1.0 / penalty) as f32));
    }
    if let Some(penalty) = penalties::checked(config.repetition_penalty)? {
        list.push(Processor::RepetitionPenalty(penalty as f32));
    }
    if let Some(size) = config.no_repeat_ngram_size.filter(|&size| size > 0) {
        list.push(Processor::NoRepeatNgram(size as usize));
    }
    if let Some(size) = config.encoder_no_repeat_ngram_size.filter(|&size| size > 0) {
        list.push(Processor::NoRepeatPromptNgram(size as usize));
    }
    if let Some(words) = &config.bad_words_ids {
        list.push(bad_words(words, config, lengths.vocabulary)?);
    }
    Ok(())
}

fn sequence_bias(biases: &[(Vec<u32>, f64)], vocabulary: usize) -> Result<Processor, Failure> {
    if biases.is_empty() || biases.iter().any(|(ids, _)| ids.is_empty()) {
        return Err(invalid(format!(
            "each element of `sequence_bias` has to be a non-empty list of token ids and a float, and there \
             has to be one, but it is {biases:?}"
        )));
    }
    for (ids, _) in biases {
        check_known("sequence_bias", ids, vocabulary)?;
    }
    let mut last: Vec<(Vec<u32>, f32)> = Vec::new();
    for (ids, bias) in biases {
        // A run that is named twice is one key of transformers' dictionary.
        last.retain(|(known, _)| known != ids);
        last.push((ids.clone(), *bias as f32));
    }
    Ok(Processor::SequenceBias(last))
}

/// Bad words are biases of minus infinity; an end-of-sequence token alone is none of them.
fn bad_words(
    words: &[Vec<u32>],
    config: &GenerationConfig,
    vocabulary: usize,
) -> Result<Processor, Failure> {
    if words.is_empty() || words.iter().any(Vec::is_empty) {
        return Err(invalid(format!(
            "`bad_words_ids` has to be a non-empty list of non-empty lists, but is {words:?}"
        )));
    }
    let ends = eos(config).map_or(&[][..], Vec::as_slice);
    let words = words
        .iter()
        .filter(|word| !matches!(word.as_slice(), [id] if ends.contains(id)));
    let biases: Vec<(Vec<u32>, f32)> = words
        .map(|word| (word.clone(), f32::NEG_INFINITY))
        .collect();
    for (ids, _) in &biases {
        check_known("bad_words_ids", ids, vocabulary)?;
    }
    Ok(Processor::SequenceBias(biases))
}

/// `SequenceBiasLogitsProcessor`: a run of one token counts always, a longer one once all but its last
/// token are there.
pub fn bias(logits: &mut [f32], ids: &[u32], biases: &[(Vec<u32>, f32)]) {
    // Biases of one token are summed before they are added, as transformers does.
    let mut sums: Vec<(u32, f32)> = Vec::new();
    for (run, bias) in biases {
        let [before @ .., last] = run.as_slice() else {
            continue;
        };
        if run.len() > 1 && (run.len() > ids.len() || !ids.ends_with(before)) {
            continue;
        }
        match sums.iter_mut().find(|(id, _)| id == last) {
            Some((_, sum)) => *sum += bias,
            None => sums.push((*last, *bias)),
        }
    }
    for (id, sum) in sums {
        if let Some(logit) = logits.get_mut(id as usize) {
            *logit += sum;
        }
    }
}

/// Rules out each token that would make the last `size` tokens of `ids` a run that `seen` has.
pub fn no_repeat(logits: &mut [f32], seen: &[u32], ids: &[u32], size: usize) {
    let Some(start) = (ids.len() + 1).checked_sub(size) else {
        return;
    };
    let end = &ids[start..];
    for run in seen.windows(size) {
        if let Some((last, before)) = run.split_last()
            && before == end
            && let Some(logit) = logits.get_mut(*last as usize)
        {
            *logit = f32::NEG_INFINITY;
        }
    }
}
