//! Mixtures of experts: a router gives each token to a few of many gated layers, and adds up what
//! they make of it (`MixtralSparseMoeBlock` and `Qwen3MoeSparseMoeBlock` of transformers).

use candle_core::{Result, Tensor};

use super::{GatedMlp, Linear, composed};

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

/// A token that goes to an expert, and what its answer weighs.
struct Share {
    expert: usize,
    token: usize,
    weight: f32,
}

impl Experts {
    /// From `(batch, tokens, hidden)` to the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, tokens, hidden) = x.dims3()?;
        // (batch * tokens, hidden)
        let x = x.reshape((batch * tokens, hidden))?;
        let scores: Vec<Vec<f32>> = self.router.forward(&x)?.to_vec2()?;
        let mut shares: Vec<Share> = Vec::with_capacity(scores.len() * self.per_token);
        for (token, scores) in scores.iter().enumerate() {
            let chosen = self.choose(scores).into_iter();
            shares.extend(chosen.map(|(expert, weight)| Share {
                expert,
                token,
                weight,
            }));
        }
        // Tokens of an expert lie beside each other, the experts' one behind the other.
        shares.sort_by_key(|share| (share.expert, share.token));
        let sum = if composed::serves(&x) {
            self.ranked(&x, &shares)?
        } else {
            self.added(&x, &shares)?
        };
        sum.reshape((batch, tokens, hidden))
    }

    /// The sums of what experts make of their shares of `x` `(tokens, hidden)`, weighted, in main memory: each is added
    /// where it belongs.
    fn added(&self, x: &Tensor, shares: &[Share]) -> Result<Tensor> {
        let (tokens, hidden) = x.dims2()?;
        let mut sums = vec![0.0; tokens * hidden];
        for own in shares.chunk_by(|a, b| a.expert == b.expert) {
            let rows: Vec<u32> = own.iter().map(|share| share.token as u32).collect();
            let rows = x.index_select(&Tensor::new(rows, x.device())?, 0)?;
            let made = self.experts[own[0].expert].forward(&rows, None)?;
            let made: Vec<f32> = made.flatten_all()?.to_vec1()?;
            for (share, made) in own.iter().zip(made.chunks_exact(hidden)) {
                let sums = &mut sums[share.token * hidden..][..hidden];
                for (sum, value) in sums.iter_mut().zip(made) {
                    *sum += value * share.weight;
                }
            }
        }
        Tensor::from_vec(sums, (tokens, hidden), x.device())
    }

    /// The same on a device that is asked once for what it can do at once.
    fn ranked(&self, x: &Tensor, shares: &[Share]) -> Result<Tensor> {
        let (tokens, hidden) = x.dims2()?;
        let all = self.shared(x, shares)?;
        let mut places = vec![Vec::new(); tokens];
        for (place, share) in (0_u32..).zip(shares) {
            places[share.token].push(place);
        }
        // The first of each token's experts, then the second of each, …
        let count = places.first().map_or(0, Vec::len);
        let ranked = (0..count).flat_map(|rank| places.iter().map(move |own| own[rank]));
        let ranked = Tensor::new(ranked.collect::<Vec<u32>>(), x.device())?;
        let all = all
            .index_select(&ranked, 0)?
            .reshape((count, tokens, hidden))?;
        let mut sum = all.get(0)?;
        for rank in 1..count {
            sum = (sum + all.get(rank)?)?;
        }
        Ok(sum)
    }

    /// What experts make of their shares of `x` `(tokens, hidden)`, weighted: `(shares, hidden)`.
    fn shared(&self, x: &Tensor, shares: &[Share]) -> Result<Tensor> {
        let tokens: Vec<u32> = shares.iter().map(|share| share.token as u32).collect();
        let weights: Vec<f32> = shares.iter().map(|share| share.weight).collect();
        let x = x.index_select(&Tensor::new(tokens, x.device())?, 0)?;
        let mut start = 0;
        let of_expert = |own: &[Share]| {
            let rows = x.narrow(0, start, own.len())?;
            start += own.len();
            self.experts[own[0].expert].forward(&rows, None)
        };
        let made = shares.chunk_by(|a, b| a.expert == b.expert).map(of_expert);
        let made = Tensor::cat(&made.collect::<Result<Vec<_>>>()?, 0)?;
        made.broadcast_mul(&Tensor::from_vec(weights, (shares.len(), 1), x.device())?)
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
