//! Exponentials by NEON, four at a time; `unsafe_neon` is the only caller.

use std::arch::aarch64::{
    float32x4_t, vabsq_f32, vaddq_f32, vaddq_s32, vaddvq_f32, vbslq_f32, vcltq_f32, vcvtq_s32_f32,
    vdivq_f32, vdupq_n_f32, vdupq_n_s32, vfmaq_f32, vfmsq_f32, vmaxq_f32, vminq_f32, vmulq_f32,
    vmulq_n_f32, vnegq_f32, vreinterpretq_f32_s32, vrndnq_f32, vshlq_n_s32, vsubq_f32,
};

use super::{
    Fused,
    exponential::{COEFFICIENTS, ERROR, HIGHEST, LEAST_NORMAL, LN_2, LOG_2_E},
    panels::{Lanes, PANEL},
    unsafe_neon::{load, store},
};

#[target_feature(enable = "neon")]
pub(super) fn exponentials(values: &mut [f32], largest: f32) -> f32 {
    let all = vdupq_n_f32(largest);
    let mut sums = vdupq_n_f32(0.0);
    let (parts, rest) = values.as_chunks_mut::<4>();
    for values in parts {
        let powers = exponential(vsubq_f32(load(values), all));
        store(powers, values);
        sums = vaddq_f32(sums, powers);
    }
    let mut last = [f32::NEG_INFINITY; 4];
    last[..rest.len()].copy_from_slice(rest);
    let powers = exponential(vsubq_f32(load(&last), all));
    store(powers, &mut last);
    rest.copy_from_slice(&last[..rest.len()]);
    vaddvq_f32(sums) + rest.iter().sum::<f32>()
}

#[target_feature(enable = "neon")]
pub(super) fn lane_exponentials(values: &mut [Lanes], largest: &Lanes) -> Lanes {
    let mut out = [0.0; PANEL];
    for quarter in (0..PANEL).step_by(4) {
        let (mut sums, largest) = (vdupq_n_f32(0.0), load(&largest[quarter..]));
        for lanes in &mut *values {
            let powers = exponential(vsubq_f32(load(&lanes[quarter..]), largest));
            store(powers, &mut lanes[quarter..]);
            sums = vaddq_f32(sums, powers);
        }
        store(sums, &mut out[quarter..]);
    }
    out
}

#[target_feature(enable = "neon")]
pub(super) fn silu_gate(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.chunks_mut(4).zip(up.chunks(4)) {
        let (mut values, mut ups) = ([0.0; 4], [0.0; 4]);
        values[..gate.len()].copy_from_slice(gate);
        ups[..up.len()].copy_from_slice(up);
        let value = load(&values);
        store(
            vmulq_f32(sigmoid_times(value, value), load(&ups)),
            &mut values,
        );
        gate.copy_from_slice(&values[..gate.len()]);
    }
}

/// The non-linearity of each value.
#[target_feature(enable = "neon")]
pub(super) fn activate(activation: Fused, values: &mut [f32]) {
    for values in values.chunks_mut(4) {
        let mut four = [0.0; 4];
        four[..values.len()].copy_from_slice(values);
        let x = load(&four);
        let found = match activation {
            Fused::Silu => sigmoid_times(x, x),
            Fused::Gelu => gelu(x),
            Fused::GeluTanh => gelu_tanh(x),
            Fused::Relu => vmaxq_f32(x, vdupq_n_f32(0.0)),
        };
        store(found, &mut four);
        values.copy_from_slice(&four[..values.len()]);
    }
}

/// `x·σ(y)`.
#[inline]
#[target_feature(enable = "neon")]
fn sigmoid_times(x: float32x4_t, y: float32x4_t) -> float32x4_t {
    vdivq_f32(x, vaddq_f32(vdupq_n_f32(1.0), exponential(vnegq_f32(y))))
}

/// `½x(1 + tanh(y)) = x·σ(2y)` with `y = √(2/π)·(x + 0.044715x³)`.
#[inline]
#[target_feature(enable = "neon")]
fn gelu_tanh(x: float32x4_t) -> float32x4_t {
    let inner = vfmaq_f32(vdupq_n_f32(1.0), vmulq_f32(x, x), vdupq_n_f32(0.044_715));
    sigmoid_times(x, vmulq_f32(vmulq_n_f32(x, 1.595_769), inner))
}

/// `½x(1 + erf(x/√2))`, the error function by Abramowitz and Stegun 7.1.26, as torch's vectors have it:
/// to 1.5e-7.
#[inline]
#[target_feature(enable = "neon")]
fn gelu(x: float32x4_t) -> float32x4_t {
    let one = vdupq_n_f32(1.0);
    let far = vabsq_f32(vmulq_n_f32(x, std::f32::consts::FRAC_1_SQRT_2));
    let t = vdivq_f32(one, vfmaq_f32(one, far, vdupq_n_f32(0.327_591_1)));
    let mut sum = vdupq_n_f32(ERROR[0]);
    for coefficient in &ERROR[1..] {
        sum = vfmaq_f32(vdupq_n_f32(*coefficient), sum, t);
    }
    let power = exponential(vfmsq_f32(vdupq_n_f32(0.0), far, far));
    // 1 - erf(|x|/√2): what is left on the negative side, without subtracting near one from one.
    let rest = vmulq_f32(vmulq_f32(sum, t), power);
    let other = vsubq_f32(vdupq_n_f32(2.0), rest);
    let is_negative = vcltq_f32(x, vdupq_n_f32(0.0));
    vmulq_f32(vmulq_n_f32(x, 0.5), vbslq_f32(is_negative, rest, other))
}

/// `exp(x)` as `exponential` describes it.
#[inline]
#[target_feature(enable = "neon")]
fn exponential(x: float32x4_t) -> float32x4_t {
    let is_zero = vcltq_f32(x, vdupq_n_f32(LEAST_NORMAL));
    // Of NaN and another both give NaN.
    let x = vmaxq_f32(x, vdupq_n_f32(LEAST_NORMAL));
    let x = vminq_f32(x, vdupq_n_f32(HIGHEST));
    let power = vrndnq_f32(vmulq_n_f32(x, LOG_2_E));
    let rest = vfmsq_f32(x, power, vdupq_n_f32(LN_2[0]));
    let rest = vfmsq_f32(rest, power, vdupq_n_f32(LN_2[1]));
    let mut sum = vdupq_n_f32(COEFFICIENTS[0]);
    for coefficient in &COEFFICIENTS[1..] {
        sum = vfmaq_f32(vdupq_n_f32(*coefficient), sum, rest);
    }
    // 2^128 has the bits of infinity, as is right above the largest float.
    let bits = vshlq_n_s32::<23>(vaddq_s32(vcvtq_s32_f32(power), vdupq_n_s32(127)));
    let scaled = vmulq_f32(sum, vreinterpretq_f32_s32(bits));
    vbslq_f32(is_zero, vdupq_n_f32(0.0), scaled)
}
