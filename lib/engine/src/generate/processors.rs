//! What happens to logits before a token is chosen, in the order and with the edge cases of
//! transformers' `logits_process.py`. All work in place on one position's logits, in f32.

use super::settings::{Sampling, Settings};

/// Applies what `settings` ask for, for a sequence of `ids` of which the first `prompt_length` are
/// the prompt.
pub fn process(logits: &mut [f32], settings: &Settings, ids: &[u32], prompt_length: usize) {
    repetition_penalty(logits, ids, settings.repetition_penalty);
    if ids.len() - prompt_length < settings.min_new_tokens {
        forbid(logits, &settings.eos);
    }
    if let Some(sampling) = &settings.sampling {
        warp(logits, sampling);
    }
}

fn warp(logits: &mut [f32], sampling: &Sampling) {
    for logit in &mut *logits {
        *logit /= sampling.temperature;
    }
    if sampling.top_k > 0 {
        top_k(logits, sampling.top_k);
    }
    if sampling.top_p < 1.0 {
        top_p(logits, sampling.top_p);
    }
    if sampling.min_p > 0.0 {
        min_p(logits, sampling.min_p);
    }
}

/// Each token that was seen once, however often: below zero times the penalty, above divided by it.
fn repetition_penalty(logits: &mut [f32], ids: &[u32], penalty: f32) {
    let mut seen = ids.to_vec();
    seen.sort_unstable();
    seen.dedup();
    for id in seen {
        if let Some(logit) = logits.get_mut(id as usize) {
            *logit = if *logit < 0.0 {
                *logit * penalty
            } else {
                *logit / penalty
            };
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

/// Keeps the `k` largest, and what ties with the last of them.
fn top_k(logits: &mut [f32], k: usize) {
    if k >= logits.len() {
        return;
    }
    let mut sorted = logits.to_vec();
    let (_, &mut last, _) = sorted.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    for logit in logits {
        if *logit < last {
            *logit = f32::NEG_INFINITY;
        }
    }
}

/// Drops the least likely tokens as long as together they make up at most `1 - p`; the likeliest
/// stays always.
fn top_p(logits: &mut [f32], p: f32) {
    let probabilities = softmax(logits);
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[a].total_cmp(&logits[b]));
    order.pop();
    let mut sum = 0.0;
    for token in order {
        sum += probabilities[token];
        if sum > 1.0 - p {
            return;
        }
        logits[token] = f32::NEG_INFINITY;
    }
}

/// Drops tokens less than `p` times as likely as the likeliest.
fn min_p(logits: &mut [f32], p: f32) {
    let probabilities = softmax(logits);
    let largest = probabilities.iter().copied().fold(0.0, f32::max);
    for (logit, probability) in logits.iter_mut().zip(probabilities) {
        if probability < p * largest {
            *logit = f32::NEG_INFINITY;
        }
    }
}

/// Probabilities of logits.
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut values: Vec<f32> = logits.iter().map(|logit| (logit - largest).exp()).collect();
    let sum: f32 = values.iter().sum();
    for value in &mut values {
        *value /= sum;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(logits: &[f32]) -> Vec<usize> {
        (0..logits.len())
            .filter(|&i| logits[i].is_finite())
            .collect()
    }

    #[test]
    fn top_k_keeps_ties() {
        let mut logits = [1.0, 3.0, 2.0, 2.0, 0.0];
        top_k(&mut logits, 2);
        assert_eq!(kept(&logits), [1, 2, 3]);
    }

    #[test]
    fn top_p_keeps_the_token_that_crosses_the_mass() {
        let mut logits = [0.5_f32, 0.3, 0.15, 0.05].map(f32::ln);
        top_p(&mut logits, 0.7);
        assert_eq!(kept(&logits), [0, 1]);
        let mut logits = [0.5_f32, 0.3, 0.15, 0.05].map(f32::ln);
        top_p(&mut logits, 0.01);
        assert_eq!(kept(&logits), [0]);
    }

    #[test]
    fn min_p_is_relative_to_the_likeliest() {
        let mut logits = [0.6_f32, 0.3, 0.07, 0.03].map(f32::ln);
        min_p(&mut logits, 0.1);
        assert_eq!(kept(&logits), [0, 1, 2]);
    }

    #[test]
    fn repetition_is_punished_once_a_token() {
        let mut logits = [2.0, -2.0, 1.0];
        repetition_penalty(&mut logits, &[0, 1, 0, 0], 2.0);
        assert_eq!(logits.map(|logit| logit as i32), [1, -4, 1]);
    }
}
