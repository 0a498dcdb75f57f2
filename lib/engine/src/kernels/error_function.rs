//! The error function to the last bit of an f32 or two, by polynomials without branches, as GELU takes it
//! some thousand times a token: below [`NEAR`] in x, from there on by an exponential
//! (N. Juffa, "A faster and more accurate erff", 2016).

use candle_core::cpu::erf::erf_f32;

/// Where the polynomials meet.
pub(super) const NEAR: f32 = 0.927_734_4;

/// Of `erf(x) = x + x·p(x²)` near zero, the highest power first.
pub(super) const INNER: [f32; 6] = [
    -5.967_617e-4,
    4.991_194_2e-3,
    -2.676_813_5e-2,
    1.128_199_25e-1,
    -3.761_253_4e-1,
    1.283_791_7e-1,
];

/// Of `erf(x) = 1 - exp(p(x))` farther out, the highest power first; the last is of x¹.
pub(super) const OUTER: [f32; 7] = [
    -1.728_534_7e-5,
    3.831_972_6e-4,
    -3.883_964_4e-3,
    2.425_462_2e-2,
    -1.067_777_9e-1,
    -6.348_469e-1,
    -1.287_175_1e-1,
];

/// `x·Φ(x)` of each value.
pub(super) fn gelu(values: &mut [f32]) {
    for value in values {
        *value = 0.5 * *value * (1.0 + erf_f32(*value * std::f32::consts::FRAC_1_SQRT_2));
    }
}
