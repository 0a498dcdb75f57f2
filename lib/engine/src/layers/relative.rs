//! Relative positions of T5 (Raffel et al., 2019): what is added to a score depends on the distance of
//! query and key alone, by buckets that grow with it (`_relative_position_bucket` of transformers).

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, bail};
use rayon::prelude::*;

use crate::kernels::primitives;

/// Multiplications below which the work is not shared out.
const ALONE: usize = 1 << 16;

/// A table of what each bucket of distances adds to a head's scores.
#[derive(Clone, Debug)]
pub struct RelativeBias {
    /// `(buckets, heads)`, row by row.
    pub table: Vec<f32>,
    /// Heads.
    pub heads: usize,
    /// Distance from which on all are one bucket.
    pub max_distance: usize,
    /// Whether a query sees what comes after it.
    pub bidirectional: bool,
}

impl RelativeBias {
    /// The bucket of a key that lies so far after its query.
    fn bucket(&self, distance: isize) -> usize {
        let mut buckets = self.table.len() / self.heads;
        let mut first = 0;
        if self.bidirectional {
            buckets /= 2;
            if distance > 0 {
                first = buckets;
            }
        }
        let distance = distance.unsigned_abs();
        let exact = buckets / 2;
        if distance < exact {
            return first + distance;
        }
        // In f32, as torch computes it: the steps lie where they lie there.
        let part = (distance as f32 / exact as f32).ln()
            / (self.max_distance as f64 / exact as f64).ln() as f32;
        let far = exact + (part * (buckets - exact) as f32) as usize;
        first + far.min(buckets - 1)
    }

    /// What is added to scores of up to `keys` keys: for each head by distance, from that of a key before
    /// all to that of one after all where there are such, `(heads, keys)` or `(heads, 2 * keys - 1)`.
    pub fn by_distance(&self, keys: usize) -> Arc<[f32]> {
        let last = if self.bidirectional { keys } else { 1 };
        let buckets: Vec<usize> = (1 - keys.cast_signed()..last.cast_signed())
            .map(|distance| self.bucket(distance))
            .collect();
        let heads = (0..self.heads).flat_map(|head| {
            let of = move |bucket: &usize| self.table[bucket * self.heads + head];
            buckets.iter().map(of).collect::<Vec<f32>>()
        });
        heads.collect()
    }
}

/// Softmax(q·kᵀ + bias)·v. Takes f32 `q` `(batch, heads, tokens, head_dim)` and `k`, `v` `(batch, heads,
/// keys, head_dim)`; gives `(batch, tokens, heads * head_dim)`. The last query sits at the last key.
pub struct RelativeAttention {
    /// What [`RelativeBias::by_distance`] gives for these keys.
    pub bias: Arc<[f32]>,
    /// Whether a query sees what comes after it.
    pub bidirectional: bool,
}

impl CustomOp3 for RelativeAttention {
    fn name(&self) -> &'static str {
        "relative-attention"
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
        let (batch, heads, tokens, dim) = q_layout.shape().dims4()?;
        let keys = k_layout.shape().dim(2)?;
        let strides = k_layout.stride();
        let span = if self.bidirectional {
            2 * keys - 1
        } else {
            keys
        };
        let fits = k_layout.shape().dims() == [batch, heads, keys, dim]
            && keys >= tokens
            && v_layout.shape() == k_layout.shape()
            && v_layout.stride() == strides
            && (strides[2] == dim || keys == 1)
            && strides[3] == 1
            && q_layout.is_contiguous()
            && self.bias.len() == heads * span;
        if !fits {
            bail!(
                "relative attention got q {:?} and k {:?}",
                q_layout.shape(),
                k_layout.shape()
            );
        }
        let q = &q.as_slice::<f32>()?[q_layout.start_offset()..];
        let k = &k.as_slice::<f32>()?[k_layout.start_offset()..];
        let v = &v.as_slice::<f32>()?[v_layout.start_offset()..];
        let job = |job: usize| {
            let (row, head) = (job / heads, job % heads);
            let at = row * strides[0] + head * strides[1];
            let queries = &q[job * tokens * dim..][..tokens * dim];
            let bias = &self.bias[head * span..][..span];
            let (keys_of, values) = (&k[at..][..keys * dim], &v[at..][..keys * dim]);
            self.attend(queries, (keys_of, values), (bias, dim))
        };
        let jobs = 0..batch * heads;
        let found: Vec<Vec<f32>> = if jobs.len() * tokens * keys * dim < ALONE {
            jobs.map(job).collect()
        } else {
            jobs.into_par_iter().map(job).collect()
        };
        let out = CpuStorage::F32(beside(&found, (tokens, heads, dim)));
        Ok((out, Shape::from((batch, tokens, heads * dim))))
    }
}

/// From what each head of each row gave, `(tokens, head_dim)`, to `(batch, tokens, heads, head_dim)`.
fn beside(found: &[Vec<f32>], (tokens, heads, dim): (usize, usize, usize)) -> Vec<f32> {
    let mut out = vec![0.0; found.len() * tokens * dim];
    for (index, values) in found.iter().enumerate() {
        let (row, head) = (index / heads, index % heads);
        for (token, value) in values.chunks_exact(dim).enumerate() {
            out[((row * tokens + token) * heads + head) * dim..][..dim].copy_from_slice(value);
        }
    }
    out
}

impl RelativeAttention {
    /// What one head makes of one row, `(tokens, head_dim)`.
    fn attend(
        &self,
        queries: &[f32],
        (keys, values): (&[f32], &[f32]),
        (bias, dim): (&[f32], usize),
    ) -> Vec<f32> {
        let (count, tokens) = (keys.len() / dim, queries.len() / dim);
        let mut out = vec![0.0; queries.len()];
        let mut scores = vec![0.0; count];
        let each = queries.chunks_exact(dim).zip(out.chunks_exact_mut(dim));
        for (token, (query, out)) in each.enumerate() {
            let place = count - tokens + token;
            let seen = if self.bidirectional { count } else { place + 1 };
            let scores = &mut scores[..seen];
            (primitives().dots)(query, &keys[..seen * dim], scores);
            for (score, bias) in scores.iter_mut().zip(&bias[count - 1 - place..]) {
                *score += bias;
            }
            let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum = (primitives().exponentials)(scores, largest);
            (primitives().weighted_sum)(scores, &values[..seen * dim], out);
            for value in out {
                *value /= sum;
            }
        }
        out
    }
}
