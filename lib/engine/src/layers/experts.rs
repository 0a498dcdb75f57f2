//! Mixtures of experts: a router gives each token to a few of many gated layers, and adds up what
//! they make of it (`MixtralSparseMoeBlock` and `Qwen3MoeSparseMoeBlock` of transformers).

use candle_core::{Result, Tensor};

use super::{GatedMlp, Linear};

/// A layer of experts.
#[derive(Clone, Debug)]
pub struct Experts {
    /// `(hidden)` to one score an expert.
    pub router: Linear,
    /// The experts.
    pub experts: Vec<GatedMlp>,
    /// Experts that each token goes to.
    pub per_token: usize,
    /// Make the weights of a token's experts add up to one.
    pub normalize: bool,
}

impl Experts {
    /// From `(batch, tokens, hidden)` to the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, tokens, hidden) = x.dims3()?;
        // (batch * tokens, hidden)
        let x = x.reshape((batch * tokens, hidden))?;
        let scores: Vec<Vec<f32>> = self.router.forward(&x)?.to_vec2()?;
        // The tokens of each expert, with their weights.
        let mut shares: Vec<(Vec<u32>, Vec<f32>)> = vec![Default::default(); self.experts.len()];
        for (token, scores) in scores.iter().enumerate() {
            for (expert, weight) in self.choose(scores) {
                shares[expert].0.push(token as u32);
                shares[expert].1.push(weight);
            }
        }
        let mut out = x.zeros_like()?;
        for (expert, (rows, weights)) in self.experts.iter().zip(shares) {
            if rows.is_empty() {
                continue;
            }
            let count = rows.len();
            let rows = Tensor::from_vec(rows, count, x.device())?;
            let weights = Tensor::from_vec(weights, (count, 1), x.device())?;
            // (rows, hidden)
            let y = expert.forward(&x.index_select(&rows, 0)?, None)?;
            out = out.index_add(&rows, &y.broadcast_mul(&weights)?, 0)?;
        }
        out.reshape((batch, tokens, hidden))
    }

    /// A token's experts and their weights: the largest of the softmax over all scores.
    fn choose(&self, scores: &[f32]) -> Vec<(usize, f32)> {
        let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exponentials = scores.iter().map(|score| (score - largest).exp());
        let sum: f32 = exponentials.clone().sum();
        let mut weights: Vec<(usize, f32)> = exponentials.map(|e| e / sum).enumerate().collect();
        weights.sort_by(|a, b| b.1.total_cmp(&a.1));
        weights.truncate(self.per_token);
        if self.normalize {
            let sum: f32 = weights.iter().map(|(_, weight)| weight).sum();
            for (_, weight) in &mut weights {
                *weight /= sum;
            }
        }
        weights
    }
}
