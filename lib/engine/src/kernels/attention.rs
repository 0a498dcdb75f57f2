//! Scaled dot-product attention of new tokens over a cache, causal, with grouped heads: the keys of a
//! group are read where they lie, never copied once a head. For few tokens `attention_rows` goes key by
//! key, for many `attention_blocks` takes sixteen queries at a time, `attention_squares` those that may be rounded.

use std::{ops::Range, sync::Arc};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, bail};
use half::{bf16, f16, slice::HalfFloatSliceExt};
use wire::model::DType;

use super::{
    attention_blocks, attention_rows, attention_squares,
    given::{Given, given, widen},
    primitives,
    rounded::is_exact,
    unsafe_blocks::{Blocks, new_blocks},
};

/// Keys and values that are looked at at once: with heads of a hundred values they stay in the
/// first-level cache until they are used.
pub(super) const KEYS: usize = 64;
/// Queries of a sequence from which on they are taken sixteen at a time.
const BLOCKED_FROM: usize = 12;

/// Softmax(q·kᵀ·scale)·v, where the last of `tokens` queries sits at the last of `keys` positions and
/// each query sees the keys up to its own position, within the window and past the padding.
///
/// Takes f32 `q` `(batch, heads, tokens, head_dim)` and `k`, `v` `(batch, kv_heads, keys, head_dim)` in
/// f32, f16 or bf16, which are widened as they are read, or rounded to bf16 where that is allowed; gives
/// `(batch, tokens, heads * head_dim)`.
#[derive(Clone)]
pub struct CausalAttention {
    /// Multiplies the scores: `1/√head_dim` in most families.
    pub scale: f32,
    /// Bends scaled scores into ±cap by `cap·tanh(score/cap)`.
    pub cap: Option<f32>,
    /// Keys that a query sees at most, its own included.
    pub window: Option<usize>,
    /// Positions of padding before each row's tokens, one a row.
    pub padding: Arc<[usize]>,
    /// Queries, keys, values and their weights may be rounded to brain floats, where that is faster.
    pub rounds_to_brain: bool,
    /// What it gives.
    pub gives: DType,
    /// What a card may round queries, keys, values and their weights to, of more tokens than a few: a type of 16 bits, or
    /// f32.
    #[cfg_attr(
        not(feature = "cuda"),
        expect(dead_code, reason = "there is no card's kernel to ask")
    )]
    pub card_dtype: candle_core::DType,
}

/// Keys or values of a cache.
#[derive(Clone, Copy)]
pub(super) enum Rows<'a> {
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

    /// A range as f32, by way of `scratch` where it is something else.
    pub(super) fn widened(self, range: Range<usize>, scratch: &'a mut [f32]) -> &'a [f32] {
        let scratch = &mut scratch[..range.len()];
        match self {
            Self::F32(values) => return &values[range],
            Self::F16(values) => values[range].convert_to_f32_slice(scratch),
            Self::BF16(values) => widen(&values[range], scratch),
        }
        scratch
    }

    /// A range as brain floats, by way of `scratch` where it is something else.
    pub(super) fn as_brain(self, range: Range<usize>, scratch: &'a mut [bf16]) -> &'a [bf16] {
        let scratch = &mut scratch[..range.len()];
        match self {
            Self::BF16(values) => return &values[range],
            Self::F32(values) => (primitives().narrow)(&values[range], scratch),
            Self::F16(values) => {
                for (out, value) in scratch.iter_mut().zip(&values[range]) {
                    *out = bf16::from_f32(value.to_f32());
                }
            }
        }
        scratch
    }
}

/// What one call works on.
pub(super) struct Call<'a> {
    pub q: &'a [f32],
    pub k: Rows<'a>,
    pub v: Rows<'a>,
    pub batch: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub tokens: usize,
    pub keys: usize,
    pub head_dim: usize,
    /// Values between two batches, and between two heads, of keys and values.
    strides: (usize, usize),
}

impl<'a> Call<'a> {
    /// Fails where the tensors do not fit each other.
    pub(super) fn of(
        attention: &CausalAttention,
        (q, q_layout): (&'a CpuStorage, &Layout),
        (k, k_layout): (&'a CpuStorage, &Layout),
        (v, v_layout): (&'a CpuStorage, &Layout),
    ) -> Result<Self> {
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
            && attention.padding.len() == batch;
        if !fits {
            bail!(
                "attention got q {:?} and k {:?}",
                q_layout.shape(),
                k_layout.shape()
            );
        }
        Ok(Self {
            q: &q.as_slice::<f32>()?[q_layout.start_offset()..],
            k: Rows::of(k, k_layout.start_offset())?,
            v: Rows::of(v, v_layout.start_offset())?,
            batch,
            heads,
            kv_heads,
            tokens,
            keys,
            head_dim,
            strides: (strides[0], strides[1]),
        })
    }
}

impl Call<'_> {
    /// Heads of queries that share one of keys.
    pub(super) fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// The query of a token and head.
    pub(super) fn query(&self, batch: usize, head: usize, token: usize) -> &[f32] {
        let row = (batch * self.heads + head) * self.tokens + token;
        &self.q[row * self.head_dim..][..self.head_dim]
    }

    /// Where some keys, and their values, of a head lie.
    pub(super) fn place(&self, batch: usize, kv_head: usize, keys: Range<usize>) -> Range<usize> {
        let start = batch * self.strides.0 + kv_head * self.strides.1;
        start + keys.start * self.head_dim..start + keys.end * self.head_dim
    }

    /// Shares the queries out, so many a job at most and those of a token at least, each of which writes
    /// `(tokens, group, head_dim)`. Gives `(batch, tokens, heads, head_dim)`.
    pub(super) fn by_jobs<T: Given>(
        &self,
        queries: usize,
        work: &(dyn Fn(Part, &mut [f32]) + Sync),
    ) -> Vec<T> {
        let (group, dim) = (self.group(), self.head_dim);
        let per_job = (queries / group).max(1).min(self.tokens);
        let jobs = self.tokens.div_ceil(per_job);
        let tokens_of = |job: usize| job * per_job..self.tokens.min((job + 1) * per_job);
        let rows = (0..self.batch * jobs).map(|index| {
            let (batch, tokens) = (index / jobs, tokens_of(index % jobs));
            batch * self.tokens + tokens.start..batch * self.tokens + tokens.end
        });
        let blocks = Blocks {
            row_length: self.heads * dim,
            rows: &rows.collect::<Vec<_>>(),
            columns: 0..self.heads * dim,
            width: group * dim,
        };
        let rows = self.batch * self.tokens;
        new_blocks(rows, &blocks, &|(index, kv_head), stripe| {
            let tokens = tokens_of(index % jobs);
            let mut found = vec![0.0; tokens.len() * group * dim];
            let part = Part {
                batch: index / jobs,
                kv_head,
                tokens,
            };
            work(part, &mut found);
            for (token, found) in found.chunks_exact(group * dim).enumerate() {
                T::put(found, stripe.row(token));
            }
        })
    }
}

/// Some tokens' queries of the heads that share one of keys.
pub(super) struct Part {
    pub batch: usize,
    pub kv_head: usize,
    pub tokens: Range<usize>,
}

impl Part {
    /// Each query's token and head, and the keys that it sees: those of one token beside each other.
    pub(super) fn queries(
        &self,
        attention: &CausalAttention,
        call: &Call,
    ) -> Vec<(usize, usize, Range<usize>)> {
        let heads = self.kv_head * call.group()..(self.kv_head + 1) * call.group();
        let of_token = |token| {
            let seen = attention.seen(call, self.batch, token);
            heads.clone().map(move |head| (token, head, seen.clone()))
        };
        self.tokens.clone().flat_map(of_token).collect()
    }
}

/// From the first key that one of these queries sees to the last.
pub(super) fn all_seen<'a>(seen: impl Iterator<Item = &'a Range<usize>>) -> Range<usize> {
    let some = seen.filter(|seen| !seen.is_empty()).cloned();
    let all = some.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end));
    all.unwrap_or(0..0)
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
        let call = Call::of(self, (q, q_layout), (k, k_layout), (v, v_layout))?;
        let out = given!(self.gives, T => self.of::<T>(&call));
        let shape = (call.batch, call.tokens, call.heads * call.head_dim);
        Ok((out, Shape::from(shape)))
    }
}

impl CausalAttention {
    /// Gives `(batch, tokens, heads, head_dim)`.
    fn of<T: Given>(&self, call: &Call) -> Vec<T> {
        if call.tokens * call.group() < BLOCKED_FROM {
            return T::from_wide(attention_rows::attend(self, call));
        }
        let may_round =
            self.rounds_to_brain && !is_exact() && attention_squares::serves(self, call);
        match primitives().squares.filter(|_| may_round) {
            Some(squares) => attention_squares::attend(squares, self, call),
            None => attention_blocks::attend(self, call),
        }
    }

    /// The keys that a token sees; none where it lies in the padding: its row is zero, and nobody reads
    /// it.
    pub(super) fn seen(&self, call: &Call, batch: usize, token: usize) -> Range<usize> {
        let end = call.keys - call.tokens + token + 1;
        let first = end.saturating_sub(self.window.unwrap_or(end));
        first.max(self.padding[batch]).min(end)..end
    }

    /// Scales scores, and bends them where there is a cap.
    pub(super) fn adjust(&self, scores: &mut [f32]) {
        for score in &mut *scores {
            *score *= self.scale;
        }
        if let Some(cap) = self.cap {
            for score in scores {
                *score = (*score / cap).tanh() * cap;
            }
        }
    }
}
