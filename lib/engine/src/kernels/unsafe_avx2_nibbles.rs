//! 4-bit codes of a book and signed bytes, by AVX2. A block's sixteen values are scaled (and rounded)
//! once and stay in two registers, from which its 64 codes are looked up: the weights are the portable
//! ones to the bit, and no block is multiplied twice.

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _mm_and_si128, _mm_set1_epi8, _mm_srli_epi16, _mm_srli_si128,
    _mm_unpackhi_epi8, _mm_unpacklo_epi8, _mm256_add_epi32, _mm256_and_si256, _mm256_blendv_ps,
    _mm256_castps_si256, _mm256_castsi256_ps, _mm256_cvtepi8_epi16, _mm256_cvtepu8_epi32,
    _mm256_cvtph_ps, _mm256_cvtps_ph, _mm256_madd_epi16, _mm256_mul_ps, _mm256_permutevar8x32_ps,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_slli_epi32,
    _mm256_srli_epi32, _mm256_storeu_si256,
};

use wire::model::DType;

use super::{
    Book,
    unsafe_avx2::{Block, load, multiply_add, sixteen, store, total},
};

/// The sixteen values of a book.
type Table = [__m256; 2];

/// As [`Book::unpack`].
#[target_feature(enable = "avx2,fma,f16c")]
pub fn unpack(book: &Book, packed: &[u8], scales: &[f32], values: &mut [f32]) {
    let plain = table(book);
    let blocks = packed.chunks_exact(32).zip(scales);
    for ((packed, scale), values) in blocks.zip(values.chunks_exact_mut(64)) {
        let table = scaled(plain, *scale, book.rounding);
        store(look_up(table, &packed[..16]), &mut values[..32]);
        store(look_up(table, &packed[16..]), &mut values[32..]);
    }
}

/// Products of rows of 4-bit codes with a vector.
#[target_feature(enable = "avx2,fma,f16c")]
pub fn dots(book: &Book, packed: &[u8], scales: &[f32], input: &[f32], out: &mut [f32]) {
    let rows = packed.chunks_exact(input.len() / 2);
    let scales = scales.chunks_exact(input.len() / 64);
    for ((row, scales), out) in rows.zip(scales).zip(out) {
        *out = dot(book, row, scales, input);
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn dot(book: &Book, packed: &[u8], scales: &[f32], input: &[f32]) -> f32 {
    let plain = table(book);
    let mut sums = [_mm256_setzero_ps(); 4];
    let blocks = packed.chunks_exact(32).zip(scales);
    for ((packed, scale), input) in blocks.zip(input.chunks_exact(64)) {
        let table = scaled(plain, *scale, book.rounding);
        sums = multiply_add(look_up(table, &packed[..16]), &input[..32], sums);
        sums = multiply_add(look_up(table, &packed[16..]), &input[32..], sums);
    }
    total(sums)
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn table(book: &Book) -> Table {
    [load(&book.values), load(&book.values[8..])]
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn scaled(table: Table, scale: f32, rounding: DType) -> Table {
    let scale = _mm256_set1_ps(scale);
    let mut table = [
        _mm256_mul_ps(table[0], scale),
        _mm256_mul_ps(table[1], scale),
    ];
    match rounding {
        DType::F32 => {}
        DType::F16 => {
            for half in &mut table {
                *half = _mm256_cvtph_ps(_mm256_cvtps_ph::<0>(*half));
            }
        }
        DType::BF16 => {
            for half in &mut table {
                *half = to_bf16(*half);
            }
        }
    }
    table
}

/// Rounds to bf16, ties to even; weights are finite.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn to_bf16(values: __m256) -> __m256 {
    let bits = _mm256_castps_si256(values);
    let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
    let up = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    let rounded = _mm256_srli_epi32::<16>(_mm256_add_epi32(bits, up));
    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(rounded))
}

/// The values of 32 codes in sixteen bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn look_up(table: Table, packed: &[u8]) -> Block {
    let (bytes, mask) = (sixteen(packed), _mm_set1_epi8(15));
    let high = _mm_and_si128(_mm_srli_epi16::<4>(bytes), mask);
    let low = _mm_and_si128(bytes, mask);
    let (first, second) = (_mm_unpacklo_epi8(high, low), _mm_unpackhi_epi8(high, low));
    [
        eight(table, first),
        eight(table, _mm_srli_si128::<8>(first)),
        eight(table, second),
        eight(table, _mm_srli_si128::<8>(second)),
    ]
}

/// The values of the first eight codes, a byte each. A permutation looks at three bits; the fourth,
/// moved to the sign, chooses the half of the table.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn eight(table: Table, codes: __m128i) -> __m256 {
    let codes = _mm256_cvtepu8_epi32(codes);
    let upper = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(codes));
    _mm256_blendv_ps(
        _mm256_permutevar8x32_ps(table[0], codes),
        _mm256_permutevar8x32_ps(table[1], codes),
        upper,
    )
}

/// The product of signed bytes, exact up to 2¹⁷ of them.
#[target_feature(enable = "avx2,fma,f16c")]
pub fn bytes_dot(a: &[i8], b: &[i8]) -> i32 {
    let ((a_parts, a_rest), (b_parts, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let mut sums = _mm256_setzero_si256();
    for (a, b) in a_parts.iter().zip(b_parts) {
        let products = _mm256_madd_epi16(widened(a), widened(b));
        sums = _mm256_add_epi32(sums, products);
    }
    let mut lanes = [0_i32; 8];
    // SAFETY: eight lanes of 32 bits fill the array.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), sums) };
    let rest = a_rest.iter().zip(b_rest);
    let rest: i32 = rest.map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
    lanes.iter().sum::<i32>() + rest
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn widened(bytes: &[i8; 16]) -> __m256i {
    _mm256_cvtepi8_epi16(sixteen(&bytes.map(i8::cast_unsigned)))
}
