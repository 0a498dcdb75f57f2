//! Attention in which every token of a row sees every other, for rows of different lengths that lie one
//! behind the other: no padding is computed, and no mask is needed.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, bail};
use rayon::prelude::*;

use super::primitives;

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
        let head = |values: &[f32]| -> Vec<f32> {
            let tokens = values[job.start * width..][..job.tokens * width].chunks_exact(width);
            tokens
                .flat_map(|token| &token[job.at..][..head_dim])
                .copied()
                .collect()
        };
        let (queries, keys, values) = (head(q), head(k), head(v));
        let mut out = vec![0.0; job.tokens * head_dim];
        let mut scores = vec![0.0; job.tokens];
        for (query, out) in queries
            .chunks_exact(head_dim)
            .zip(out.chunks_exact_mut(head_dim))
        {
            (primitives().dots)(query, &keys, &mut scores);
            for score in &mut scores {
                *score *= self.scale;
            }
            let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum = (primitives().exponentials)(&mut scores, largest);
            (primitives().weighted_sum)(&scores, &values, out);
            for value in out {
                *value /= sum;
            }
        }
        out
    }
}
