//! Loops over floats by AVX-512, sixteen at a time: what attention does with keys and values, and
//! exponentials. Unsafe for loads and stores; only [`detect`] hands the loops out, where the processor
//! has what they need.

use std::arch::x86_64::{
    __m512, __mmask16, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _mm512_add_ps, _mm512_div_ps,
    _mm512_fmadd_ps, _mm512_fnmadd_ps, _mm512_loadu_ps, _mm512_mask_storeu_ps,
    _mm512_maskz_loadu_ps, _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps, _mm512_reduce_add_ps,
    _mm512_roundscale_ps, _mm512_scalef_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
    _mm512_sub_ps,
};

use super::{
    Primitives,
    exponential::{COEFFICIENTS, HIGHEST, LN_2, LOG_2_E, LOWEST},
    panels::{Lanes, PANEL},
};

/// Rows whose products with a few vectors registers hold.
const TOGETHER: usize = 4;
/// Registers of a sum that is kept while rows pass.
const KEPT: usize = 8;

/// Puts these loops in place of others, where the processor can run them.
pub(super) fn detect(others: Primitives) -> Primitives {
    if !is_x86_feature_detected!("avx512f") {
        return others;
    }
    Primitives {
        // SAFETY (all six): `detect` has just found the instructions that the functions are compiled
        // for; they have no other condition.
        dots: |vector, rows, out| unsafe { dots(vector, rows, out) },
        dots_of_few: |vectors, rows, out| unsafe { dots_of_few(vectors, rows, out) },
        weighted_sum: |weights, rows, out| unsafe { weighted_sum(weights, rows, out) },
        exponentials: |values, largest| unsafe { exponentials(values, largest) },
        lane_exponentials: |values, largest| unsafe { lane_exponentials(values, largest) },
        silu_gate: |gate, up| unsafe { silu_gate(gate, up) },
        ..others
    }
}

#[target_feature(enable = "avx512f")]
fn dots(vector: &[f32], rows: &[f32], out: &mut [f32]) {
    let length = vector.len();
    let mut rows = rows.chunks_exact(length);
    let mut out = out.chunks_mut(4);
    // Four at a time, so that their sums do not wait for each other.
    for out in &mut out {
        let mut four = [&vector[..0]; 4];
        for (place, row) in four.iter_mut().zip(rows.by_ref().take(out.len())) {
            *place = row;
        }
        let mut sums = [_mm512_setzero_ps(); 4];
        for start in (0..length).step_by(PANEL) {
            let mask = mask(length - start);
            let part = load(vector, start, mask);
            for (sum, row) in sums.iter_mut().zip(&four[..out.len()]) {
                *sum = _mm512_fmadd_ps(load(row, start, mask), part, *sum);
            }
        }
        for (out, sum) in out.iter_mut().zip(&sums) {
            *out = _mm512_reduce_add_ps(*sum);
        }
    }
}

#[target_feature(enable = "avx512f")]
fn dots_of_few(vectors: &[&[f32]], rows: &[f32], out: &mut [Lanes]) {
    match vectors.len() {
        2 => dots_of::<2>(vectors, rows, out),
        3 => dots_of::<3>(vectors, rows, out),
        4 => dots_of::<4>(vectors, rows, out),
        5 => dots_of::<5>(vectors, rows, out),
        6 => dots_of::<6>(vectors, rows, out),
        _ => {
            for (vector, out) in vectors.iter().zip(out) {
                dots(vector, rows, &mut out[..rows.len() / vector.len()]);
            }
        }
    }
}

/// Each weight meets all vectors while it is in a register.
#[target_feature(enable = "avx512f")]
fn dots_of<const COUNT: usize>(vectors: &[&[f32]], rows: &[f32], out: &mut [Lanes]) {
    let vectors: [&[f32]; COUNT] = std::array::from_fn(|vector| vectors[vector]);
    let length = vectors[0].len();
    for (group, rows) in rows.chunks(TOGETHER * length).enumerate() {
        let first = group * TOGETHER;
        if rows.len() < TOGETHER * length {
            for (vector, out) in vectors.iter().zip(out.iter_mut()) {
                dots(vector, rows, &mut out[first..][..rows.len() / length]);
            }
            continue;
        }
        let mut sums = [[_mm512_setzero_ps(); TOGETHER]; COUNT];
        for start in (0..length).step_by(PANEL) {
            let mask = mask(length - start);
            let mut weights = [_mm512_setzero_ps(); TOGETHER];
            for (weight, row) in weights.iter_mut().zip(rows.chunks_exact(length)) {
                *weight = load(row, start, mask);
            }
            for (sums, vector) in sums.iter_mut().zip(&vectors) {
                let part = load(vector, start, mask);
                for (sum, weight) in sums.iter_mut().zip(&weights) {
                    *sum = _mm512_fmadd_ps(*weight, part, *sum);
                }
            }
        }
        for (sums, out) in sums.iter().zip(out.iter_mut()) {
            for (sum, out) in sums.iter().zip(&mut out[first..]) {
                *out = _mm512_reduce_add_ps(*sum);
            }
        }
    }
}

#[target_feature(enable = "avx512f")]
fn weighted_sum(weights: &[f32], rows: &[f32], out: &mut [f32]) {
    let length = out.len();
    for first in (0..length).step_by(KEPT * PANEL) {
        let part = &mut out[first..length.min(first + KEPT * PANEL)];
        match part.len().div_ceil(PANEL) {
            1 => kept_sum::<1>(weights, rows, (first, length), part),
            2 => kept_sum::<2>(weights, rows, (first, length), part),
            4 => kept_sum::<4>(weights, rows, (first, length), part),
            5 => kept_sum::<5>(weights, rows, (first, length), part),
            6 => kept_sum::<6>(weights, rows, (first, length), part),
            _ => kept_sum::<KEPT>(weights, rows, (first, length), part),
        }
    }
}

/// Some columns of the sum, kept in registers; parts past the end load and store nothing.
#[target_feature(enable = "avx512f")]
fn kept_sum<const PARTS: usize>(
    weights: &[f32],
    rows: &[f32],
    (first, length): (usize, usize),
    out: &mut [f32],
) {
    let mut sums = [_mm512_setzero_ps(); PARTS];
    let mut masks = [0; PARTS];
    for part in 0..PARTS {
        masks[part] = mask(out.len().saturating_sub(part * PANEL));
        sums[part] = load(out, out.len().min(part * PANEL), masks[part]);
    }
    for (row, weight) in rows.chunks_exact(length).zip(weights) {
        let row = &row[first..][..out.len()];
        let weight = _mm512_set1_ps(*weight);
        for part in 0..PARTS {
            let values = load(row, row.len().min(part * PANEL), masks[part]);
            sums[part] = _mm512_fmadd_ps(weight, values, sums[part]);
        }
    }
    for part in 0..PARTS {
        let start = out.len().min(part * PANEL);
        store(sums[part], out, start, masks[part]);
    }
}

#[target_feature(enable = "avx512f")]
fn exponentials(values: &mut [f32], largest: f32) -> f32 {
    let (mut sum, largest) = (_mm512_setzero_ps(), _mm512_set1_ps(largest));
    for start in (0..values.len()).step_by(PANEL) {
        let mask = mask(values.len() - start);
        let power = exponential(_mm512_sub_ps(load(values, start, mask), largest));
        store(power, values, start, mask);
        // Lanes past the end were stored nowhere, and must not count.
        sum = _mm512_add_ps(sum, load(values, start, mask));
    }
    _mm512_reduce_add_ps(sum)
}

#[target_feature(enable = "avx512f")]
fn lane_exponentials(values: &mut [Lanes], largest: &Lanes) -> Lanes {
    let all = mask(PANEL);
    let (mut sums, largest) = (_mm512_setzero_ps(), load(largest, 0, all));
    for lanes in values {
        let power = exponential(_mm512_sub_ps(load(lanes, 0, all), largest));
        store(power, lanes, 0, all);
        sums = _mm512_add_ps(sums, power);
    }
    let mut out = [0.0; PANEL];
    store(sums, &mut out, 0, all);
    out
}

#[target_feature(enable = "avx512f")]
fn silu_gate(gate: &mut [f32], up: &[f32]) {
    let (zero, one) = (_mm512_setzero_ps(), _mm512_set1_ps(1.0));
    let length = gate.len().min(up.len());
    for start in (0..length).step_by(PANEL) {
        let mask = mask(length - start);
        let value = load(gate, start, mask);
        let below = _mm512_add_ps(one, exponential(_mm512_sub_ps(zero, value)));
        let opened = _mm512_mul_ps(_mm512_div_ps(value, below), load(up, start, mask));
        store(opened, gate, start, mask);
    }
}

/// `exp(x)` as `exponential` describes it.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn exponential(x: __m512) -> __m512 {
    const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    // The bound comes first: of NaN and another these give the second, and NaN stays NaN.
    let x = _mm512_min_ps(
        _mm512_set1_ps(HIGHEST),
        _mm512_max_ps(_mm512_set1_ps(LOWEST), x),
    );
    let power = _mm512_roundscale_ps::<NEAREST>(_mm512_mul_ps(x, _mm512_set1_ps(LOG_2_E)));
    let rest = _mm512_fnmadd_ps(power, _mm512_set1_ps(LN_2[0]), x);
    let rest = _mm512_fnmadd_ps(power, _mm512_set1_ps(LN_2[1]), rest);
    let mut sum = _mm512_set1_ps(COEFFICIENTS[0]);
    for coefficient in &COEFFICIENTS[1..] {
        sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(*coefficient));
    }
    _mm512_scalef_ps(sum, power)
}

/// The first so many lanes, all at most.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn mask(lanes: usize) -> __mmask16 {
    if lanes >= PANEL {
        return __mmask16::MAX;
    }
    (1 << lanes) - 1
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load(values: &[f32], start: usize, mask: __mmask16) -> __m512 {
    assert!(
        start + mask.count_ones() as usize <= values.len(),
        "a register's values are there"
    );
    // SAFETY: the values that the mask names are there; others are not read.
    unsafe {
        if mask == __mmask16::MAX {
            _mm512_loadu_ps(values.as_ptr().add(start))
        } else {
            _mm512_maskz_loadu_ps(mask, values.as_ptr().add(start))
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store(register: __m512, values: &mut [f32], start: usize, mask: __mmask16) {
    assert!(
        start + mask.count_ones() as usize <= values.len(),
        "there is room for a register's values"
    );
    // SAFETY: there is room for what the mask names; nothing else is written.
    unsafe {
        if mask == __mmask16::MAX {
            _mm512_storeu_ps(values.as_mut_ptr().add(start), register);
        } else {
            _mm512_mask_storeu_ps(values.as_mut_ptr().add(start), mask, register);
        }
    }
}
