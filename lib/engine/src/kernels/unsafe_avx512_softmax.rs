//! Softmax of scores that lie in products of squares, by AVX-512: a row's 64 scores are four registers, and their
//! exponentials go back as the brain floats that the next product takes. Unsafe for the form that those have in a
//! register; who hands [`weigh`] out has found the instructions.

use std::{
    arch::x86_64::{
        __m512, __m512bh, _mm512_add_ps, _mm512_cvtne2ps_pbh, _mm512_fmsub_ps, _mm512_mask_max_ps,
        _mm512_maskz_mov_ps, _mm512_mul_ps, _mm512_reduce_max_ps, _mm512_set1_ps, _mm512_sub_ps,
    },
    mem::transmute,
};

use super::{
    attention_squares::{KEYS, Softmax},
    panels::{Lanes, PANEL},
    squares::{Products, Square},
    unsafe_avx512_floats::{exponential, load, mask, store},
};

/// Registers of a row's scores.
const REGISTERS: usize = KEYS / PANEL;

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
    let before = _mm512_sub_ps(load(&softmax.largest, 0, all), load(&base, 0, all));
    store(exponential(before), &mut factors, 0, all);
    softmax.largest = largest;
    for row in 0..PANEL {
        let mut weights = of_row(scores, index, row);
        let sums = load(&softmax.sums[row], 0, all);
        let mut sums = _mm512_mul_ps(sums, _mm512_set1_ps(factors[row]));
        for (at, weight) in weights.iter_mut().enumerate() {
            let power = exponential(_mm512_fmsub_ps(*weight, factor, _mm512_set1_ps(base[row])));
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
