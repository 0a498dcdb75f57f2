//! Softmax of scores that lie in products of squares, by AVX-512: a row's 64 scores are four registers, and their
//! exponentials go back as the brain floats that the next product takes. Unsafe for the form that those have in a
//! register; who hands [`weigh`] out has found the instructions.

use std::{
    arch::x86_64::{
        __m512, __m512bh, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _mm512_add_ps,
        _mm512_cvtne2ps_pbh, _mm512_fmadd_ps, _mm512_fmsub_ps, _mm512_mask_max_ps,
        _mm512_maskz_mov_ps, _mm512_max_ps, _mm512_mul_ps, _mm512_reduce_max_ps,
        _mm512_roundscale_ps, _mm512_scalef_ps, _mm512_set1_ps, _mm512_sub_ps,
    },
    f32::consts::LN_2,
    mem::transmute,
};

use super::{
    attention_squares::{KEYS, Softmax},
    panels::{Lanes, PANEL},
    squares::{Products, Square},
    unsafe_avx512_floats::{load, mask, store},
};

/// Registers of a row's scores.
const REGISTERS: usize = KEYS / PANEL;
/// Exponents are taken no lower: what lies below is 0 in an f32.
const LOWEST: f32 = -150.0;
/// Of the polynomial for 2ˣ with |x| ≤ ½ (least squares, weighted until the largest errors were alike), the highest
/// power first.
const COEFFICIENTS: [f32; 6] = [
    1.326_468e-3,
    9.671_503e-3,
    5.550_734e-2,
    2.402_224_2e-1,
    LN_2,
    1.0,
];

/// As [`Squares::weigh`](super::squares::Squares::weigh) says.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) fn weigh(
    scores: &[Products; 2],
    scale: f32,
    (index, softmax): (usize, &mut Softmax),
    out: &mut [Square; 2],
) -> Lanes {
    let (factor, all) = (_mm512_set1_ps(scale), mask(PANEL));
    let mut largest = softmax.largest;
    for (row, largest) in largest.iter_mut().enumerate() {
        let mut found = _mm512_set1_ps(f32::NEG_INFINITY);
        for (at, score) in of_row(scores, index, row).into_iter().enumerate() {
            // Of NaN and another this gives the second: what is no number is left to the sums.
            found = _mm512_mask_max_ps(found, sixteen(softmax.seen[row], at), score, found);
        }
        *largest = largest.max(_mm512_reduce_max_ps(found) * scale);
    }
    // A row that has seen nothing yet has no largest score; any number leaves its sums at zero.
    let base = largest.map(|largest| if largest.is_finite() { largest } else { 0.0 });
    let mut factors = [0.0; PANEL];
    let before = _mm512_sub_ps(load(&softmax.largest, 0, all), load(&base, 0, all));
    store(power_of_two(before), &mut factors, 0, all);
    softmax.largest = largest;
    for row in 0..PANEL {
        let mut weights = of_row(scores, index, row);
        let sums = load(&softmax.sums[row], 0, all);
        let mut sums = _mm512_mul_ps(sums, _mm512_set1_ps(factors[row]));
        for (at, weight) in weights.iter_mut().enumerate() {
            let power = power_of_two(_mm512_fmsub_ps(*weight, factor, _mm512_set1_ps(base[row])));
            *weight = _mm512_maskz_mov_ps(sixteen(softmax.seen[row], at), power);
            sums = _mm512_add_ps(sums, *weight);
        }
        store(sums, &mut softmax.sums[row], 0, all);
        for (square, both) in out.iter_mut().zip(weights.as_chunks().0) {
            store_pairs(*both, &mut square[row * PANEL..]);
        }
    }
    factors
}

/// Of exponents that are none too large, to some 2⁻²² of the power. In place of `exponential` with its other base and
/// bounds: softmax was 12 % of a prompt by that, and is 7 % by this.
#[inline]
#[target_feature(enable = "avx512f")]
fn power_of_two(x: __m512) -> __m512 {
    const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    // The bound comes first: of NaN and another this gives the second, and NaN stays NaN.
    let x = _mm512_max_ps(_mm512_set1_ps(LOWEST), x);
    let whole = _mm512_roundscale_ps::<NEAREST>(x);
    let rest = _mm512_sub_ps(x, whole);
    let mut sum = _mm512_set1_ps(COEFFICIENTS[0]);
    for coefficient in &COEFFICIENTS[1..] {
        sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(*coefficient));
    }
    _mm512_scalef_ps(sum, whole)
}

/// Bits of sixteen keys.
fn sixteen(seen: u64, at: usize) -> u16 {
    (seen >> (at * PANEL)) as u16
}

/// The scores of a row of one of the two tiles.
#[inline]
#[target_feature(enable = "avx512f")]
fn of_row(scores: &[Products; 2], index: usize, row: usize) -> [__m512; REGISTERS] {
    let all = mask(PANEL);
    [
        load(&scores[0][index][0][row], 0, all),
        load(&scores[0][index][1][row], 0, all),
        load(&scores[1][index][0][row], 0, all),
        load(&scores[1][index][1][row], 0, all),
    ]
}

/// Thirty-two values as brain floats, one after the other.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn store_pairs([low, high]: [__m512; 2], pairs: &mut [f32]) {
    let both = _mm512_cvtne2ps_pbh(high, low);
    // SAFETY: both types are 512 bits of any value.
    let both = unsafe { transmute::<__m512bh, __m512>(both) };
    store(both, pairs, 0, mask(PANEL));
}
