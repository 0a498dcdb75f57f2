//! How far a model with rounded activations is from itself with activations, keys and values as they are: both read
//! the same few texts, and each position's distributions of the next token are compared.

use candle_core::{DType, Result as TensorResult};
use wire::{Failure, model::Agreement};

use crate::{
    Cancel, failures, families::CausalLm, kernels::exactly, layers::KvCache, tokenizer::Tokenizer,
};

/// What is read: prose, facts, code, arithmetic, a dialogue and French, some 130 tokens.
const TEXTS: [&str; 6] = [
    "The capital of France is Paris, and the river that runs through it is the Seine.",
    "Water boils at 100 degrees Celsius at sea level, and at lower temperatures on high mountains.",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return fibonacci(n - 1) + fibonacci(n - 2)\n",
    "Anna has 12 apples and gives 5 of them to Ben, so she has 12 - 5 = 7 apples left.",
    "Question: Who wrote the play Hamlet?\nAnswer: William Shakespeare wrote Hamlet around 1600.",
    "Le chat dort sur le canapé pendant que la pluie tombe dehors.",
];

/// Compares them.
pub(super) fn measure(
    model: &dyn CausalLm,
    tokenizer: &Tokenizer,
    cancel: &Cancel,
) -> Result<Agreement, Failure> {
    let mut agreement = Agreement::default();
    let mut divergence = 0.0;
    for text in TEXTS {
        cancel.check()?;
        let tokens = tokenizer.encode(text, true)?.tokens;
        let ids = tokens.iter().map(|token| token.id);
        let ids: Vec<u32> = ids.take(model.sizes().context_length).collect();
        // A tokenizer may have tokens that the model has no row for.
        let is_known = |id: &u32| (*id as usize) < model.sizes().vocab_size;
        if ids.is_empty() || !ids.iter().all(is_known) {
            continue;
        }
        let read = |mut cache: KvCache| logits(model, &ids, &mut cache).map_err(failures::internal);
        let cache = model.new_cache();
        let exact_cache = model.new_cache().stored_as(DType::F32);
        let exact_cache = exact_cache.map_err(failures::internal)?;
        let (exact, rounded) = (exactly(|| read(exact_cache))?, read(cache)?);
        for (exact, rounded) in exact.iter().zip(&rounded) {
            agreement.positions += 1;
            let is_finite = rounded.iter().all(|logit| logit.is_finite());
            agreement.same_top += u32::from(is_finite && top(exact) == top(rounded));
            divergence += kullback_leibler(exact, rounded);
        }
    }
    agreement.divergence = divergence / f64::from(agreement.positions.max(1));
    Ok(agreement)
}

/// Logits after each token.
fn logits(model: &dyn CausalLm, ids: &[u32], cache: &mut KvCache) -> TensorResult<Vec<Vec<f32>>> {
    let states = model.hidden_states(ids, cache)?;
    model.logits(&states)?.squeeze(0)?.to_vec2()
}

fn top(logits: &[f32]) -> Option<usize> {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map(|(index, _)| index)
}

/// KL(p‖q) of the softmaxes of two rows of logits, in nats; as large as can be where one is none.
fn kullback_leibler(p: &[f32], q: &[f32]) -> f64 {
    let (p_total, q_total) = (log_sum(p), log_sum(q));
    let terms = p.iter().zip(q).map(|(p, q)| {
        let (p, q) = (f64::from(*p) - p_total, f64::from(*q) - q_total);
        let share = p.exp();
        if share == 0.0 { 0.0 } else { share * (p - q) }
    });
    let sum: f64 = terms.sum();
    if sum.is_finite() {
        sum.max(0.0)
    } else {
        f64::MAX
    }
}

/// The logarithm of the sum of exponentials.
fn log_sum(logits: &[f32]) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let largest = f64::from(largest);
    let sum: f64 = logits
        .iter()
        .map(|value| (f64::from(*value) - largest).exp())
        .sum();
    largest + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::kullback_leibler;

    #[test]
    fn divergence_is_that_of_the_softmaxes() {
        let (p, q) = ([1.0_f32, 2.0, 4.0], [1.5_f32, 2.0, 3.0]);
        assert!(kullback_leibler(&p, &p).abs() < 1e-12);
        let exponentials = |row: [f32; 3]| row.map(|x| f64::from(x).exp());
        let (a, b) = (exponentials(p), exponentials(q));
        let (a_sum, b_sum): (f64, f64) = (a.iter().sum(), b.iter().sum());
        let pairs = a.iter().zip(&b).map(|(a, b)| (a / a_sum, b / b_sum));
        let expected: f64 = pairs.map(|(a, b)| a * (a / b).ln()).sum();
        assert!((kullback_leibler(&p, &q) - expected).abs() < 1e-9);
        assert!(kullback_leibler(&p, &[f32::NAN; 3]) > 1e9, "no agreement");
    }
}
