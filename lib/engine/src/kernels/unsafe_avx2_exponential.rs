//! Exponentials by AVX2 and FMA, eight at a time. Unsafe for loads and stores; `unsafe_avx2` is the only
//! caller and has found the instructions.

use std::arch::x86_64::{
    __m256, _CMP_LT_OQ, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _mm256_add_epi32,
    _mm256_add_ps, _mm256_andnot_ps, _mm256_blendv_ps, _mm256_castsi256_ps, _mm256_cmp_ps,
    _mm256_cvtps_epi32, _mm256_div_ps, _mm256_fmadd_ps, _mm256_fnmadd_ps, _mm256_loadu_ps,
    _mm256_max_ps, _mm256_min_ps, _mm256_mul_ps, _mm256_round_ps, _mm256_set1_epi32,
    _mm256_set1_ps, _mm256_setzero_ps, _mm256_slli_epi32, _mm256_storeu_ps, _mm256_sub_ps,
};

use super::{
    Fused,
    exponential::{COEFFICIENTS, ERROR, HIGHEST, LEAST_NORMAL, LN_2, LOG_2_E},
    panels::{Lanes, PANEL},
};

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn exponentials(values: &mut [f32], largest: f32) -> f32 {
    let all = _mm256_set1_ps(largest);
    let mut sums = [0.0; 8];
    for values in values.chunks_mut(8) {
        let mut eight = [f32::NEG_INFINITY; 8];
        eight[..values.len()].copy_from_slice(values);
        let powers = array(exponential(_mm256_sub_ps(load(&eight), all)));
        values.copy_from_slice(&powers[..values.len()]);
        for (sum, power) in sums.iter_mut().zip(&*values) {
            *sum += power;
        }
    }
    sums.iter().sum()
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn lane_exponentials(values: &mut [Lanes], largest: &Lanes) -> Lanes {
    let mut out = [0.0; PANEL];
    let (largest, _) = largest.as_chunks::<8>();
    let (out_sides, _) = out.as_chunks_mut::<8>();
    for side in 0..2 {
        let (mut sums, largest) = (_mm256_setzero_ps(), load(&largest[side]));
        for lanes in &mut *values {
            let (sides, _) = lanes.as_chunks_mut::<8>();
            let powers = exponential(_mm256_sub_ps(load(&sides[side]), largest));
            sides[side] = array(powers);
            sums = _mm256_add_ps(sums, powers);
        }
        out_sides[side] = array(sums);
    }
    out
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn silu_gate(gate: &mut [f32], up: &[f32]) {
    let (zero, one) = (_mm256_setzero_ps(), _mm256_set1_ps(1.0));
    for (gate, up) in gate.chunks_mut(8).zip(up.chunks(8)) {
        let (mut values, mut ups) = ([0.0; 8], [0.0; 8]);
        values[..gate.len()].copy_from_slice(gate);
        ups[..up.len()].copy_from_slice(up);
        let value = load(&values);
        let below = _mm256_add_ps(one, exponential(_mm256_sub_ps(zero, value)));
        let opened = array(_mm256_mul_ps(_mm256_div_ps(value, below), load(&ups)));
        gate.copy_from_slice(&opened[..gate.len()]);
    }
}

/// The non-linearity of each value.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn activate(activation: Fused, values: &mut [f32]) {
    for values in values.chunks_mut(8) {
        let mut eight = [0.0; 8];
        eight[..values.len()].copy_from_slice(values);
        let x = load(&eight);
        let found = array(match activation {
            Fused::Silu => sigmoid_times(x, x),
            Fused::Gelu => gelu(x),
            Fused::GeluTanh => gelu_tanh(x),
            // The bound comes first, as below.
            Fused::Relu => _mm256_max_ps(_mm256_setzero_ps(), x),
        });
        values.copy_from_slice(&found[..values.len()]);
    }
}

/// `x·σ(y)`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn sigmoid_times(x: __m256, y: __m256) -> __m256 {
    let below = exponential(_mm256_sub_ps(_mm256_setzero_ps(), y));
    _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0), below))
}

/// `½x(1 + tanh(y)) = x·σ(2y)` with `y = √(2/π)·(x + 0.044715x³)`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn gelu_tanh(x: __m256) -> __m256 {
    let square = _mm256_mul_ps(x, x);
    let inner = _mm256_fmadd_ps(square, _mm256_set1_ps(0.044_715), _mm256_set1_ps(1.0));
    let twice = _mm256_mul_ps(x, _mm256_set1_ps(1.595_769));
    sigmoid_times(x, _mm256_mul_ps(twice, inner))
}

/// `½x(1 + erf(x/√2))`, the error function by Abramowitz and Stegun 7.1.26, as torch's vectors have it:
/// to 1.5e-7.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn gelu(x: __m256) -> __m256 {
    let one = _mm256_set1_ps(1.0);
    let scaled = _mm256_mul_ps(x, _mm256_set1_ps(std::f32::consts::FRAC_1_SQRT_2));
    let far = _mm256_andnot_ps(_mm256_set1_ps(-0.0), scaled);
    let t = _mm256_div_ps(one, _mm256_fmadd_ps(far, _mm256_set1_ps(0.327_591_1), one));
    let mut sum = _mm256_set1_ps(ERROR[0]);
    for coefficient in &ERROR[1..] {
        sum = _mm256_fmadd_ps(sum, t, _mm256_set1_ps(*coefficient));
    }
    let power = exponential(_mm256_fnmadd_ps(far, far, _mm256_setzero_ps()));
    // 1 - erf(|x|/√2): what is left on the negative side, without subtracting near one from one.
    let rest = _mm256_mul_ps(_mm256_mul_ps(sum, t), power);
    let other = _mm256_sub_ps(_mm256_set1_ps(2.0), rest);
    _mm256_mul_ps(
        _mm256_mul_ps(x, _mm256_set1_ps(0.5)),
        _mm256_blendv_ps(other, rest, x),
    )
}

/// `exp(x)` as `exponential` describes it.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn exponential(x: __m256) -> __m256 {
    const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    let is_zero = _mm256_cmp_ps::<_CMP_LT_OQ>(x, _mm256_set1_ps(LEAST_NORMAL));
    // The bound comes first: of NaN and another these give the second, and NaN stays NaN.
    let x = _mm256_max_ps(_mm256_set1_ps(LEAST_NORMAL), x);
    let x = _mm256_min_ps(_mm256_set1_ps(HIGHEST), x);
    let power = _mm256_round_ps::<NEAREST>(_mm256_mul_ps(x, _mm256_set1_ps(LOG_2_E)));
    let rest = _mm256_fnmadd_ps(power, _mm256_set1_ps(LN_2[0]), x);
    let rest = _mm256_fnmadd_ps(power, _mm256_set1_ps(LN_2[1]), rest);
    let mut sum = _mm256_set1_ps(COEFFICIENTS[0]);
    for coefficient in &COEFFICIENTS[1..] {
        sum = _mm256_fmadd_ps(sum, rest, _mm256_set1_ps(*coefficient));
    }
    // 2^128 has the bits of infinity, as is right above the largest float.
    let power = _mm256_cvtps_epi32(power);
    let bits = _mm256_slli_epi32::<23>(_mm256_add_epi32(power, _mm256_set1_epi32(127)));
    let scaled = _mm256_mul_ps(sum, _mm256_castsi256_ps(bits));
    _mm256_andnot_ps(is_zero, scaled)
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load(values: &[f32; 8]) -> __m256 {
    // SAFETY: eight values are there, and the load has no alignment to keep.
    unsafe { _mm256_loadu_ps(values.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn array(register: __m256) -> [f32; 8] {
    let mut values = [0.0; 8];
    // SAFETY: there is room for eight values, and the store has no alignment to keep.
    unsafe { _mm256_storeu_ps(values.as_mut_ptr(), register) };
    values
}
