//! Plain floats for AVX2: eight values of f32, f16 or bf16 at a time. Unsafe for the loads and for
//! calls that need the instructions; `unsafe_avx2` is the only caller and has them.

use std::arch::x86_64::{
    __m128i, __m256, _mm_loadu_si128, _mm256_castsi256_ps, _mm256_cvtepu16_epi32, _mm256_cvtph_ps,
    _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_setzero_ps, _mm256_slli_epi32, _mm256_storeu_ps,
};

use half::{bf16, f16};

/// A way to store one value.
pub(super) trait Float {
    /// Bytes of a value.
    const BYTES: usize;

    /// Eight values, of `8 * BYTES` bytes.
    ///
    /// # Safety
    /// AVX2 and F16C are there.
    unsafe fn eight(bytes: &[u8]) -> __m256;

    /// One value.
    fn one(bytes: &[u8]) -> f32;
}

pub(super) struct F32;
pub(super) struct F16;
pub(super) struct BF16;

impl Float for F32 {
    const BYTES: usize = 4;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn eight(bytes: &[u8]) -> __m256 {
        assert!(bytes.len() >= 32, "eight values have 32 bytes");
        // SAFETY: the bytes are there, and the load has no alignment to keep.
        unsafe { _mm256_loadu_ps(bytes.as_ptr().cast()) }
    }

    fn one(bytes: &[u8]) -> f32 {
        f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }
}

impl Float for F16 {
    const BYTES: usize = 2;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn eight(bytes: &[u8]) -> __m256 {
        _mm256_cvtph_ps(eight_halves(bytes))
    }

    fn one(bytes: &[u8]) -> f32 {
        f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
    }
}

impl Float for BF16 {
    const BYTES: usize = 2;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn eight(bytes: &[u8]) -> __m256 {
        let wide = _mm256_cvtepu16_epi32(eight_halves(bytes));
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
    }

    fn one(bytes: &[u8]) -> f32 {
        bf16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn eight_halves(bytes: &[u8]) -> __m128i {
    assert!(bytes.len() >= 16, "eight values have 16 bytes");
    // SAFETY: the bytes are there, and the load has no alignment to keep.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

/// Unpacks `values.len()` values.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn unpack<T: Float>(bytes: &[u8], values: &mut [f32]) {
    let mut targets = values.chunks_exact_mut(8);
    let sources = bytes.chunks_exact(8 * T::BYTES);
    let rest = sources.remainder();
    for (source, target) in sources.zip(&mut targets) {
        // SAFETY: this function runs only where the instructions are; `target` has eight values.
        unsafe { _mm256_storeu_ps(target.as_mut_ptr(), T::eight(source)) };
    }
    let pairs = rest.chunks_exact(T::BYTES).zip(targets.into_remainder());
    for (source, target) in pairs {
        *target = T::one(source);
    }
}

/// Sums of the products of a row with as many inputs: four lanes, and what no lane took.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn dot<T: Float>(row: &[u8], input: &[f32]) -> ([__m256; 4], f32) {
    let mut sums = [_mm256_setzero_ps(); 4];
    let rows = row.chunks_exact(32 * T::BYTES);
    let inputs = input.chunks_exact(32);
    let rest = rows.remainder().chunks_exact(T::BYTES);
    let rest: f32 = rest
        .zip(inputs.remainder())
        .map(|(weight, input)| T::one(weight) * input)
        .sum();
    for (row, input) in rows.zip(inputs) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            // SAFETY: this function runs only where the instructions are; `input` has 32 values.
            unsafe {
                let weights = T::eight(&row[8 * lane * T::BYTES..]);
                let inputs = _mm256_loadu_ps(input.as_ptr().add(8 * lane));
                *sum = _mm256_fmadd_ps(weights, inputs, *sum);
            }
        }
    }
    (sums, rest)
}
