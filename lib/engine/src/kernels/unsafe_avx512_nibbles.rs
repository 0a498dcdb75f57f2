//! The product of 4-bit codes of a book with a vector, by AVX-512: all sixteen values of a block lie in
//! one register, so that one permutation looks sixteen codes up where AVX2 needs six instructions for
//! eight. Only [`detect`] hands it out.

use std::arch::x86_64::{
    __m512, _mm_and_si128, _mm_loadu_si128, _mm_set1_epi8, _mm_srli_epi16, _mm_unpackhi_epi8,
    _mm_unpacklo_epi8, _mm512_add_ps, _mm512_cvtepu8_epi32, _mm512_fmadd_ps, _mm512_loadu_ps,
    _mm512_mul_ps, _mm512_permutexvar_ps, _mm512_reduce_add_ps, _mm512_set1_ps, _mm512_setzero_ps,
};

use wire::model::DType;

use super::Book;

/// The form of `Primitives::nibbles_dot`.
type Dot = fn(&Book, &[u8], &[f32], &[f32]) -> f32;

/// The product, where the processor can run it.
pub fn detect() -> Option<Dot> {
    // SAFETY: `detect` has just found the instructions that the function is compiled for; it has no
    // other condition.
    is_x86_feature_detected!("avx512f")
        .then_some(|book, packed, scales, input| unsafe { dot(book, packed, scales, input) })
}

#[target_feature(enable = "avx512f")]
fn dot(book: &Book, packed: &[u8], scales: &[f32], input: &[f32]) -> f32 {
    let plain = load(&book.values);
    let mut sums = [_mm512_setzero_ps(); 4];
    let (packed, _) = packed.as_chunks::<32>();
    let (input, _) = input.as_chunks::<64>();
    for ((packed, scale), input) in packed.iter().zip(scales).zip(input) {
        let table = if book.rounding == DType::F32 {
            _mm512_mul_ps(plain, _mm512_set1_ps(*scale))
        } else {
            load(&book.scaled(*scale))
        };
        let (halves, _) = packed.as_chunks::<16>();
        let (inputs, _) = input.as_chunks::<16>();
        for (part, bytes) in halves.iter().enumerate() {
            let [first, second] = look_up(table, bytes);
            let at = part * 2;
            sums[at] = _mm512_fmadd_ps(first, load(&inputs[at]), sums[at]);
            sums[at + 1] = _mm512_fmadd_ps(second, load(&inputs[at + 1]), sums[at + 1]);
        }
    }
    let [a, b, c, d] = sums;
    _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, d)))
}

/// The values of the 32 codes in sixteen bytes.
#[inline]
#[target_feature(enable = "avx512f")]
fn look_up(table: __m512, bytes: &[u8; 16]) -> [__m512; 2] {
    // SAFETY: sixteen bytes are there, and the load has no alignment to keep.
    let bytes = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
    let mask = _mm_set1_epi8(15);
    let high = _mm_and_si128(_mm_srli_epi16::<4>(bytes), mask);
    let low = _mm_and_si128(bytes, mask);
    let first = _mm512_cvtepu8_epi32(_mm_unpacklo_epi8(high, low));
    let second = _mm512_cvtepu8_epi32(_mm_unpackhi_epi8(high, low));
    [
        _mm512_permutexvar_ps(first, table),
        _mm512_permutexvar_ps(second, table),
    ]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(values: &[f32; 16]) -> __m512 {
    // SAFETY: sixteen values are there, and the load has no alignment to keep.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}
