//! The attention of `kernels::attention`: products, a mask and a softmax over the scores of as many queries as there is
//! memory for at once. A card has kernels for a few tokens, and for many where they may be rounded to 16 bits.

use candle_core::{D, DType, Result, Tensor};

use super::super::View;
use crate::kernels::CausalAttention;

/// A score that no softmax sees. Not infinity: of a row of padding nothing is seen, its numbers are of no use to
/// anyone, but must be numbers, since they are multiplied with zeros.
const HIDDEN: f32 = -1e30;

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
    let group = heads / kv_heads;
    let shape = (batch, kv_heads, group, tokens, keys);
    let (k, v) = (k.to_dtype(DType::F32)?, v.to_dtype(DType::F32)?);
    // The heads of a group lie beside each other: their queries are rows of one product.
    let q = q.reshape((batch, kv_heads, group * tokens, head_dim))?;
    // (batch, kv_heads, group * tokens, keys)
    let mut scores = (q.matmul(&k.t()?)? * f64::from(attention.scale))?;
    if let Some(cap) = attention.cap {
        let cap = f64::from(cap);
        scores = ((scores / cap)?.tanh()? * cap)?;
    }
    let scores = scores.reshape(shape)?;
    mix(scores, &v, attention)
}

/// Softmax(q·kᵀ + bias)·v of heads that have keys of their own, with what is added by distance, `(heads, keys)`, the
/// farthest first: from f32 `(batch, heads, tokens, head_dim)` and keys and values of as many heads to f32 `(batch,
/// tokens, heads * head_dim)`.
pub fn relative_attention(q: &Tensor, (k, v): (&Tensor, &Tensor), bias: &[f32]) -> Result<Tensor> {
    let (batch, heads, tokens, _) = q.dims4()?;
    let keys = k.dim(2)?;
    let (k, v) = (k.to_dtype(DType::F32)?, v.to_dtype(DType::F32)?);
    // Of what comes after a query nothing is seen: any distance will do.
    let places = (keys - tokens..keys).flat_map(|query| {
        let distance = move |key: usize| (keys - 1 - query + key).min(keys - 1) as u32;
        (0..keys).map(distance)
    });
    let places = Tensor::new(places.collect::<Vec<u32>>(), q.device())?;
    let bias = Tensor::from_slice(bias, (heads, keys), q.device())?;
    let bias = bias.index_select(&places, 1)?;
    let scores = q
        .matmul(&k.t()?)?
        .broadcast_add(&bias.reshape((1, heads, tokens, keys))?)?;
    let attention = CausalAttention {
        scale: 1.0,
        cap: None,
        window: None,
        padding: vec![0; batch].into(),
        rounds_to_brain: false,
        gives: wire::model::DType::F32,
        card_dtype: candle_core::DType::F32,
    };
    mix(scores.unsqueeze(2)?, &v, &attention)
}

/// From scores `(batch, kv_heads, group, tokens, keys)` and values `(batch, kv_heads, keys, head_dim)` to `(batch,
/// tokens, heads * head_dim)`.
fn mix(mut scores: Tensor, v: &Tensor, attention: &CausalAttention) -> Result<Tensor> {
    let (batch, kv_heads, group, tokens, keys) = scores.dims5()?;
    let shape = scores.shape().clone();
    let (heads, head_dim) = (kv_heads * group, v.dim(3)?);
    if let Some(seen) = seen(&scores, attention)? {
        let hidden = Tensor::full(HIDDEN, (1, 1, 1, 1, 1), v.device())?;
        scores = seen
            .broadcast_as(&shape)?
            .where_cond(&scores, &hidden.broadcast_as(&shape)?)?;
    }
    let weights = softmax(&scores)?.reshape((batch, kv_heads, group * tokens, keys))?;
    // (batch, heads, tokens, head_dim), then heads beside each other
    let mixed = weights
        .matmul(v)?
        .reshape((batch, heads, tokens, head_dim))?;
    mixed
        .transpose(1, 2)?
        .reshape((batch, tokens, heads * head_dim))
}

/// Over the last dimension.
pub(super) fn softmax(scores: &Tensor) -> Result<Tensor> {
    let exponentials = scores
        .broadcast_sub(&scores.max_keepdim(D::Minus1)?)?
        .exp()?;
    exponentials.broadcast_div(&exponentials.sum_keepdim(D::Minus1)?)
}

/// Which keys a query sees, 1 or 0, `(batch or 1, 1, 1, tokens, keys)`; `None` where each sees all.
fn seen(scores: &Tensor, attention: &CausalAttention) -> Result<Option<Tensor>> {
    let (_, _, _, tokens, keys) = scores.dims5()?;
    let window = attention.window.unwrap_or(keys);
    let is_padded = attention.padding.iter().any(|&padding| padding > 0);
    if tokens == 1 && keys <= window && !is_padded {
        return Ok(None);
    }
    let device = scores.device();
    // Positions are exact in f32 up to 16 million.
    let places = |from: usize, to: usize| Tensor::arange(from as f32, to as f32, device);
    let key = places(0, keys)?.reshape((1, 1, 1, 1, keys))?;
    let query = places(keys - tokens, keys)?.reshape((1, 1, 1, tokens, 1))?;
    let mut seen = key.broadcast_le(&query)?;
    if keys > window {
        let first = (query - (window as f64 - 1.0))?;
        seen = seen.mul(&key.broadcast_ge(&first)?)?;
    }
    if is_padded {
        let padding: Vec<f32> = attention
            .padding
            .iter()
            .map(|&count| count as f32)
            .collect();
        let batch = padding.len();
        let padding = Tensor::from_vec(padding, (batch, 1, 1, 1, 1), device)?;
        seen = seen.broadcast_mul(&key.broadcast_ge(&padding)?)?;
    }
    Ok(Some(seen))
}
