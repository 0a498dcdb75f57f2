//! Softmax of scores that lie in products of squares, by AVX-512: a row's 64 scores are four registers, and their
//! exponentials go back as the brain floats that the next product takes. Unsafe for loads and stores; who hands
//! [`weigh`] out has found the instructions.

use std::{
    arch::x86_64::{
        __m512, __m512bh, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _mm512_add_ps,
        _mm512_cvtne2ps_pbh, _mm512_fmadd_ps, _mm512_fmsub_ps, _mm512_loadu_ps, _mm512_mask_max_ps,
        _mm512_maskz_mov_ps, _mm512_max_ps, _mm512_mul_ps, _mm512_reduce_max_ps,
        _mm512_roundscale_ps, _mm512_scalef_ps, _mm512_set1_ps, _mm512_storeu_ps, _mm512_sub_ps,
    },
    f32::consts::LN_2,
    mem::transmute,
};

use super::{
    attention_squares::{KEYS, Softmax},
    exponential::LOG_2_E,
    panels::{Lanes, PANEL},
    squares::{Products, Square},
};

/// Registers of a row's scores.
const REGISTERS: usize = KEYS / PANEL;
/// Powers of two are taken no lower; what lies below is 0 in an f32.
const LOWEST: f32 = -150.0;
/// Of the series of `2^x` with |x| ≤ ½, the highest power first: a thousand times as exact as brain floats.
const COEFFICIENTS: [f32; 6] = {
    let mut coefficients = [1.0; 6];
    let mut at = 5;
    while at > 0 {
        coefficients[at - 1] = coefficients[at] * LN_2 / (6 - at) as f32;
        at -= 1;
    }
    coefficients
};

/// As [`Squares::weigh`](super::squares::Squares::weigh) says.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) fn weigh(
    scores: &[Products; 2],
    scale: f32,
    (index, softmax): (usize, &mut Softmax),
    out: &mut [Square; 2],
) -> Lanes {
    let factor = _mm512_set1_ps(scale * LOG_2_E);
    let mut largest = softmax.largest;
    for (row, largest) in largest.iter_mut().enumerate() {
        let mut found = _mm512_set1_ps(*largest);
        for (at, score) in of_row(scores, index, row).into_iter().enumerate() {
            let score = _mm512_mul_ps(score, factor);
            // Of NaN and another this gives the second: what is no number is left to the sums.
            found = _mm512_mask_max_ps(found, sixteen(softmax.seen[row], at), score, found);
        }
        *largest = _mm512_reduce_max_ps(found);
    }
    // A row that has seen nothing yet has no largest score; any number leaves its sums at zero.
    let base = largest.map(|largest| if largest.is_finite() { largest } else { 0.0 });
    let mut factors = [0.0; PANEL];
    let before = _mm512_sub_ps(load(&softmax.largest), load(&base));
    store(power_of_two(before), &mut factors);
    softmax.largest = largest;
    for row in 0..PANEL {
        let mut weights = of_row(scores, index, row);
        let mut sums = _mm512_mul_ps(load(&softmax.sums[row]), _mm512_set1_ps(factors[row]));
        for (at, weight) in weights.iter_mut().enumerate() {
            let power = power_of_two(_mm512_fmsub_ps(*weight, factor, _mm512_set1_ps(base[row])));
            *weight = _mm512_maskz_mov_ps(sixteen(softmax.seen[row], at), power);
            sums = _mm512_add_ps(sums, *weight);
        }
        store(sums, &mut softmax.sums[row]);
        for (square, both) in out.iter_mut().zip(weights.as_chunks().0) {
            store_pairs(*both, &mut square[row * PANEL..]);
        }
    }
    factors
}

/// Bits of sixteen keys.
fn sixteen(seen: u64, at: usize) -> u16 {
    (seen >> (at * PANEL)) as u16
}

/// The scores of a row of one of the two tiles.
#[inline]
#[target_feature(enable = "avx512f")]
fn of_row(scores: &[Products; 2], index: usize, row: usize) -> [__m512; REGISTERS] {
    [
        load(&scores[0][index][0][row]),
        load(&scores[0][index][1][row]),
        load(&scores[1][index][0][row]),
        load(&scores[1][index][1][row]),
    ]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn power_of_two(x: __m512) -> __m512 {
    const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    // The bound comes first: of NaN and another this gives the second, and NaN stays NaN.
    let x = _mm512_max_ps(_mm512_set1_ps(LOWEST), x);
    let power = _mm512_roundscale_ps::<NEAREST>(x);
    let rest = _mm512_sub_ps(x, power);
    let mut sum = _mm512_set1_ps(COEFFICIENTS[0]);
    for coefficient in &COEFFICIENTS[1..] {
        sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(*coefficient));
    }
    _mm512_scalef_ps(sum, power)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(lanes: &Lanes) -> __m512 {
    // SAFETY: there are sixteen values, and the load has no alignment to keep.
    unsafe { _mm512_loadu_ps(lanes.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(values: __m512, lanes: &mut Lanes) {
    // SAFETY: likewise.
    unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), values) }
}

/// Thirty-two values as brain floats, one after the other.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn store_pairs([low, high]: [__m512; 2], pairs: &mut [f32]) {
    let pairs = &mut pairs[..PANEL];
    let both = _mm512_cvtne2ps_pbh(high, low);
    // SAFETY: both types are 512 bits of any value; there is room for sixteen pairs, and the store has no alignment
    // to keep.
    unsafe { _mm512_storeu_ps(pairs.as_mut_ptr(), transmute::<__m512bh, __m512>(both)) };
}
