//! Attention in which every token of a row sees every other, for rows of different lengths that lie one
//! behind the other: no padding is computed, and no mask is needed.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, bail};
use rayon::prelude::*;

use super::{TILE, attention::softmax, primitives};

/// Softmax(q·kᵀ·scale)·v within each row. Takes f32 `q`, `k` and `v` `(1, tokens, heads * head_dim)`, the
/// tokens of all rows one behind the other; gives the same shape.
pub struct RaggedAttention {
    /// Tokens of each row.
    pub lengths: Arc<[usize]>,
    /// Heads.
    pub heads: usize,
    /// Multiplies the scores: `1/√head_dim` in most families.
    pub scale: f32,
}

/// One head of one row.
#[derive(Clone, Copy)]
struct Job {
    /// The row's first token.
    start: usize,
    tokens: usize,
    /// The head's first value in a token.
    at: usize,
}

impl CustomOp3 for RaggedAttention {
    fn name(&self) -> &'static str {
        "ragged-attention"
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
        let (one, tokens, width) = q_layout.shape().dims3()?;
        let fits = one == 1
            && self.heads > 0
            && width % self.heads == 0
            && self.lengths.iter().sum::<usize>() == tokens
            && [k_layout, v_layout]
                .iter()
                .all(|layout| layout.shape() == q_layout.shape());
        let offsets = [q_layout, k_layout, v_layout].map(Layout::contiguous_offsets);
        let (true, [Some(q_at), Some(k_at), Some(v_at)]) = (fits, offsets) else {
            bail!(
                "attention got q {:?} and k {:?}",
                q_layout.shape(),
                k_layout.shape()
            );
        };
        let q = &q.as_slice::<f32>()?[q_at.0..q_at.1];
        let k = &k.as_slice::<f32>()?[k_at.0..k_at.1];
        let v = &v.as_slice::<f32>()?[v_at.0..v_at.1];
        let head_dim = width / self.heads;
        let mut jobs = Vec::with_capacity(self.lengths.len() * self.heads);
        let mut start = 0;
        for &tokens in self.lengths.iter() {
            jobs.extend((0..self.heads).map(|head| Job {
                start,
                tokens,
                at: head * head_dim,
            }));
            start += tokens;
        }
        let heads: Vec<Vec<f32>> = jobs
            .par_iter()
            .map(|job| self.attend(*job, (q, k, v), (width, head_dim)))
            .collect();
        // (1, tokens, heads * head_dim)
        let mut out = vec![0.0; tokens * width];
        for (job, values) in jobs.iter().zip(heads) {
            for (token, value) in values.chunks_exact(head_dim).enumerate() {
                out[(job.start + token) * width + job.at..][..head_dim].copy_from_slice(value);
            }
        }
        Ok((CpuStorage::F32(out), q_layout.shape().clone()))
    }
}

impl RaggedAttention {
    /// What one head makes of one row, `(tokens, head_dim)`.
    fn attend(
        &self,
        job: Job,
        (q, k, v): (&[f32], &[f32], &[f32]),
        (width, head_dim): (usize, usize),
    ) -> Vec<f32> {
        let row = |token: usize| {
            (job.start + token) * width + job.at..(job.start + token) * width + job.at + head_dim
        };
        let keys: Vec<&[f32]> = (0..job.tokens).map(|token| &k[row(token)]).collect();
        let queries: Vec<&[f32]> = (0..job.tokens).map(|token| &q[row(token)]).collect();
        let mut values = Vec::with_capacity(job.tokens * head_dim);
        for token in 0..job.tokens {
            values.extend_from_slice(&v[row(token)]);
        }
        let mut out = vec![0.0; job.tokens * head_dim];
        let mut scores = vec![0.0; TILE.1 * job.tokens];
        for (first, out) in (0..job.tokens)
            .step_by(TILE.1)
            .zip(out.chunks_mut(TILE.1 * head_dim))
        {
            let queries = &queries[first..job.tokens.min(first + TILE.1)];
            products(queries, &keys, &mut scores);
            for (scores, out) in scores
                .chunks_exact_mut(job.tokens)
                .zip(out.chunks_exact_mut(head_dim))
            {
                softmax(scores, self.scale);
                (primitives().weighted_sum)(scores, &values, out);
            }
        }
        out
    }
}

/// Products of up to four queries with all keys: `out[query * keys + key]`.
fn products(queries: &[&[f32]], keys: &[&[f32]], out: &mut [f32]) {
    let count = keys.len();
    let mut done = 0;
    if let Ok(queries) = <&[&[f32]; TILE.1]>::try_from(queries) {
        let (pairs, _) = keys.as_chunks::<{ TILE.0 }>();
        for pair in pairs {
            let tile = (primitives().tile)(*pair, *queries);
            for (key, products) in tile.iter().enumerate() {
                for (query, product) in products.iter().enumerate() {
                    out[query * count + done + key] = *product;
                }
            }
            done += TILE.0;
        }
    }
    for (query, values) in queries.iter().enumerate() {
        for (key, row) in keys.iter().enumerate().skip(done) {
            let at = query * count + key;
            (primitives().dots)(values, row, &mut out[at..=at]);
        }
    }
}
