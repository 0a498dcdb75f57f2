//! Non-linearities by AVX-512, and rounding to brain floats, sixteen values at a time, as
//! `unsafe_avx2_exponential` has them for eight. Only [`detect`] hands the loops out, where the processor has what it
//! needs.

use std::arch::x86_64::{
    __m512, _CMP_LT_OQ, _mm512_abs_ps, _mm512_add_ps, _mm512_cmp_ps_mask, _mm512_div_ps,
    _mm512_fmadd_ps, _mm512_fnmadd_ps, _mm512_mask_blend_ps, _mm512_max_ps, _mm512_mul_ps,
    _mm512_set1_ps, _mm512_setzero_ps, _mm512_sub_ps,
};

use half::bf16;

use super::{
    Fused, Primitives,
    exponential::ERROR,
    given,
    panels::PANEL,
    unsafe_avx512_floats::{exponential, load, mask, store},
};

/// Puts these loops in place of others, where the processor can run it.
pub(super) fn detect(others: Primitives) -> Primitives {
    if !is_x86_feature_detected!("avx512f") {
        return others;
    }
    Primitives {
        // SAFETY (both): `detect` has just found the instructions that the functions are compiled for; they
        // have no other condition.
        activate: |activation, values| unsafe { activate(activation, values) },
        narrow: |values, out| unsafe { narrow(values, out) },
        ..others
    }
}

#[target_feature(enable = "avx512f")]
fn activate(activation: Fused, values: &mut [f32]) {
    for start in (0..values.len()).step_by(PANEL) {
        let mask = mask(values.len() - start);
        let x = load(values, start, mask);
        let found = match activation {
            Fused::Silu => sigmoid_times(x, x),
            Fused::Gelu => gelu(x),
            Fused::GeluTanh => gelu_tanh(x),
            // The bound comes first: of NaN and another this gives the second, and NaN stays NaN.
            Fused::Relu => _mm512_max_ps(_mm512_setzero_ps(), x),
        };
        store(found, values, start, mask);
    }
}

#[target_feature(enable = "avx512f")]
fn narrow(values: &[f32], out: &mut [bf16]) {
    given::narrow(values, out);
}

/// `x·σ(y)`.
#[inline]
#[target_feature(enable = "avx512f")]
fn sigmoid_times(x: __m512, y: __m512) -> __m512 {
    let below = exponential(_mm512_sub_ps(_mm512_setzero_ps(), y));
    _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0), below))
}

/// `½x(1 + tanh(y)) = x·σ(2y)` with `y = √(2/π)·(x + 0.044715x³)`.
#[inline]
#[target_feature(enable = "avx512f")]
fn gelu_tanh(x: __m512) -> __m512 {
    let square = _mm512_mul_ps(x, x);
    let inner = _mm512_fmadd_ps(square, _mm512_set1_ps(0.044_715), _mm512_set1_ps(1.0));
    let twice = _mm512_mul_ps(x, _mm512_set1_ps(1.595_769));
    sigmoid_times(x, _mm512_mul_ps(twice, inner))
}

/// `½x(1 + erf(x/√2))`, the error function by Abramowitz and Stegun 7.1.26, as torch's vectors have it:
/// to 1.5e-7.
#[inline]
#[target_feature(enable = "avx512f")]
fn gelu(x: __m512) -> __m512 {
    let one = _mm512_set1_ps(1.0);
    let scaled = _mm512_mul_ps(x, _mm512_set1_ps(std::f32::consts::FRAC_1_SQRT_2));
    let far = _mm512_abs_ps(scaled);
    let t = _mm512_div_ps(one, _mm512_fmadd_ps(far, _mm512_set1_ps(0.327_591_1), one));
    let mut sum = _mm512_set1_ps(ERROR[0]);
    for coefficient in &ERROR[1..] {
        sum = _mm512_fmadd_ps(sum, t, _mm512_set1_ps(*coefficient));
    }
    let power = exponential(_mm512_fnmadd_ps(far, far, _mm512_setzero_ps()));
    // 1 - erf(|x|/√2): what is left on the negative side, without subtracting near one from one.
    let rest = _mm512_mul_ps(_mm512_mul_ps(sum, t), power);
    let other = _mm512_sub_ps(_mm512_set1_ps(2.0), rest);
    let is_negative = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, _mm512_setzero_ps());
    _mm512_mul_ps(
        _mm512_mul_ps(x, _mm512_set1_ps(0.5)),
        _mm512_mask_blend_ps(is_negative, other, rest),
    )
}
