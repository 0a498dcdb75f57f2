//! Products of rows of plain floats with a vector, by AVX-512: four rows at a time, so that their sums do
//! not wait for each other and an input that was loaded serves four times. What comes next is asked for
//! early: the processor's own look-ahead ends with a page, of which short rows leave many. Only [`detect`]
//! hands the loop out.

use std::arch::x86_64::{
    __m512, _MM_HINT_T0, _mm_prefetch, _mm256_loadu_si256, _mm512_castsi512_ps,
    _mm512_cvtepu16_epi32, _mm512_cvtph_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_reduce_add_ps,
    _mm512_setzero_ps, _mm512_slli_epi32,
};

use super::{
    Primitives,
    panels::{Lanes, PANEL},
    portable,
    unsafe_avx2_floats::{BF16, F16, F32, Float},
};
use crate::weights::Format;

/// Rows at a time.
const ROWS: usize = 4;
/// How far ahead memory is asked for, in bytes.
pub(super) const AHEAD: usize = 4096;

/// Puts this loop in place of another, where the processor can run it.
pub(super) fn detect(others: Primitives) -> Primitives {
    if !is_x86_feature_detected!("avx512f") {
        return others;
    }
    Primitives {
        // SAFETY: `detect` has just found the instructions that the function is compiled for; it has no
        // other condition.
        float_dots: |format, rows, input, out| unsafe { float_dots(format, rows, input, out) },
        ..others
    }
}

#[target_feature(enable = "avx512f")]
fn float_dots(format: Format, rows: &[u8], input: &[f32], out: &mut [f32]) {
    match format {
        Format::F32 => dots::<F32>(rows, input, out),
        Format::F16 => dots::<F16>(rows, input, out),
        Format::BF16 => dots::<BF16>(rows, input, out),
        _ => portable::float_dots(format, rows, input, out),
    }
}

#[target_feature(enable = "avx512f")]
fn dots<T: Wide>(rows: &[u8], input: &[f32], out: &mut [f32]) {
    let length = input.len() * T::BYTES;
    let (fours, rest) = out.as_chunks_mut::<ROWS>();
    let (first, last) = rows.split_at(fours.len() * ROWS * length);
    for (rows, out) in first.chunks_exact(ROWS * length).zip(fours) {
        let rows = std::array::from_fn(|row| &rows[row * length..][..length]);
        *out = of_rows::<T, ROWS>(rows, input);
    }
    for (row, out) in last.chunks_exact(length).zip(rest) {
        [*out] = of_rows::<T, 1>([row], input);
    }
}

/// A row's product is the same whichever rows are beside it.
#[inline]
#[target_feature(enable = "avx512f")]
fn of_rows<T: Wide, const COUNT: usize>(rows: [&[u8]; COUNT], input: &[f32]) -> [f32; COUNT] {
    let (parts, rest) = input.as_chunks::<PANEL>();
    let mut sums = [_mm512_setzero_ps(); COUNT];
    for (at, input) in parts.iter().enumerate() {
        let start = at * PANEL * T::BYTES;
        let input = load(input);
        for (sum, row) in sums.iter_mut().zip(rows) {
            let bytes = &row[start..][..PANEL * T::BYTES];
            // SAFETY: a hint, which faults nowhere; and the instructions are there.
            let weights = unsafe {
                _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().wrapping_add(AHEAD).cast());
                T::sixteen(bytes)
            };
            *sum = _mm512_fmadd_ps(weights, input, *sum);
        }
    }
    let start = parts.len() * PANEL * T::BYTES;
    std::array::from_fn(|row| {
        let weights = rows[row][start..].chunks_exact(T::BYTES);
        let products = weights.zip(rest).map(|(weight, x)| T::one(weight) * x);
        _mm512_reduce_add_ps(sums[row]) + products.sum::<f32>()
    })
}

trait Wide: Float {
    /// Sixteen values, of `16 * BYTES` bytes.
    ///
    /// # Safety
    /// AVX-512 is there.
    unsafe fn sixteen(bytes: &[u8]) -> __m512;
}

impl Wide for F32 {
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn sixteen(bytes: &[u8]) -> __m512 {
        assert!(bytes.len() >= 64, "sixteen values have 64 bytes");
        // SAFETY: the bytes are there, and the load has no alignment to keep.
        unsafe { _mm512_loadu_ps(bytes.as_ptr().cast()) }
    }
}

impl Wide for F16 {
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn sixteen(bytes: &[u8]) -> __m512 {
        assert!(bytes.len() >= 32, "sixteen values have 32 bytes");
        // SAFETY: the bytes are there, and the load has no alignment to keep.
        _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) })
    }
}

impl Wide for BF16 {
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn sixteen(bytes: &[u8]) -> __m512 {
        assert!(bytes.len() >= 32, "sixteen values have 32 bytes");
        // SAFETY: the bytes are there, and the load has no alignment to keep.
        let halves = unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) };
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(values: &Lanes) -> __m512 {
    // SAFETY: sixteen values are there, and the load has no alignment to keep.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}
