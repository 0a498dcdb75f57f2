//! Attention of a decoder's tokens over the source text: every token sees all of it. Queries of all beams
//! and tokens of a source are one group of heads to the kernel, so that its keys are read once for them.

use candle_core::{Result, Tensor};
use wire::model::DType;

use super::{Linear, Memory, Size, View, composed, join, memory::Run, split};
use crate::kernels::CausalAttention;

/// One cross-attention layer.
#[derive(Clone, Debug)]
pub struct CrossAttention {
    /// `(hidden)` to `(heads * head_dim)`.
    pub query: Linear,
    /// The same, of the source's states.
    pub key: Linear,
    /// The same.
    pub value: Linear,
    /// `(heads * head_dim)` to `(hidden)`.
    pub output: Linear,
    /// Heads.
    pub heads: usize,
    /// Multiplies the scores.
    pub scale: f32,
}

impl CrossAttention {
    /// Keys and values of sources, whose states lie one behind the other in `(1, tokens, hidden)`: each
    /// `(sources, heads, longest, head_dim)`, padded on the left.
    pub fn memory(&self, states: &Tensor, lengths: &[usize]) -> Result<(Tensor, Tensor)> {
        let keys = self.padded(&self.key.forward(states)?, lengths)?;
        let values = self.padded(&self.value.forward(states)?, lengths)?;
        Ok((keys, values))
    }

    fn padded(&self, x: &Tensor, lengths: &[usize]) -> Result<Tensor> {
        let head_dim = x.dim(2)? / self.heads;
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let mut start = 0;
        let sources = lengths.iter().map(|&length| {
            let own = x.narrow(1, start, length)?;
            start += length;
            // (1, heads, tokens, head_dim)
            let own = own
                .reshape((1, length, self.heads, head_dim))?
                .transpose(1, 2)?;
            if length == longest {
                // A single token's strides would stay as they are.
                return own.force_contiguous();
            }
            let room = (1, self.heads, longest - length, head_dim);
            Tensor::cat(
                &[
                    Tensor::zeros(room, x.dtype(), x.device())?,
                    own.contiguous()?,
                ],
                2,
            )
        });
        Tensor::cat(&sources.collect::<Result<Vec<_>>>()?, 0)
    }

    /// From `(batch, tokens, hidden)`, several parts joined, to the same shape, by the memory of each part
    /// for this layer.
    pub fn forward(
        &self,
        x: &Tensor,
        sizes: &[Size],
        (memories, layer): (&[&Memory], usize),
    ) -> Result<Tensor> {
        let parts = split(&self.query.forward(x)?, sizes)?;
        let mixed = parts.iter().zip(memories).map(|(q, memory)| {
            let runs = memory.runs();
            let mixed = runs.iter().map(|run| self.mix(q, memory, (run, layer)));
            let mut mixed = mixed.collect::<Result<Vec<_>>>()?;
            match (mixed.pop(), mixed.is_empty()) {
                (Some(only), true) => Ok(only),
                (last, _) => Tensor::cat(&mixed.into_iter().chain(last).collect::<Vec<_>>(), 0),
            }
        });
        self.output.forward(&join(mixed.collect::<Result<_>>()?)?.0)
    }

    /// From queries of a batch `(batch, tokens, heads * head_dim)` to what a run's rows make of it.
    fn mix(&self, q: &Tensor, memory: &Memory, (run, layer): (&Run, usize)) -> Result<Tensor> {
        let (_, tokens, width) = q.dims3()?;
        let (first, sources) = run.sources;
        let (heads, head_dim, each) = (self.heads, width / self.heads, run.rows * tokens);
        let q = q.narrow(0, run.first_row, sources * run.rows)?;
        // (sources, heads, rows * tokens, head_dim)
        let q = q
            .reshape((sources, each, heads, head_dim))?
            .transpose(1, 2)?
            .contiguous()?;
        let q = q.reshape((sources, heads * each, 1, head_dim))?;
        let (keys, values) = memory.layer(layer)?;
        let attention = CausalAttention {
            scale: self.scale,
            cap: None,
            window: None,
            padding: memory.padding(run.sources),
            rounds_to_brain: false,
            gives: DType::F32,
            card_dtype: candle_core::DType::F32,
        };
        let (keys, values) = (
            keys.narrow(0, first, sources)?,
            values.narrow(0, first, sources)?,
        );
        // (sources, 1, heads * rows * tokens * head_dim)
        let mixed = if composed::serves(&q) {
            composed::causal_attention(&q, &[View::whole((keys, values))?], &attention)?
        } else {
            q.apply_op3_no_bwd(&keys, &values, &attention)?
        };
        let mixed = mixed
            .reshape((sources, heads, each, head_dim))?
            .transpose(1, 2)?;
        mixed
            .contiguous()?
            .reshape((sources * run.rows, tokens, width))
    }
}
