//! Panels of brain floats by AVX2 and FMA: two registers hold one column of sixteen rows. Unsafe for loads and
//! stores; `unsafe_avx2` is the only caller and has found the instructions.

use std::arch::x86_64::{
    __m256, _mm256_add_ps, _mm256_and_si256, _mm256_castsi256_ps, _mm256_fmadd_ps,
    _mm256_loadu_si256, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps, _mm256_slli_epi32,
    _mm256_storeu_ps,
};

use super::{
    FEW,
    brain::PAIR,
    panels::{DEPTH, Lanes, PANEL},
};

/// Rows of a register.
const SIDE: usize = PANEL / 2;

#[target_feature(enable = "avx2,fma")]
pub(super) fn dots(panel: &[u8], vectors: &[&[f32]], out: &mut [Lanes]) {
    macro_rules! by_count {
        ($($count:literal)*) => {
            match vectors.len() {
                $($count => for side in 0..2 {
                    dots_of::<$count>(panel, side, vectors, out);
                })*
                count => assert_eq!(count, 0, "at most {FEW} vectors are taken at once"),
            }
        };
    }
    by_count!(1 2 3 4 5 6);
}

/// For eight of the rows. Each pair of columns meets all vectors while it is in registers.
#[target_feature(enable = "avx2,fma")]
fn dots_of<const COUNT: usize>(panel: &[u8], side: usize, vectors: &[&[f32]], out: &mut [Lanes]) {
    let (pairs, _) = panel.as_chunks::<PAIR>();
    let vectors: [&[f32]; COUNT] = std::array::from_fn(|vector| vectors[vector]);
    assert!(
        vectors.iter().all(|vector| vector.len() == 2 * pairs.len()),
        "a vector has a value for each column"
    );
    let mut totals = [_mm256_setzero_ps(); COUNT];
    for (part, pairs) in pairs.chunks(DEPTH / 2).enumerate() {
        let mut sums = [[_mm256_setzero_ps(); 2]; COUNT];
        for (pair, weights) in (part * (DEPTH / 2)..).zip(pairs) {
            let [low, high] = columns(weights, side);
            for (sums, vector) in sums.iter_mut().zip(&vectors) {
                // SAFETY: the vectors have just been found to have two values for each pair.
                let inputs = unsafe { [0, 1].map(|at| *vector.get_unchecked(2 * pair + at)) };
                sums[0] = _mm256_fmadd_ps(low, _mm256_set1_ps(inputs[0]), sums[0]);
                sums[1] = _mm256_fmadd_ps(high, _mm256_set1_ps(inputs[1]), sums[1]);
            }
        }
        for (total, sums) in totals.iter_mut().zip(&sums) {
            *total = _mm256_add_ps(*total, _mm256_add_ps(sums[0], sums[1]));
        }
    }
    for (total, out) in totals.iter().zip(out) {
        store(*total, &mut out[side * SIDE..]);
    }
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn unpack(panel: &[u8], out: &mut [f32]) {
    let (pairs, _) = panel.as_chunks::<PAIR>();
    for (pair, out) in pairs.iter().zip(out.chunks_exact_mut(2 * PANEL)) {
        for side in 0..2 {
            for (column, register) in columns(pair, side).iter().enumerate() {
                store(*register, &mut out[column * PANEL + side * SIDE..]);
            }
        }
    }
}

/// Two columns of eight of the rows as f32.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn columns(pair: &[u8; PAIR], side: usize) -> [__m256; 2] {
    let (sides, _) = pair.as_chunks::<{ PAIR / 2 }>();
    // SAFETY: 32 bytes are there, and the load has no alignment to keep.
    let both = unsafe { _mm256_loadu_si256(sides[side].as_ptr().cast()) };
    let high = _mm256_and_si256(both, _mm256_set1_epi32(0xffff_0000_u32.cast_signed()));
    [_mm256_slli_epi32::<16>(both), high].map(|bits| _mm256_castsi256_ps(bits))
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn store(register: __m256, out: &mut [f32]) {
    let out = &mut out[..SIDE];
    // SAFETY: there is room for eight values, and the store has no alignment to keep.
    unsafe { _mm256_storeu_ps(out.as_mut_ptr(), register) };
}
