//! Products of signed bytes, as `LLM.int8()` has them: exact sums, which whoever asks scales. Rows are
//! handed out to all cores, and a few tokens at a time meet a few rows while both are near.

use super::{
    primitives,
    unsafe_blocks::{Stripe, share_stripes},
};

/// Bytes of weights that one job multiplies at least, and rows of it at most.
const BYTES_PER_JOB: usize = 1 << 16;
const ROWS_PER_JOB: usize = 64;
/// Tokens whose sums are kept at a time.
const TOKENS: usize = 16;

/// From `(tokens, columns)` by rows `(rows, columns)` to `(tokens, rows)`: what `scaled` makes of each sum,
/// given its token and its row.
pub(crate) fn byte_products(
    (rows, columns): (usize, usize),
    weights: &[i8],
    inputs: &[i8],
    scaled: &(dyn Fn(usize, usize, i32) -> f32 + Sync),
) -> Vec<f32> {
    let tokens = inputs.len() / columns;
    let mut out = vec![0.0; tokens * rows];
    let per_job = (BYTES_PER_JOB / columns).clamp(1, ROWS_PER_JOB);
    share_stripes(&mut out, rows, per_job, &|job, stripe: &mut Stripe| {
        let first = job * per_job;
        let count = per_job.min(rows - first);
        let weights = &weights[first * columns..][..count * columns];
        let mut sums = [0; ROWS_PER_JOB * TOKENS];
        for (part, inputs) in inputs.chunks(TOKENS * columns).enumerate() {
            let width = inputs.len() / columns;
            let sums = &mut sums[..count * width];
            (primitives().byte_products)(weights, inputs, columns, sums);
            for token in 0..width {
                let at = part * TOKENS + token;
                for (row, out) in stripe.row(at).iter_mut().enumerate() {
                    *out = scaled(at, first + row, sums[row * width + token]);
                }
            }
        }
    });
    out
}

/// Each pair by itself: `sums[row * tokens + token]`.
pub(super) fn by_pairs(
    dot: impl Fn(&[i8], &[i8]) -> i32,
    (rows, inputs): (&[i8], &[i8]),
    columns: usize,
    sums: &mut [i32],
) {
    let tokens = inputs.len() / columns;
    for (row, sums) in rows
        .chunks_exact(columns)
        .zip(sums.chunks_exact_mut(tokens))
    {
        for (input, sum) in inputs.chunks_exact(columns).zip(sums) {
            *sum = dot(row, input);
        }
    }
}
