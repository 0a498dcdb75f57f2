//! Blocks of five- and six-bit formats and of ggml's K-quants, unpacked by AVX2, 32 values at a time.
//! Each gives `Format::unpack`'s values to the bit: products and sums are kept apart where the
//! definition has both.

use std::arch::x86_64::{
    __m128i, __m256, _mm_and_si128, _mm_cmpeq_epi8, _mm_cvtsi32_si128, _mm_or_si128,
    _mm_set_epi64x, _mm_set1_epi8, _mm_shuffle_epi8, _mm_sll_epi16, _mm_srl_epi16, _mm_srli_epi16,
    _mm_srli_si128, _mm256_add_ps, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi32, _mm256_mul_ps,
    _mm256_set1_ps, _mm256_sub_ps,
};

use super::unsafe_avx2::{Block, half, sixteen};
use crate::weights::scale_and_minimum;

/// A block of `Q5_0`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn q5_0(block: &[u8]) -> Block {
    let (scale, offset) = (half(block, 0), _mm256_set1_ps(16.0));
    let mut values = floats(five_bits(&block[2..]));
    for value in &mut values {
        *value = _mm256_mul_ps(_mm256_sub_ps(*value, offset), scale);
    }
    values
}

/// A block of `Q5_1`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn q5_1(block: &[u8]) -> Block {
    let (scale, minimum) = (half(block, 0), half(block, 2));
    let mut values = floats(five_bits(&block[4..]));
    for value in &mut values {
        *value = _mm256_add_ps(_mm256_mul_ps(*value, scale), minimum);
    }
    values
}

/// The `part`-th 32 values of a block of `Q2_K`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn q2_k(block: &[u8], part: usize) -> Block {
    let codes = &block[16 + 32 * (part / 4)..];
    let shift = 2 * (part % 4);
    let mut values = floats([two_bits(codes, shift), two_bits(&codes[16..], shift)]);
    let (scale, minimum) = (half(block, 80), half(block, 82));
    for (side, values) in values.chunks_exact_mut(2).enumerate() {
        let both = block[2 * part + side];
        let step = _mm256_mul_ps(scale, _mm256_set1_ps(f32::from(both & 15)));
        let offset = _mm256_mul_ps(minimum, _mm256_set1_ps(f32::from(both >> 4)));
        for value in values {
            *value = _mm256_sub_ps(_mm256_mul_ps(step, *value), offset);
        }
    }
    values
}

/// The `part`-th 32 values of a block of `Q3_K`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn q3_k(block: &[u8], part: usize) -> Block {
    let codes = &block[32 + 32 * (part / 4)..];
    let third = |at: usize| _mm_srli_epi16::<2>(bits(&block[at..], part, 1));
    let shift = 2 * (part % 4);
    let mut values = floats([
        _mm_or_si128(two_bits(codes, shift), third(0)),
        _mm_or_si128(two_bits(&codes[16..], shift), third(16)),
    ]);
    let (scale, four) = (half(block, 108), _mm256_set1_ps(4.0));
    for (side, values) in values.chunks_exact_mut(2).enumerate() {
        let step = f32::from(six_bits(&block[96..108], 2 * part + side)) - 32.0;
        let step = _mm256_mul_ps(scale, _mm256_set1_ps(step));
        for value in values {
            *value = _mm256_mul_ps(step, _mm256_sub_ps(*value, four));
        }
    }
    values
}

/// The `index`-th scale of `Q3_K`: four bits in the nibbles of eight bytes, two in the four after them.
fn six_bits(scales: &[u8], index: usize) -> u8 {
    let low = scales[index % 8] >> (4 * (index / 8)) & 15;
    let high = (scales[8 + index % 4] >> (2 * (index / 4))) & 3;
    low | (high << 4)
}

/// Two bits of sixteen bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn two_bits(bytes: &[u8], shift: usize) -> __m128i {
    _mm_srli_epi16::<4>(bits(bytes, shift, 3))
}

/// The `part`-th 32 values of a block of `Q4_K`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn q4_k(block: &[u8], part: usize) -> Block {
    let codes = &block[16 + 32 * (part / 2)..];
    let codes = [nibble(codes, part % 2), nibble(&codes[16..], part % 2)];
    scaled(block, part, floats(codes))
}

/// The `part`-th 32 values of a block of `Q5_K`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn q5_k(block: &[u8], part: usize) -> Block {
    let codes = &block[48 + 32 * (part / 2)..];
    let fifth = |at: usize| bits(&block[16 + at..], part, 1);
    let codes = [
        _mm_or_si128(nibble(codes, part % 2), fifth(0)),
        _mm_or_si128(nibble(&codes[16..], part % 2), fifth(16)),
    ];
    scaled(block, part, floats(codes))
}

/// The `part`-th 32 values of a block of `Q6_K`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn q6_k(block: &[u8], part: usize) -> Block {
    let (side, quarter) = (part / 4, part % 4);
    let low = &block[64 * side + 32 * (quarter % 2)..];
    let high = &block[128 + 32 * side..];
    let codes = [
        _mm_or_si128(nibble(low, quarter / 2), bits(high, 2 * quarter, 3)),
        _mm_or_si128(
            nibble(&low[16..], quarter / 2),
            bits(&high[16..], 2 * quarter, 3),
        ),
    ];
    let scales = &block[192 + 8 * side + 2 * quarter..];
    let scale = half(block, 208);
    let step = |index: usize| {
        _mm256_mul_ps(
            scale,
            _mm256_set1_ps(f32::from(scales[index].cast_signed())),
        )
    };
    let (first, second, offset) = (step(0), step(1), _mm256_set1_ps(32.0));
    let [a, b, c, d] = floats(codes);
    [
        _mm256_mul_ps(first, _mm256_sub_ps(a, offset)),
        _mm256_mul_ps(first, _mm256_sub_ps(b, offset)),
        _mm256_mul_ps(second, _mm256_sub_ps(c, offset)),
        _mm256_mul_ps(second, _mm256_sub_ps(d, offset)),
    ]
}

/// Codes of `Q4_K` and `Q5_K` times their scale, less their minimum.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn scaled(block: &[u8], part: usize, mut values: Block) -> Block {
    let (scale, minimum) = scale_and_minimum(&block[4..16], part);
    let scale = _mm256_mul_ps(half(block, 0), _mm256_set1_ps(scale));
    let minimum = _mm256_mul_ps(half(block, 2), _mm256_set1_ps(minimum));
    for value in &mut values {
        *value = _mm256_sub_ps(_mm256_mul_ps(scale, *value), minimum);
    }
    values
}

/// The low (0) or high (1) nibbles of sixteen bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn nibble(bytes: &[u8], which: usize) -> __m128i {
    let bytes = sixteen(bytes);
    let bytes = if which == 0 {
        bytes
    } else {
        _mm_srli_epi16::<4>(bytes)
    };
    _mm_and_si128(bytes, _mm_set1_epi8(15))
}

/// The bits of `mask` at `shift` of sixteen bytes, moved to the fifth place.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn bits(bytes: &[u8], shift: usize, mask: i8) -> __m128i {
    let shifted = _mm_srl_epi16(
        sixteen(bytes),
        _mm_cvtsi32_si128((shift as u32).cast_signed()),
    );
    let masked = _mm_and_si128(shifted, _mm_set1_epi8(mask));
    _mm_sll_epi16(masked, _mm_cvtsi32_si128(4))
}

/// 32 codes: four bytes of fifth bits, then sixteen of nibbles.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn five_bits(bytes: &[u8]) -> [__m128i; 2] {
    let fifths = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let codes = &bytes[4..];
    [
        _mm_or_si128(nibble(codes, 0), spread(fifths)),
        _mm_or_si128(nibble(codes, 1), spread(fifths >> 16)),
    ]
}

/// Sixteen bits as sixteen bytes of 16 or 0.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn spread(bits: u32) -> __m128i {
    let each = _mm_set_epi64x(
        0x8040_2010_0804_0201_u64.cast_signed(),
        0x8040_2010_0804_0201_u64.cast_signed(),
    );
    let places = _mm_set_epi64x(0x0101_0101_0101_0101, 0);
    let bytes = _mm_shuffle_epi8(_mm_cvtsi32_si128(bits.cast_signed()), places);
    let set = _mm_cmpeq_epi8(_mm_and_si128(bytes, each), each);
    _mm_and_si128(set, _mm_set1_epi8(16))
}

/// 32 codes as floats.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn floats(codes: [__m128i; 2]) -> Block {
    let [first, second] = codes;
    [
        eight(first),
        eight(_mm_srli_si128::<8>(first)),
        eight(second),
        eight(_mm_srli_si128::<8>(second)),
    ]
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn eight(codes: __m128i) -> __m256 {
    _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(codes))
}
