//! The exponential function to the last bit or two of an f32, by a polynomial that runs in as many lanes
//! as a register has (Cephes' `expf`; Moshier). Softmax and gates take it some ten thousand times a token.

use super::Fused;

/// Arguments are taken no lower: what lies below is 0 in an f32.
pub(super) const LOWEST: f32 = -104.0;
/// Where a loop cannot make numbers that are not normal, arguments below give 0.
pub(super) const LEAST_NORMAL: f32 = -87.3;
/// Arguments are taken no higher: what lies above is infinite.
pub(super) const HIGHEST: f32 = 89.0;
/// log₂ e.
pub(super) const LOG_2_E: f32 = std::f32::consts::LOG2_E;
/// ln 2 in two parts, the first of so few bits that small multiples of it are exact.
pub(super) const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// Of the polynomial for `exp(x)` with |x| ≤ ln 2 / 2, the highest power first.
pub(super) const COEFFICIENTS: [f32; 8] = [
    1.987_569_1e-4,
    1.398_2e-3,
    8.333_452e-3,
    4.166_579_6e-2,
    1.666_666_5e-1,
    0.5,
    1.0,
    1.0,
];
/// Of the polynomial for the error function (Abramowitz and Stegun 7.1.26), the highest power first.
pub(super) const ERROR: [f32; 5] = [
    1.061_405_4,
    -1.453_152_1,
    1.421_413_8,
    -0.284_496_72,
    0.254_829_6,
];

/// `values[i] = exp(values[i] - largest)`; gives their sum.
pub(super) fn exponentials(values: &mut [f32], largest: f32) -> f32 {
    let mut sum = 0.0;
    for value in values {
        *value = (*value - largest).exp();
        sum += *value;
    }
    sum
}

/// The same by lanes, each with its own largest.
pub(super) fn lane_exponentials(
    values: &mut [super::panels::Lanes],
    largest: &super::panels::Lanes,
) -> super::panels::Lanes {
    let mut sums = [0.0; super::panels::PANEL];
    for lanes in values {
        for ((value, largest), sum) in lanes.iter_mut().zip(largest).zip(&mut sums) {
            *value = (*value - largest).exp();
            *sum += *value;
        }
    }
    sums
}

/// The non-linearity of each value.
pub(super) fn activate(activation: Fused, values: &mut [f32]) {
    for value in values {
        *value = activation.of(*value);
    }
}

/// `gate[i] = silu(gate[i]) · up[i]`, where `silu(x) = x·σ(x)`.
pub(super) fn silu_gate(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = *gate / (1.0 + (-*gate).exp()) * up;
    }
}
