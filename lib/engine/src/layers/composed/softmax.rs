//! Softmax over the scores of what queries see of keys.

use std::ops::Range;

use candle_core::{Result, Tensor, bail};

/// Which keys queries see.
pub(crate) struct Sight<'a> {
    /// The place of the first query among the keys; the others follow it.
    pub first: usize,
    /// So many keys before its own place, and after it, a query sees at most.
    pub reach: [usize; 2],
    /// Of each row the keys that there are; where it is empty, all of each.
    pub rows: &'a [Range<usize>],
}

/// What becomes of scores before.
#[derive(Clone, Copy)]
pub(crate) struct Scaling<'a> {
    /// Multiplies them.
    pub scale: f32,
    /// Then bends them into ±cap, by `cap·tanh(score/cap)`.
    pub cap: Option<f32>,
    /// Then is added: f32 `(heads, distances)`, by the key's place less the query's, that of the first key from the last
    /// query first, at least as far as is seen.
    pub bias: Option<&'a Tensor>,
}

/// From f32 scores `(rows, heads, queries, keys)` to the weights of keys, zero of those that are not seen.
#[cfg_attr(
    not(feature = "cuda"),
    expect(clippy::needless_pass_by_value, reason = "a card writes in its place")
)]
pub(super) fn softmax(scores: Tensor, sight: &Sight, scaling: &Scaling) -> Result<Tensor> {
    let (rows, heads, queries, keys) = scores.dims4()?;
    let needed = (heads, keys + sight.reach[1].min(keys.saturating_sub(1)));
    let (biased, distances) = scaling.bias.map_or(Ok(needed), Tensor::dims2)?;
    if sight.first + queries > keys || biased != heads || distances < needed.1 {
        bail!("softmax got {:?} from {}", scores.shape(), sight.first);
    }
    if !(sight.rows.is_empty() || sight.rows.len() == rows) {
        bail!("softmax of {rows} rows got bounds of {}", sight.rows.len());
    }
    #[cfg(feature = "cuda")]
    if scores.device().is_cuda() {
        return crate::cuda::softmax(scores, sight, scaling);
    }
    let bias = scaling.bias.map(Tensor::to_vec2::<f32>).transpose()?;
    let mut values: Vec<f32> = scores.flatten_all()?.to_vec1()?;
    for (index, own) in values.chunks_mut(keys).enumerate() {
        let (place, above) = (sight.first + index % queries, index / queries);
        let seen = sight.of(place, above / heads, keys);
        let bias = bias
            .as_ref()
            .map(|bias| &bias[above % heads][keys - 1 - place..]);
        let scaled = |(key, score): (usize, &f32)| {
            let score = score * scaling.scale;
            let bent = scaling.cap.map_or(score, |cap| cap * (score / cap).tanh());
            bent + bias.map_or(0.0, |bias| bias[key])
        };
        let scores: Vec<f32> = own
            .iter()
            .enumerate()
            .skip(seen.start)
            .take(seen.len())
            .map(scaled)
            .collect();
        let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exponentials: Vec<f32> = scores.iter().map(|score| (score - largest).exp()).collect();
        let sum: f32 = exponentials.iter().sum();
        own.fill(0.0);
        for (weight, exponential) in own[seen].iter_mut().zip(exponentials) {
            *weight = exponential / sum;
        }
    }
    Tensor::from_vec(values, (rows, heads, queries, keys), scores.device())
}

impl Sight<'_> {
    /// What the query at a place sees in a row.
    fn of(&self, place: usize, row: usize, keys: usize) -> Range<usize> {
        let own = self.rows.get(row).cloned().unwrap_or(0..keys);
        let [before, after] = self.reach;
        let start = place.saturating_sub(before).max(own.start);
        let end = place.saturating_add(after).saturating_add(1).min(own.end);
        start.min(end)..end
    }
}
