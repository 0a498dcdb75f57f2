//! How likely the tokens of a sequence were: taken down step by step where that is asked for, and given
//! their texts when the sequence has ended. What is not asked for costs nothing.

use wire::{
    Failure,
    logprobs::{Logprobs, ScoredToken, TokenLogprob},
    tokenize::DecodeOptions,
};

use super::{beams::largest, processors::log_softmax};
use crate::tokenizer::Tokenizer;

/// Tokens that are decoded together with one whose text is looked for: enough for a blank that a first
/// token would lose, and for a character of several.
const CONTEXT: usize = 4;

/// The likeliest tokens of each step so far.
#[derive(Clone, Debug)]
pub struct Candidates {
    count: usize,
    tokens: Vec<TokenLogprob>,
}

impl Candidates {
    /// Keeps so many a step.
    pub fn new(count: usize) -> Self {
        Self {
            count,
            tokens: Vec::new(),
        }
    }

    /// Adds a step: the processed logits, and the token that was chosen. The numbers are those of
    /// transformers' `compute_transition_scores(…, normalize_logits=True)`.
    pub fn add(&mut self, scores: &[f32], chosen: u32) {
        let mut logprobs = scores.to_vec();
        log_softmax(&mut logprobs);
        let token = |id: usize| ScoredToken {
            id: id as u32,
            text: String::new(),
            logprob: logprobs[id],
        };
        self.tokens.push(TokenLogprob {
            token: token(chosen as usize),
            alternatives: largest(&logprobs, self.count)
                .into_iter()
                .filter(|&id| logprobs[id].is_finite())
                .map(token)
                .collect(),
        });
    }

    /// All steps, without texts.
    pub fn into_logprobs(self) -> Logprobs {
        Logprobs {
            tokens: self.tokens,
        }
    }
}

/// Writes to each token what it adds to the text before it, which begins with `prompt`.
pub fn write_texts(
    logprobs: &mut Logprobs,
    tokenizer: &Tokenizer,
    prompt: &[u32],
) -> Result<(), Failure> {
    let mut before = prompt[prompt.len().saturating_sub(CONTEXT)..].to_vec();
    for TokenLogprob {
        token,
        alternatives,
    } in &mut logprobs.tokens
    {
        let start = before.len().saturating_sub(CONTEXT);
        let text = decode(tokenizer, &before[start..])?;
        for one in alternatives.iter_mut().chain([&mut *token]) {
            before.push(one.id);
            let longer = decode(tokenizer, &before[start..])?;
            before.pop();
            one.text = match longer.strip_prefix(&text) {
                Some(added) if !added.is_empty() && !added.contains('\u{FFFD}') => added.to_owned(),
                _ => tokenizer.id_to_token(one.id).unwrap_or_default(),
            };
        }
        before.push(token.id);
    }
    Ok(())
}

fn decode(tokenizer: &Tokenizer, ids: &[u32]) -> Result<String, Failure> {
    let options = DecodeOptions {
        skip_special_tokens: false,
        clean_up_tokenization_spaces: Some(false),
    };
    tokenizer.decode_with(ids, options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_come_in_order_and_what_is_ruled_out_does_not_come() {
        let mut candidates = Candidates::new(3);
        let half = 0.5_f32.ln();
        candidates.add(&[f32::NEG_INFINITY, half - 1.0, half - 1.0], 2);
        let [step] = &candidates.into_logprobs().tokens[..] else {
            panic!("one step is one token")
        };
        let ids: Vec<u32> = step.alternatives.iter().map(|one| one.id).collect();
        assert_eq!((ids, step.token.id), (vec![1, 2], 2));
        assert!((step.token.probability() - 0.5).abs() < 1e-6);
    }
}
