//! Attention of one token, or a few: each job takes some keys of one head and all queries that share it,
//! and what jobs found is put together at the end (Flash-Decoding; Dao et al., 2023).

use super::{
    attention::{Call, CausalAttention, KEYS},
    primitives,
    unsafe_blocks::share_pieces,
};

/// Keys of one job.
const KEYS_PER_JOB: usize = 256;
/// Products below which handing out costs more than it brings.
const LEAST_SHARED: usize = 1 << 16;

/// What a query found among some keys: the largest score, the sum of exponentials below it, and before
/// these the values weighted by the exponentials.
const BESIDE: usize = 2;

/// Gives `(batch, tokens, heads, head_dim)`.
pub(super) fn attend(attention: &CausalAttention, call: &Call) -> Vec<f32> {
    let mut out = vec![0.0; call.batch * call.tokens * call.heads * call.head_dim];
    let rows = out.chunks_exact_mut(call.heads * call.head_dim);
    for (index, out) in rows.enumerate() {
        let (batch, token) = (index / call.tokens, index % call.tokens);
        attend_token(attention, call, (batch, token), out);
    }
    out
}

/// One token's queries, all heads.
fn attend_token(
    attention: &CausalAttention,
    call: &Call,
    (batch, token): (usize, usize),
    out: &mut [f32],
) {
    let seen = attention.seen(call, batch, token);
    let (group, dim) = (call.group(), call.head_dim);
    let parts = seen.len().div_ceil(KEYS_PER_JOB);
    if parts == 0 {
        return;
    }
    let found = group * (dim + BESIDE);
    // (kv_heads, parts, group, head_dim + 2)
    let mut partial = vec![0.0; call.kv_heads * parts * found];
    let work = |job: usize, out: &mut [f32]| {
        let start = seen.start + job % parts * KEYS_PER_JOB;
        let part = Part {
            attention,
            call,
            batch,
            token,
            kv_head: job / parts,
            keys: start..seen.end.min(start + KEYS_PER_JOB),
        };
        part.attend(out);
    };
    if seen.len() * call.heads * dim < LEAST_SHARED {
        partial
            .chunks_exact_mut(found)
            .enumerate()
            .for_each(|(job, out)| work(job, out));
    } else {
        share_pieces(&mut partial, found, &work);
    }
    for (head, out) in out.chunks_exact_mut(dim).enumerate() {
        let (kv_head, query) = (head / group, head % group);
        let parts = partial[kv_head * parts * found..][..parts * found]
            .chunks_exact(found)
            .map(|part| &part[query * (dim + BESIDE)..][..dim + BESIDE]);
        merge(parts, out);
    }
}

/// Puts together what a query found among several parts of the keys.
fn merge<'a>(parts: impl Iterator<Item = &'a [f32]> + Clone, out: &mut [f32]) {
    let dim = out.len();
    let largest = parts.clone().map(|part| part[dim]);
    let largest = largest.fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for part in parts {
        let factor = (part[dim] - largest).exp();
        sum += factor * part[dim + 1];
        for (out, value) in out.iter_mut().zip(part) {
            *out += factor * value;
        }
    }
    for out in out {
        *out /= sum;
    }
}

/// The work of one job.
struct Part<'a> {
    attention: &'a CausalAttention,
    call: &'a Call<'a>,
    batch: usize,
    token: usize,
    kv_head: usize,
    keys: std::ops::Range<usize>,
}

impl Part<'_> {
    fn attend(&self, out: &mut [f32]) {
        let (group, dim) = (self.call.group(), self.call.head_dim);
        let mut widened = vec![0.0; KEYS * dim];
        // (group, keys)
        let mut scores = vec![0.0; group * self.keys.len()];
        self.each(self.call.k, &mut widened, |at, rows| {
            for (index, scores) in scores.chunks_exact_mut(self.keys.len()).enumerate() {
                let head = self.kv_head * group + index;
                let query = self.call.query(self.batch, head, self.token);
                (primitives().dots)(query, rows, &mut scores[at..][..rows.len() / dim]);
            }
        });
        let queries = scores.chunks_exact_mut(self.keys.len());
        for (scores, out) in queries.zip(out.chunks_exact_mut(dim + BESIDE)) {
            self.attention.adjust(scores);
            let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            out[dim] = largest;
            out[dim + 1] = (primitives().exponentials)(scores, largest);
        }
        self.each(self.call.v, &mut widened, |at, rows| {
            let queries = scores.chunks_exact(self.keys.len());
            for (scores, out) in queries.zip(out.chunks_exact_mut(dim + BESIDE)) {
                let weights = &scores[at..][..rows.len() / dim];
                (primitives().weighted_sum)(weights, rows, &mut out[..dim]);
            }
        });
    }

    /// Hands out the keys' rows in blocks, each with its place among them.
    fn each(
        &self,
        rows: super::attention::Rows,
        widened: &mut [f32],
        mut take: impl FnMut(usize, &[f32]),
    ) {
        for start in self.keys.clone().step_by(KEYS) {
            let keys = start..self.keys.end.min(start + KEYS);
            let place = self.call.place(self.batch, self.kv_head, keys);
            take(start - self.keys.start, rows.widened(place, widened));
        }
    }
}
