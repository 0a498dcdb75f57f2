//! Rounding of activations, and products with them, by AVX2: products of bytes are added up in 16 bits,
//! then in 32. Unsafe for loads and stores; `unsafe_avx2` is the only caller and has found the
//! instructions.

use std::arch::x86_64::{
    __m256, __m256i, _mm_loadu_si128, _mm256_abs_epi8, _mm256_add_epi16, _mm256_add_epi32,
    _mm256_and_si256, _mm256_cvtepi32_ps, _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_mul_ps, _mm256_set1_epi8, _mm256_set1_epi16,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_sign_epi8,
    _mm256_srli_epi16, _mm256_storeu_ps,
};

use super::{
    panels::{COLUMNS, Lanes, PANEL, heads},
    rounded::RoundedBlock,
};
use crate::weights::Format;

/// [`RoundedBlock::of`], compiled for these instructions.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn round(values: &[f32; COLUMNS]) -> RoundedBlock {
    RoundedBlock::of(values)
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn rounded(format: Format, panel: &[u8], inputs: &[RoundedBlock], out: &mut [Lanes]) {
    let blocks = panel.len() / (format.block_bytes() * PANEL);
    assert_eq!(
        blocks * out.len(),
        inputs.len(),
        "tokens have the panel's columns"
    );
    if blocks == 0 {
        return;
    }
    for (out, inputs) in out.iter_mut().zip(inputs.chunks_exact(blocks)) {
        let mut totals = [_mm256_setzero_ps(); 2];
        let panel = panel.chunks_exact(format.block_bytes() * PANEL);
        for (block, input) in panel.zip(inputs) {
            let (groups, _) = block[heads(format).unwrap_or(0) * PANEL..].as_chunks::<64>();
            for (side, total) in totals.iter_mut().enumerate() {
                let scale = halves(&block[16 * side..]);
                let (sum, rest) = match format {
                    Format::Q8_0 => (bytes(groups, side, input), _mm256_setzero_ps()),
                    Format::Q4_1 => (
                        nibbles(groups, side, input),
                        halves(&block[32 + 16 * side..]),
                    ),
                    _ => (
                        nibbles(groups, side, input),
                        _mm256_mul_ps(scale, _mm256_set1_ps(-8.0)),
                    ),
                };
                let factor = _mm256_mul_ps(scale, _mm256_set1_ps(input.scale));
                *total = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), factor, *total);
                *total = _mm256_fmadd_ps(rest, _mm256_set1_ps(input.sum), *total);
            }
        }
        let (sides, _) = out.as_chunks_mut::<8>();
        for (total, side) in totals.iter().zip(sides) {
            store(*total, side);
        }
    }
}

/// Sums of codes of 4 bits times activations.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn nibbles(groups: &[[u8; 64]], side: usize, input: &RoundedBlock) -> __m256i {
    let mask = _mm256_set1_epi8(15);
    // Sixteen products of at most 15 · 127 fit 16 bits.
    let mut sums = _mm256_setzero_si256();
    for (index, group) in groups.iter().enumerate() {
        let both = load(group, side);
        let low = _mm256_and_si256(both, mask);
        let high = _mm256_and_si256(_mm256_srli_epi16::<4>(both), mask);
        sums = _mm256_add_epi16(sums, _mm256_maddubs_epi16(low, four(input, index)));
        sums = _mm256_add_epi16(sums, _mm256_maddubs_epi16(high, four(input, index + 4)));
    }
    _mm256_madd_epi16(sums, _mm256_set1_epi16(1))
}

/// The same for codes of 8 bits, whose signs go to the activations.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn bytes(groups: &[[u8; 64]], side: usize, input: &RoundedBlock) -> __m256i {
    let mut sums = _mm256_setzero_si256();
    for (index, group) in groups.iter().enumerate() {
        let codes = load(group, side);
        let signed = _mm256_sign_epi8(four(input, index), codes);
        // Two products of at most 128 · 127 fit 16 bits.
        let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(codes), signed);
        sums = _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
    sums
}

/// Four activations in every lane.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn four(input: &RoundedBlock, index: usize) -> __m256i {
    let (fours, _) = input.codes.as_chunks::<4>();
    _mm256_set1_epi32(i32::from_le_bytes(fours[index].map(i8::cast_unsigned)))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load(bytes: &[u8; 64], side: usize) -> __m256i {
    let half = &bytes[32 * side..][..32];
    // SAFETY: 32 bytes are there, and the load has no alignment to keep.
    unsafe { _mm256_loadu_si256(half.as_ptr().cast()) }
}

/// Eight 16-bit floats.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn halves(bytes: &[u8]) -> __m256 {
    assert!(bytes.len() >= 16, "eight halves have 16 bytes");
    // SAFETY: the bytes are there, and the load has no alignment to keep.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn store(register: __m256, out: &mut [f32; 8]) {
    // SAFETY: there is room for eight values, and the store has no alignment to keep.
    unsafe { _mm256_storeu_ps(out.as_mut_ptr(), register) };
}
