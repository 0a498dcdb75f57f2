//! From the states of a row's tokens to one: the first, or the mean of all.

use candle_core::{Result, Tensor};

use super::plan::Pooling;

impl Pooling {
    /// From the states of all rows' tokens `(1, tokens, hidden)` to one a row `(1, rows, hidden)`.
    pub fn of_rows(self, states: &Tensor, lengths: &[usize]) -> Result<Tensor> {
        match self {
            Self::First => {
                let starts = lengths.iter().scan(0_u32, |start, length| {
                    let own = *start;
                    *start += *length as u32;
                    Some(own)
                });
                let starts: Vec<u32> = starts.collect();
                states.index_select(&Tensor::new(starts, states.device())?, 1)
            }
            Self::Mean => mean(states, lengths),
        }
    }
}

/// The mean of each row's states: from `(1, tokens, hidden)` to `(1, rows, hidden)`. As
/// sentence-transformers' `Pooling` with `pooling_mode_mean_tokens`, without padding.
pub fn mean(states: &Tensor, lengths: &[usize]) -> Result<Tensor> {
    let (width, device) = (states.dim(2)?, states.device());
    let states = states.flatten_all()?.to_vec1::<f32>()?;
    let mut means = vec![0.0; lengths.len() * width];
    let mut rest = states.as_slice();
    for (mean, &length) in means.chunks_exact_mut(width).zip(lengths) {
        let (own, after) = rest.split_at(length * width);
        for token in own.chunks_exact(width) {
            for (sum, value) in mean.iter_mut().zip(token) {
                *sum += value;
            }
        }
        for sum in mean {
            *sum /= length.max(1) as f32;
        }
        rest = after;
    }
    Tensor::from_vec(means, (1, lengths.len(), width), device)
}
