//! Processors of sampling: temperature, and what is cut off the distribution. Sorting happens among the
//! tokens that are still there, which after `top_k` are a few: what was ruled out has no probability, and
//! ruling it out again changes nothing.

use wire::{Failure, generate::GenerationConfig};

use super::{Processor, Warper, WarperKind, eos};
use crate::failures::invalid;

/// transformers' default `top_k`.
const DEFAULT_TOP_K: u32 = 50;

/// Adds the warpers, in order.
pub fn add(list: &mut Vec<Processor>, config: &GenerationConfig) -> Result<(), Failure> {
    // Beams need a token beside those that end them.
    let keep = match config.num_beams {
        Some(2..) => eos(config).map_or(2, |ids| ids.len() + 1),
        _ => 1,
    };
    let mut push = |kind| list.push(Processor::Warp(Warper { kind, keep }));
    let temperature = config.temperature.unwrap_or(1.0);
    if temperature.is_nan() || temperature <= 0.0 {
        return Err(invalid(format!(
            "`temperature` (={temperature}) has to be a strictly positive float, otherwise your next token \
             scores will be invalid"
        ))
        .hint("for greedy decoding set `do_sample` to false"));
    }
    #[expect(
        clippy::float_cmp,
        reason = "1 is the value that means off, as written"
    )]
    if temperature != 1.0 {
        push(WarperKind::Temperature(temperature as f32));
    }
    let top_k = config.top_k.unwrap_or(DEFAULT_TOP_K) as usize;
    if top_k > 0 {
        push(WarperKind::TopK(top_k));
    }
    // From 1 on these two mean off, as in `_get_logits_processor`, which then makes no warper.
    let is_part = |p: &f64| *p < 1.0;
    if let Some(p) = config.top_p.filter(is_part) {
        if p < 0.0 {
            return Err(outside("top_p", p, "a float > 0 and < 1"));
        }
        push(WarperKind::TopP(p));
    }
    if let Some(p) = config.min_p {
        if !(0.0..=1.0).contains(&p) {
            return Err(outside("min_p", p, "a float in the [0, 1] interval"));
        }
        push(WarperKind::MinP(p as f32));
    }
    if let Some(mass) = config.typical_p.filter(is_part) {
        if mass <= 0.0 {
            return Err(outside("typical_p", mass, "a float > 0 and < 1"));
        }
        push(WarperKind::Typical(mass as f32));
    }
    // Values outside of (0, 1) mean off here.
    let is_on = |cutoff: &f64| 0.0 < *cutoff && *cutoff < 1.0;
    if let Some(epsilon) = config.epsilon_cutoff.filter(is_on) {
        push(WarperKind::Epsilon(epsilon as f32));
    }
    if let Some(epsilon) = config.eta_cutoff.filter(is_on) {
        push(WarperKind::Eta(epsilon as f32));
    }
    Ok(())
}

fn outside(name: &str, value: f64, what: &str) -> Failure {
    invalid(format!("`{name}` has to be {what}, but is {value}"))
}

impl Warper {
    /// Warps logits in place.
    pub fn warp(&self, logits: &mut [f32]) {
        let keep = self.keep;
        match self.kind {
            WarperKind::Temperature(temperature) => {
                for logit in logits {
                    *logit /= temperature;
                }
            }
            WarperKind::TopK(k) => {
                let bound = largest(logits, k.max(keep));
                keep_from(logits, bound, |_| true);
            }
            WarperKind::TopP(p) => top_p(logits, p, keep),
            WarperKind::MinP(p) => min_p(logits, p, keep),
            WarperKind::Typical(mass) => typical(logits, mass, keep),
            WarperKind::Epsilon(epsilon) => below(logits, keep, |_| epsilon),
            WarperKind::Eta(epsilon) => below(logits, keep, |probabilities| {
                epsilon.min(epsilon.sqrt() * (-entropy(probabilities)).exp())
            }),
        }
    }
}

/// The `k`-th largest of the logits; minus infinity where there are no more.
fn largest(logits: &[f32], k: usize) -> f32 {
    if k == 0 || k >= logits.len() {
        return f32::NEG_INFINITY;
    }
    let mut sorted = logits.to_vec();
    let (_, &mut last, _) = sorted.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    last
}

/// Rules out the logits below a bound, where `and` agrees.
fn keep_from(logits: &mut [f32], bound: f32, and: impl Fn(usize) -> bool) {
    for (id, logit) in logits.iter_mut().enumerate() {
        if *logit < bound && and(id) {
            *logit = f32::NEG_INFINITY;
        }
    }
}

/// The tokens that are not ruled out.
fn remaining(logits: &[f32]) -> Vec<usize> {
    let ids = logits.iter().enumerate();
    ids.filter(|(_, logit)| **logit != f32::NEG_INFINITY)
        .map(|(id, _)| id)
        .collect()
}

/// Drops the least likely tokens as long as together they make up at most `1 - p`.
fn top_p(logits: &mut [f32], p: f64, keep: usize) {
    let mut order = remaining(logits);
    order.sort_by(|&a, &b| logits[a].total_cmp(&logits[b]));
    let probabilities = softmax(logits);
    let allowed = (1.0 - p) as f32;
    let mut sum = 0.0_f64;
    for &token in &order[..order.len().saturating_sub(keep)] {
        sum += f64::from(probabilities[token]);
        if sum as f32 > allowed {
            return;
        }
        logits[token] = f32::NEG_INFINITY;
    }
}

/// Drops tokens less than `p` times as likely as the likeliest.
fn min_p(logits: &mut [f32], p: f32, keep: usize) {
    let probabilities = softmax(logits);
    let bound = p * probabilities.iter().copied().fold(0.0, f32::max);
    let kept = largest(logits, keep);
    keep_from(logits, kept, |id| probabilities[id] < bound);
}

/// Drops tokens less likely than what `bound` makes of the probabilities.
fn below(logits: &mut [f32], keep: usize, bound: impl Fn(&[f32]) -> f32) {
    let probabilities = softmax(logits);
    let bound = bound(&probabilities);
    let kept = largest(logits, keep);
    keep_from(logits, kept, |id| probabilities[id] < bound);
}

/// Locally typical sampling (Meister et al., 2022).
fn typical(logits: &mut [f32], mass: f32, keep: usize) {
    let mut surprise = logits.to_vec();
    log_softmax(&mut surprise);
    let probabilities: Vec<f32> = surprise.iter().map(|log| log.exp()).collect();
    let entropy = entropy(&probabilities);
    for value in &mut surprise {
        *value = (-*value - entropy).abs();
    }
    let mut order = remaining(logits);
    order.sort_by(|&a, &b| surprise[a].total_cmp(&surprise[b]));
    let mut sum = 0.0_f64;
    let last = order.iter().find(|&&token| {
        sum += f64::from(probabilities[token]);
        sum as f32 >= mass
    });
    let Some(&last) = last else {
        return;
    };
    let bound = surprise[last];
    for &token in order.iter().skip(keep) {
        if surprise[token] > bound {
            logits[token] = f32::NEG_INFINITY;
        }
    }
}

fn entropy(probabilities: &[f32]) -> f32 {
    let terms = probabilities.iter().filter(|&&p| p > 0.0);
    -terms.map(|p| p * p.ln()).sum::<f32>()
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

/// Logarithms of the probabilities of logits, in their place.
pub fn log_softmax(logits: &mut [f32]) {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits
        .iter()
        .map(|logit| f64::from((logit - largest).exp()))
        .sum();
    let shift = largest + sum.ln() as f32;
    for logit in logits {
        *logit -= shift;
    }
}
