//! Products with activations that are rounded to 8 bits, a scale each 32 of them, as llama.cpp's are.
//! Four times as many fit an instruction, and answers change: only a model that was asked for so takes
//! this way, and `residency::agreement` tells how much it changes. What panels hold is multiplied so,
//! other formats are not.

use std::cell::Cell;

use super::{
    Rows,
    panels::{COLUMNS, Lanes, PANEL, row},
    primitives,
    unsafe_blocks::{Stripe, share_stripes},
};
use crate::weights::Format;

/// Tokens that [`super::Primitives::rounded`] takes at once at most.
pub(crate) const TOKENS: usize = 8;
/// Weights times tokens that one job multiplies.
const PRODUCTS_PER_JOB: usize = 1 << 17;
/// Jobs of one product at most.
const MOST_JOBS: usize = 64;

thread_local! {
    static EXACT: Cell<bool> = const { Cell::new(false) };
}

/// Does something with activations as they are, whatever models were asked for.
pub(crate) fn exactly<T>(work: impl FnOnce() -> T) -> T {
    let _before = Before(EXACT.replace(true));
    work()
}

/// What [`EXACT`] is again afterwards, also after a panic.
struct Before(bool);

impl Drop for Before {
    fn drop(&mut self) {
        EXACT.set(self.0);
    }
}

/// Whether [`exactly`] is at work on this thread.
pub(crate) fn is_exact() -> bool {
    EXACT.get()
}

/// 32 activations: each code times the scale.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct RoundedBlock {
    pub codes: [i8; COLUMNS],
    pub scale: f32,
    /// The sum of codes times the scale.
    pub sum: f32,
}

impl RoundedBlock {
    const ZERO: Self = Self {
        codes: [0; COLUMNS],
        scale: 0.0,
        sum: 0.0,
    };

    /// The nearest block: the largest magnitude becomes 127. What is no number makes the whole block none,
    /// as it does without rounding.
    #[expect(
        clippy::inline_always,
        reason = "only as part of its caller it is compiled for the caller's registers"
    )]
    #[inline(always)]
    pub(super) fn of(values: &[f32; COLUMNS]) -> Self {
        let largest = values
            .iter()
            .fold(0.0, |most: f32, value| most.max(value.abs()));
        let is_finite = values
            .iter()
            .fold(true, |all, value| all & value.is_finite());
        // Below, the inverse would be infinite.
        let inverse = if largest > 127.0 / f32::MAX {
            127.0 / largest
        } else {
            0.0
        };
        let mut block = Self::ZERO;
        let mut sum = 0;
        for (code, value) in block.codes.iter_mut().zip(values) {
            *code = (value * inverse).round_ties_even() as i8;
            sum += i32::from(*code);
        }
        block.scale = if is_finite { largest / 127.0 } else { f32::NAN };
        block.sum = block.scale * sum as f32;
        block
    }
}

/// `x · Wᵀ` for tokens `(tokens, in_features)`, by rows that round.
pub(super) fn multiply_rounded(matrix: &dyn Rows, inputs: &[f32]) -> Vec<f32> {
    let (rows, columns) = matrix.shape();
    let (tokens, blocks) = (inputs.len() / columns, columns / COLUMNS);
    let inputs = round(inputs);
    let per_job = (PRODUCTS_PER_JOB / (columns * tokens))
        .max(rows / MOST_JOBS)
        .next_multiple_of(PANEL)
        .max(PANEL);
    let mut out = vec![0.0; tokens * rows];
    share_stripes(&mut out, rows, per_job, &|job, stripe: &mut Stripe| {
        let rows = stripe.row(0).len();
        for first in (0..rows).step_by(PANEL) {
            for (tile, inputs) in inputs.chunks(TOKENS * blocks).enumerate() {
                let mut products = [[0.0; PANEL]; TOKENS];
                let products = &mut products[..inputs.len() / blocks];
                matrix.rounded(job * per_job + first, inputs, products);
                for (index, lanes) in products.iter().enumerate() {
                    let out = &mut stripe.row(tile * TOKENS + index)[first..];
                    out[..PANEL].copy_from_slice(lanes);
                }
            }
        }
    });
    out
}

/// Tokens in blocks, `(tokens, in_features / 32)`.
fn round(inputs: &[f32]) -> Vec<RoundedBlock> {
    let (inputs, _) = inputs.as_chunks::<COLUMNS>();
    inputs
        .iter()
        .map(|values| (primitives().round)(values))
        .collect()
}

/// Products of a panel's rows with tokens `(out.len(), in_features / 32)`: what the faster loops give up
/// to the order of sums.
pub(super) fn rounded(format: Format, panel: &[u8], inputs: &[RoundedBlock], out: &mut [Lanes]) {
    let blocks = inputs.len() / out.len();
    let mut values = vec![0.0; blocks * COLUMNS];
    for lane in 0..PANEL {
        format.unpack(&row(format, panel, lane), &mut values);
        for (out, input) in out.iter_mut().zip(inputs.chunks_exact(blocks)) {
            out[lane] = 0.0;
            for (values, block) in values.chunks_exact(COLUMNS).zip(input) {
                let pairs = values.iter().zip(&block.codes);
                let sum: f32 = pairs.map(|(value, code)| value * f32::from(*code)).sum();
                out[lane] += sum * block.scale;
            }
        }
    }
}
