//! Scaled dot-product attention of new tokens over a cache, causal, with grouped heads: the keys of a
//! group are read where they lie, never copied once a head.

use std::{ops::Range, sync::Arc};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, bail};
use half::{bf16, f16, slice::HalfFloatSliceExt};
use rayon::prelude::*;

use super::primitives;

/// Values that one job should at least touch: below it, handing out costs more than it brings.
const VALUES_PER_JOB: usize = 1 << 15;
/// Rows of 16-bit keys or values that are widened at once: with heads of a hundred values they stay in
/// the first-level cache until they are used.
const ROWS_WIDENED: usize = 64;

/// Softmax(q·kᵀ·scale)·v, where the last of `tokens` queries sits at the last of `keys` positions and
/// each query sees the keys up to its own position, within the window and past the padding.
///
/// Takes f32 `q` `(batch, heads, tokens, head_dim)` and `k`, `v` `(batch, kv_heads, keys, head_dim)` in
/// f32, f16 or bf16, which are widened as they are read; gives f32 `(batch, tokens, heads * head_dim)`.
pub struct CausalAttention {
    /// Multiplies the scores: `1/√head_dim` in most families.
    pub scale: f32,
    /// Bends scaled scores into ±cap by `cap·tanh(score/cap)`.
    pub cap: Option<f32>,
    /// Keys that a query sees at most, its own included.
    pub window: Option<usize>,
    /// Positions of padding before each row's tokens, one a row.
    pub padding: Arc<[usize]>,
}

/// What one job needs beside its output.
struct Scratch {
    scores: Vec<f32>,
    /// Room for [`ROWS_WIDENED`] rows.
    rows: Vec<f32>,
}

/// Keys or values of a cache.
#[derive(Clone, Copy)]
enum Rows<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    BF16(&'a [bf16]),
}

impl<'a> Rows<'a> {
    fn of(storage: &'a CpuStorage, start: usize) -> Result<Self> {
        Ok(match storage {
            CpuStorage::F32(values) => Self::F32(&values[start..]),
            CpuStorage::F16(values) => Self::F16(&values[start..]),
            CpuStorage::BF16(values) => Self::BF16(&values[start..]),
            _ => bail!("attention takes keys and values in f32, f16 or bf16"),
        })
    }

    /// Hands out a range as f32: whole, or in pieces of `scratch`'s length, each with its place in the
    /// range.
    fn each(self, range: Range<usize>, scratch: &mut [f32], mut take: impl FnMut(usize, &[f32])) {
        let length = scratch.len();
        match self {
            Self::F32(values) => take(0, &values[range]),
            Self::F16(values) => {
                for (index, piece) in values[range].chunks(length).enumerate() {
                    piece.convert_to_f32_slice(&mut scratch[..piece.len()]);
                    take(index * length, &scratch[..piece.len()]);
                }
            }
            Self::BF16(values) => {
                for (index, piece) in values[range].chunks(length).enumerate() {
                    piece.convert_to_f32_slice(&mut scratch[..piece.len()]);
                    take(index * length, &scratch[..piece.len()]);
                }
            }
        }
    }
}

/// Sizes of one call.
struct Sizes {
    heads: usize,
    kv_heads: usize,
    tokens: usize,
    keys: usize,
    head_dim: usize,
    /// Values between two batches, and between two heads, of keys and values.
    strides: (usize, usize),
}

impl CustomOp3 for CausalAttention {
    fn name(&self) -> &'static str {
        "causal-attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (batch, heads, tokens, head_dim) = q_layout.shape().dims4()?;
        let (k_batch, kv_heads, keys, k_dim) = k_layout.shape().dims4()?;
        let strides = k_layout.stride();
        let fits = k_batch == batch
            && k_dim == head_dim
            && kv_heads > 0
            && heads % kv_heads == 0
            && keys >= tokens
            && v_layout.shape() == k_layout.shape()
            && v_layout.stride() == strides
            && strides[2..] == [head_dim, 1]
            && q_layout.is_contiguous()
            && self.padding.len() == batch;
        if !fits {
            bail!(
                "attention got q {:?} and k {:?}",
                q_layout.shape(),
                k_layout.shape()
            );
        }
        let sizes = Sizes {
            heads,
            kv_heads,
            tokens,
            keys,
            head_dim,
            strides: (strides[0], strides[1]),
        };
        let q = &q.as_slice::<f32>()?[q_layout.start_offset()..];
        let k = Rows::of(k, k_layout.start_offset())?;
        let v = Rows::of(v, v_layout.start_offset())?;
        // (batch, tokens, heads, head_dim)
        let mut out = vec![0.0; batch * tokens * heads * head_dim];
        out.par_chunks_mut(head_dim)
            .with_min_len((VALUES_PER_JOB / (keys * head_dim)).max(1))
            .enumerate()
            .for_each_init(
                || Scratch {
                    scores: vec![0.0; keys],
                    rows: vec![0.0; ROWS_WIDENED * head_dim],
                },
                |scratch, (index, out)| self.attend(&sizes, index, (q, k, v), scratch, out),
            );
        Ok((
            CpuStorage::F32(out),
            Shape::from((batch, tokens, heads * head_dim)),
        ))
    }
}

impl CausalAttention {
    /// One query of one head; `index` counts `(batch, tokens, heads)`.
    fn attend(
        &self,
        sizes: &Sizes,
        index: usize,
        (q, k, v): (&[f32], Rows, Rows),
        scratch: &mut Scratch,
        out: &mut [f32],
    ) {
        let head = index % sizes.heads;
        let token = index / sizes.heads % sizes.tokens;
        let batch = index / (sizes.heads * sizes.tokens);
        let query_at = ((batch * sizes.heads + head) * sizes.tokens + token) * sizes.head_dim;
        let query = &q[query_at..][..sizes.head_dim];
        let kv_head = head / (sizes.heads / sizes.kv_heads);
        let start = batch * sizes.strides.0 + kv_head * sizes.strides.1;
        let end = sizes.keys - sizes.tokens + token + 1;
        let padding = self.padding[batch];
        let first = end.saturating_sub(self.window.unwrap_or(end)).max(padding);
        // A query in the padding sees nothing: its row stays zero, and nobody reads it.
        if first >= end {
            return;
        }
        let scores = &mut scratch.scores[..end - first];
        let seen = start + first * sizes.head_dim..start + end * sizes.head_dim;
        let dim = sizes.head_dim;
        k.each(seen.clone(), &mut scratch.rows, |at, rows| {
            (primitives().dots)(query, rows, &mut scores[at / dim..][..rows.len() / dim]);
        });
        if let Some(cap) = self.cap {
            for score in &mut *scores {
                *score = (*score * self.scale / cap).tanh() * cap;
            }
            softmax(scores, 1.0);
        } else {
            softmax(scores, self.scale);
        }
        v.each(seen, &mut scratch.rows, |at, rows| {
            (primitives().weighted_sum)(&scores[at / dim..][..rows.len() / dim], rows, out);
        });
    }
}

pub(super) fn softmax(scores: &mut [f32], scale: f32) {
    let mut largest = f32::NEG_INFINITY;
    for score in &mut *scores {
        *score *= scale;
        largest = largest.max(*score);
    }
    let mut sum = 0.0;
    for score in &mut *scores {
        *score = (*score - largest).exp();
        sum += *score;
    }
    let factor = 1.0 / sum;
    for score in scores {
        *score *= factor;
    }
}
