//! Products of ggml's blocks with a vector, by AVX-512: the sixteen values that a block's nibbles stand
//! for lie in one register, made once a block, so that one permutation looks sixteen weights up. Their
//! values are those of [`Format::unpack`]. Formats without a loop here take AVX2's. Only [`detect`]
//! hands it out.

use std::arch::x86_64::{
    __m512, _mm_cvtph_ps, _mm_cvtsi32_si128, _mm_movehdup_ps, _mm512_add_ps, _mm512_broadcastss_ps,
    _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32, _mm512_fmadd_ps,
    _mm512_loadu_ps, _mm512_mul_ps, _mm512_permutexvar_ps, _mm512_reduce_add_ps, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_srli_epi32, _mm512_sub_ps,
};

use super::unsafe_avx2::{self, sixteen};
use crate::weights::Format;

/// The form of `Primitives::packed_dot`.
type PackedDot = fn(Format, &[u8], &[f32], &mut [f32]) -> f32;

/// What a code stands for before it is scaled.
const CODES: [f32; 16] = [
    0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0,
];

/// The product, where the processor can run it; AVX2, FMA and F16C have been found.
pub(super) fn detect() -> Option<PackedDot> {
    // SAFETY: `detect` has just found the instructions that the function is compiled for, and its
    // caller the others; it has no other condition.
    is_x86_feature_detected!("avx512f")
        .then_some(|format, row, input, scratch| unsafe { packed_dot(format, row, input, scratch) })
}

#[target_feature(enable = "avx512f,avx2,fma,f16c")]
fn packed_dot(format: Format, row: &[u8], whole: &[f32], scratch: &mut [f32]) -> f32 {
    let mut sums = [_mm512_setzero_ps(); 2];
    let (input, _) = whole.as_chunks::<32>();
    match format {
        Format::Q4_0 => {
            let codes = _mm512_sub_ps(load(&CODES), _mm512_set1_ps(8.0));
            for (block, input) in row.as_chunks::<18>().0.iter().zip(input) {
                let [scale, _] = halves(block);
                let table = _mm512_mul_ps(codes, scale);
                sums = look_up(table, &block[2..], input, sums);
            }
        }
        Format::Q4_1 => {
            let codes = load(&CODES);
            for (block, input) in row.as_chunks::<20>().0.iter().zip(input) {
                let [scale, minimum] = halves(block);
                // Kept apart, as `Format::unpack` has it: a fused one rounds once.
                let table = _mm512_add_ps(_mm512_mul_ps(codes, scale), minimum);
                sums = look_up(table, &block[4..], input, sums);
            }
        }
        Format::Q8_0 => {
            for (block, input) in row.as_chunks::<34>().0.iter().zip(input) {
                let [scale, _] = halves(block);
                let (inputs, _) = input.as_chunks::<16>();
                for (part, sum) in sums.iter_mut().enumerate() {
                    let codes = _mm512_cvtepi8_epi32(sixteen(&block[2 + 16 * part..]));
                    let values = _mm512_mul_ps(_mm512_cvtepi32_ps(codes), scale);
                    *sum = _mm512_fmadd_ps(values, load(&inputs[part]), *sum);
                }
            }
        }
        _ => return unsafe_avx2::packed_dot(format, row, whole, scratch),
    }
    _mm512_reduce_add_ps(_mm512_add_ps(sums[0], sums[1]))
}

/// Adds the products of a block's 32 nibbles, whose values the table has: low ones first.
#[inline]
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
fn look_up(table: __m512, bytes: &[u8], input: &[f32; 32], sums: [__m512; 2]) -> [__m512; 2] {
    // A permutation looks at the lowest four bits of each index alone.
    let low = _mm512_cvtepu8_epi32(sixteen(bytes));
    let high = _mm512_srli_epi32::<4>(low);
    let (inputs, _) = input.as_chunks::<16>();
    [
        _mm512_fmadd_ps(_mm512_permutexvar_ps(low, table), load(&inputs[0]), sums[0]),
        _mm512_fmadd_ps(
            _mm512_permutexvar_ps(high, table),
            load(&inputs[1]),
            sums[1],
        ),
    ]
}

/// The first two 16-bit floats of a block, each in all lanes.
#[inline]
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
fn halves(block: &[u8]) -> [__m512; 2] {
    let bits = i32::from_le_bytes([block[0], block[1], block[2], block[3]]);
    let both = _mm_cvtph_ps(_mm_cvtsi32_si128(bits));
    [
        _mm512_broadcastss_ps(both),
        _mm512_broadcastss_ps(_mm_movehdup_ps(both)),
    ]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(values: &[f32; 16]) -> __m512 {
    // SAFETY: sixteen values are there, and the load has no alignment to keep.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}
