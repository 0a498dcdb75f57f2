//! `fill-mask`: `fill_mask.py` of transformers.

use tokenizers::Encoding as Sequence;
use wire::{
    Failure,
    pipeline::{MaskGuess, MaskOptions},
    tokenize::EncodeOptions,
};

use super::{At, Reader, scores};
use crate::failures;

/// Of each text, of each mask the guesses, the likeliest first.
pub fn run(
    reader: &mut Reader,
    inputs: &[String],
    options: &MaskOptions,
) -> Result<Vec<Vec<Vec<MaskGuess>>>, Failure> {
    let Some(mask) = reader.tokenizer.named_id("mask_token") else {
        return Err(failures::invalid(format!(
            "the tokenizer of `{}` has no mask token",
            reader.name
        ))
        .hint("choose a model that was trained to guess masked tokens, such as BERT"));
    };
    let targets = match &options.targets {
        Some(targets) => Some(target_ids(reader, targets)?),
        None => None,
    };
    let sequences = reader.encode_all(inputs, options.truncation)?;
    for (sequence, text) in sequences.iter().zip(inputs) {
        if !sequence.get_ids().contains(&mask) {
            return Err(no_mask(reader, text));
        }
    }
    let logits = reader.outputs(&sequences, At::Token(mask))?;
    let texts = sequences.iter().zip(logits);
    texts
        .map(|(sequence, logits)| {
            let filler = Filler {
                reader,
                sequence,
                mask,
                is_single: logits.len() == 1,
            };
            let masks = logits.iter().enumerate().map(|(index, logits)| {
                let best = best(logits, targets.as_deref(), options.top_k as usize);
                best.into_iter()
                    .map(|(id, score)| filler.guess(index, id, score))
                    .collect()
            });
            masks.collect()
        })
        .collect()
}

fn no_mask(reader: &Reader, text: &str) -> Failure {
    let mask = reader
        .tokenizer
        .info()
        .mask_token
        .clone()
        .unwrap_or_default();
    let start: String = text.chars().take(60).collect();
    failures::invalid(format!(
        "No mask_token ({mask}) found on the input \"{start}\""
    ))
    .hint(format!("write {mask} where a word is to be guessed"))
}

/// Ids with their scores, the likeliest first.
fn best(logits: &[f32], targets: Option<&[u32]>, count: usize) -> Vec<(u32, f32)> {
    let scores = scores::softmax(logits);
    let mut scores: Vec<(u32, f32)> = match targets {
        Some(ids) => ids
            .iter()
            .filter_map(|&id| Some((id, *scores.get(id as usize)?)))
            .collect(),
        None => (0..).zip(scores).collect(),
    };
    let count = count.min(scores.len());
    let descending = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if count > 0 && count < scores.len() {
        scores.select_nth_unstable_by(count - 1, descending);
    }
    scores.truncate(count);
    scores.sort_by(descending);
    scores
}

/// Ids of the words to choose among, each once.
fn target_ids(reader: &mut Reader, targets: &[String]) -> Result<Vec<u32>, Failure> {
    let mut ids = Vec::with_capacity(targets.len());
    for target in targets {
        if let Some(id) = reader.tokenizer.token_to_id(target) {
            ids.push(id);
            continue;
        }
        let plain = EncodeOptions {
            add_special_tokens: false,
            ..EncodeOptions::default()
        };
        let cut = reader.encode(&target.into(), &plain)?;
        let Some(&id) = cut.get_ids().first() else {
            reader.notice(format!(
                "The specified target token `{target}` does not exist in the model vocabulary. We cannot \
                 replace it with anything meaningful, ignoring it"
            ));
            continue;
        };
        let piece = reader.tokenizer.id_to_token(id).unwrap_or_default();
        reader.notice(format!(
            "The specified target token `{target}` does not exist in the model vocabulary. Replacing with \
             `{piece}`."
        ));
        ids.push(id);
    }
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        return Err(failures::invalid("there is no target to choose among")
            .hint("give at least one word, or leave `targets` out"));
    }
    Ok(ids)
}

/// Puts guesses into one text.
struct Filler<'a, 'b> {
    reader: &'a Reader<'b>,
    sequence: &'a Sequence,
    mask: u32,
    is_single: bool,
}

impl Filler<'_, '_> {
    fn guess(&self, index: usize, id: u32, score: f32) -> Result<MaskGuess, Failure> {
        let tokenizer = self.reader.tokenizer;
        let padding = tokenizer.named_id("pad_token");
        let mut ids = self.sequence.get_ids().to_vec();
        let masked = ids.iter_mut().filter(|id| **id == self.mask).nth(index);
        if let Some(masked) = masked {
            *masked = id;
        }
        ids.retain(|id| Some(*id) != padding);
        Ok(MaskGuess {
            score: f64::from(score),
            token: id,
            token_str: tokenizer.decode(&[id], false)?,
            // With other masks in the text, special tokens stay, or those would go too.
            sequence: tokenizer.decode(&ids, self.is_single)?,
        })
    }
}
