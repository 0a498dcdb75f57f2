//! The attention of `kernels::attention`: products, a mask and a softmax over the scores of as many queries as there is
//! memory for at once. A card has kernels for a few tokens, and for many where they may be rounded to 16 bits.

use std::ops::Range;

use candle_core::{DType, Result, Tensor};

use super::{
    super::View,
    softmax::{Scaling, Sight, softmax},
};
use crate::kernels::CausalAttention;

/// Bytes of scores that are made at once: queries beyond these take turns. In tests so few that they do.
pub(super) const MOST_BYTES: usize = if cfg!(test) { 1 << 12 } else { 256 << 20 };

/// Softmax(q·kᵀ·scale)·v, as [`CausalAttention`] has it: from f32 `(batch, heads, tokens, head_dim)` and keys and
/// values `(batch, kv_heads, keys, head_dim)` of any type, or as many as there are rows, `(1, kv_heads, keys, head_dim)`,
/// to f32 `(batch, tokens, heads * head_dim)`.
pub fn causal_attention(q: &Tensor, views: &[View], attention: &CausalAttention) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if q.device().is_cuda()
        && let Some(mixed) = crate::cuda::attention(q, views, attention)?
    {
        return Ok(mixed);
    }
    if let [view] = views {
        let (keys, values) = view.tokens()?;
        return attended(q, (&keys, &values), attention);
    }
    let rows = views.iter().enumerate().map(|(row, view)| {
        let (keys, values) = view.tokens()?;
        let alone = CausalAttention {
            padding: attention.padding[row..=row].into(),
            ..attention.clone()
        };
        attended(&q.narrow(0, row, 1)?, (&keys, &values), &alone)
    });
    Tensor::cat(&rows.collect::<Result<Vec<_>>>()?, 0)
}

/// The same of keys and values in one, by candle's operations.
fn attended(q: &Tensor, (k, v): (&Tensor, &Tensor), attention: &CausalAttention) -> Result<Tensor> {
    let (batch, heads, tokens, head_dim) = q.dims4()?;
    let (_, kv_heads, keys, _) = k.dims4()?;
    let scores = batch * heads * keys * size_of::<f32>();
    let slice = (MOST_BYTES / scores.max(1)).max(1);
    if tokens > slice {
        // The last query of a slice sits at the last key that it is given.
        let parts = (0..tokens).step_by(slice).map(|start| {
            let count = slice.min(tokens - start);
            let seen = keys - tokens + start + count;
            let (k, v) = (k.narrow(2, 0, seen)?, v.narrow(2, 0, seen)?);
            let q = q.narrow(2, start, count)?.contiguous()?;
            attended(&q, (&k, &v), attention)
        });
        return Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 1);
    }
    let lines = heads / kv_heads * tokens;
    let (k, v) = (k.to_dtype(DType::F32)?, v.to_dtype(DType::F32)?);
    // The heads of a group lie beside each other: their queries are rows of one product.
    let q = q.reshape((batch, kv_heads, lines, head_dim))?;
    let scores = q.matmul(&k.t()?)?.reshape((batch, heads, tokens, keys))?;
    let scaling = Scaling {
        scale: attention.scale,
        cap: attention.cap,
        bias: None,
    };
    let before = attention.window.map_or(keys, |window| window.max(1) - 1);
    let weights = causal(scores, (before, &attention.padding), &scaling)?;
    let mixed = weights
        .reshape((batch, kv_heads, lines, keys))?
        .matmul(&v)?;
    beside(&mixed.reshape((batch, heads, tokens, head_dim))?)
}

/// Softmax(q·kᵀ + bias)·v of heads that have keys of their own, with what is added by distance, `(heads, keys)`, the
/// farthest first: from f32 `(batch, heads, tokens, head_dim)` and keys and values of as many heads to f32 `(batch,
/// tokens, heads * head_dim)`.
pub fn relative_attention(q: &Tensor, (k, v): (&Tensor, &Tensor), bias: &[f32]) -> Result<Tensor> {
    let (heads, keys) = (q.dim(1)?, k.dim(2)?);
    let (k, v) = (k.to_dtype(DType::F32)?, v.to_dtype(DType::F32)?);
    let bias = Tensor::from_slice(bias, (heads, keys), q.device())?;
    let scaling = Scaling {
        scale: 1.0,
        cap: None,
        bias: Some(&bias),
    };
    let weights = causal(q.matmul(&k.t()?)?, (keys, &[]), &scaling)?;
    beside(&weights.matmul(&v)?)
}

/// The weights of scores `(batch, heads, tokens, keys)` of the last tokens, each of which sees so many keys before it,
/// but no padding.
fn causal(
    scores: Tensor,
    (before, padding): (usize, &[usize]),
    scaling: &Scaling,
) -> Result<Tensor> {
    let (_, _, tokens, keys) = scores.dims4()?;
    let rows: Vec<Range<usize>> = if padding.iter().all(|&padding| padding == 0) {
        Vec::new()
    } else {
        padding.iter().map(|&padding| padding..keys).collect()
    };
    let sight = Sight {
        first: keys - tokens,
        reach: [before, 0],
        rows: &rows,
    };
    softmax(scores, &sight, scaling)
}

/// Heads `(batch, heads, tokens, head_dim)` beside each other, `(batch, tokens, heads * head_dim)`.
fn beside(heads: &Tensor) -> Result<Tensor> {
    let (batch, _, tokens, _) = heads.dims4()?;
    heads.transpose(1, 2)?.reshape((batch, tokens, ()))
}
