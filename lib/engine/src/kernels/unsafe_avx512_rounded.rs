//! Products with rounded activations by AVX-512 with VNNI: one instruction multiplies four columns of
//! sixteen rows. Unsafe for loads and stores; only [`detect`] hands the loops out, where the processor has
//! what they need.

use std::arch::x86_64::{
    __m512, __m512i, _mm256_loadu_si256, _mm512_add_epi32, _mm512_and_si512, _mm512_cvtepi32_ps,
    _mm512_cvtph_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_loadu_si512, _mm512_mul_ps,
    _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512,
    _mm512_srli_epi16, _mm512_storeu_ps, _mm512_xor_si512,
};

use super::{
    Primitives,
    panels::{Lanes, PANEL, heads},
    rounded::{RoundedBlock, TOKENS},
};
use crate::weights::Format;

/// Puts these loops in place of others, where the processor can run them.
pub(super) fn detect(others: Primitives) -> Primitives {
    if !(is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vnni"))
    {
        return others;
    }
    Primitives {
        // SAFETY: `detect` has just found the instructions that the function is compiled for; it has no
        // other condition.
        rounded: |format, panel, inputs, out| unsafe { rounded(format, panel, inputs, out) },
        ..others
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn rounded(format: Format, panel: &[u8], inputs: &[RoundedBlock], out: &mut [Lanes]) {
    match out.len() {
        0 => {}
        1 => of_tokens::<1>(format, panel, inputs, out),
        2 => of_tokens::<2>(format, panel, inputs, out),
        3 => of_tokens::<3>(format, panel, inputs, out),
        4 => of_tokens::<4>(format, panel, inputs, out),
        5 => of_tokens::<5>(format, panel, inputs, out),
        6 => of_tokens::<6>(format, panel, inputs, out),
        7 => of_tokens::<7>(format, panel, inputs, out),
        _ => of_tokens::<TOKENS>(format, panel, inputs, out),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn of_tokens<const COUNT: usize>(
    format: Format,
    panel: &[u8],
    inputs: &[RoundedBlock],
    out: &mut [Lanes],
) {
    let blocks = panel.len() / (format.block_bytes() * PANEL);
    assert_eq!(
        blocks * COUNT,
        inputs.len(),
        "tokens have the panel's columns"
    );
    let mut totals = [_mm512_setzero_ps(); COUNT];
    for (index, block) in panel.chunks_exact(format.block_bytes() * PANEL).enumerate() {
        let (scale, rest) = scale_and_rest(format, block);
        let codes = codes(format, block);
        for (token, total) in totals.iter_mut().enumerate() {
            let input = &inputs[token * blocks + index];
            // Two sums, so that one does not wait for the other.
            let mut sums = [_mm512_setzero_si512(); 2];
            let (fours, _) = input.codes.as_chunks::<4>();
            for (at, codes) in codes.iter().enumerate() {
                let four = _mm512_set1_epi32(i32::from_le_bytes(fours[at].map(i8::cast_unsigned)));
                sums[at % 2] = _mm512_dpbusd_epi32(sums[at % 2], *codes, four);
            }
            let sum = _mm512_cvtepi32_ps(_mm512_add_epi32(sums[0], sums[1]));
            let factor = _mm512_mul_ps(scale, _mm512_set1_ps(input.scale));
            *total = _mm512_fmadd_ps(sum, factor, *total);
            *total = _mm512_fmadd_ps(rest, _mm512_set1_ps(input.sum), *total);
        }
    }
    for (total, out) in totals.iter().zip(out) {
        // SAFETY: there is room for sixteen values, and the store has no alignment to keep.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), *total) };
    }
}

/// What multiplies the codes of a block, which are not negative here, and what their offset comes to.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn scale_and_rest(format: Format, block: &[u8]) -> (__m512, __m512) {
    let scale = halves(block);
    let offset = match format {
        Format::Q4_1 => return (scale, halves(&block[32..])),
        Format::Q8_0 => -128.0,
        _ => -8.0,
    };
    (scale, _mm512_mul_ps(scale, _mm512_set1_ps(offset)))
}

/// The codes of a block, four columns a register, in the order of columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn codes(format: Format, block: &[u8]) -> [__m512i; 8] {
    let (groups, _) = block[heads(format).unwrap_or(0) * PANEL..].as_chunks::<64>();
    let mut codes = [_mm512_setzero_si512(); 8];
    if format == Format::Q8_0 {
        let sign = _mm512_set1_epi8(-128);
        for (codes, group) in codes.iter_mut().zip(groups) {
            *codes = _mm512_xor_si512(load(group), sign);
        }
        return codes;
    }
    let mask = _mm512_set1_epi8(15);
    for (index, group) in groups.iter().enumerate() {
        let both = load(group);
        codes[index] = _mm512_and_si512(both, mask);
        codes[index + 4] = _mm512_and_si512(_mm512_srli_epi16::<4>(both), mask);
    }
    codes
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn load(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: 64 bytes are there, and the load has no alignment to keep.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// Sixteen 16-bit floats.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn halves(bytes: &[u8]) -> __m512 {
    assert!(bytes.len() >= 32, "sixteen halves have 32 bytes");
    // SAFETY: the bytes are there, and the load has no alignment to keep.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) })
}
