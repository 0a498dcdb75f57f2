//! Products with panels by AVX2 and FMA: two registers hold one column of sixteen rows. Unsafe for loads
//! and stores; `unsafe_avx2` is the only caller and has found the instructions.

use std::arch::x86_64::{
    __m256, __m256i, _mm_loadu_si128, _mm256_add_ps, _mm256_and_si256, _mm256_cvtepi32_ps,
    _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_mul_ps,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps, _mm256_slli_epi32, _mm256_srai_epi32,
    _mm256_srli_epi32, _mm256_storeu_ps, _mm256_sub_epi32,
};

use super::panels::{COLUMNS, DEPTH, Lanes, PANEL, WIDTH, heads};
use crate::weights::Format;

/// Columns of a group of codes: their place in a block, by the nibbles of a row's four bytes.
const NIBBLES: [usize; 8] = [0, 16, 1, 17, 2, 18, 3, 19];

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn panel_dot(format: Format, panel: &[u8], input: &[f32], sums: &[f32]) -> Lanes {
    let mut totals = [_mm256_setzero_ps(); 2];
    let blocks = panel.chunks_exact(format.block_bytes() * PANEL);
    let (inputs, _) = input.as_chunks::<COLUMNS>();
    let heads = heads(format).unwrap_or(0) * PANEL;
    for ((block, input), sum) in blocks.zip(inputs).zip(sums) {
        let (groups, _) = block[heads..].as_chunks::<64>();
        for (side, total) in totals.iter_mut().enumerate() {
            let scale = halves(&block[16 * side..]);
            let product = if format == Format::Q8_0 {
                bytes_block(groups, side, input)
            } else {
                nibbles_block(groups, side, input)
            };
            *total = _mm256_fmadd_ps(product, scale, *total);
            if format == Format::Q4_1 {
                let minimum =
                    _mm256_fmadd_ps(scale, _mm256_set1_ps(8.0), halves(&block[32 + 16 * side..]));
                *total = _mm256_fmadd_ps(minimum, _mm256_set1_ps(*sum), *total);
            }
        }
    }
    lanes(totals)
}

/// Codes of 4 bits, less eight, of one side of a block times the input, before they are scaled.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn nibbles_block(groups: &[[u8; 64]], side: usize, input: &[f32; COLUMNS]) -> __m256 {
    let mut sums = [_mm256_setzero_ps(); 4];
    for (group, codes) in groups.iter().enumerate() {
        let mut codes = integers(codes, side);
        for (index, column) in NIBBLES.into_iter().enumerate() {
            let value = _mm256_set1_ps(input[4 * group + column]);
            sums[index % 4] = _mm256_fmadd_ps(nibble(codes, 8), value, sums[index % 4]);
            codes = _mm256_srli_epi32::<4>(codes);
        }
    }
    let [a, b, c, d] = sums;
    _mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d))
}

/// The same for codes of 8 bits.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn bytes_block(groups: &[[u8; 64]], side: usize, input: &[f32; COLUMNS]) -> __m256 {
    let mut sums = [_mm256_setzero_ps(); 4];
    for (group, codes) in groups.iter().enumerate() {
        let weights = bytes(codes, side);
        for column in 0..4 {
            let value = _mm256_set1_ps(input[4 * group + column]);
            sums[column] = _mm256_fmadd_ps(weights[column], value, sums[column]);
        }
    }
    let [a, b, c, d] = sums;
    _mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d))
}

/// The lowest nibble of each lane, less an offset, as a float.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn nibble(codes: __m256i, offset: i32) -> __m256 {
    let code = _mm256_and_si256(codes, _mm256_set1_epi32(15));
    _mm256_cvtepi32_ps(_mm256_sub_epi32(code, _mm256_set1_epi32(offset)))
}

/// The four signed bytes of each lane as floats.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn bytes(codes: &[u8; 64], side: usize) -> [__m256; 4] {
    let codes = integers(codes, side);
    [
        _mm256_cvtepi32_ps(_mm256_srai_epi32::<24>(_mm256_slli_epi32::<24>(codes))),
        _mm256_cvtepi32_ps(_mm256_srai_epi32::<24>(_mm256_slli_epi32::<16>(codes))),
        _mm256_cvtepi32_ps(_mm256_srai_epi32::<24>(_mm256_slli_epi32::<8>(codes))),
        _mm256_cvtepi32_ps(_mm256_srai_epi32::<24>(codes)),
    ]
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn panel_unpack(format: Format, panel: &[u8], out: &mut [f32]) {
    let heads = heads(format).unwrap_or(0) * PANEL;
    let blocks = panel.chunks_exact(format.block_bytes() * PANEL);
    for (block, out) in blocks.zip(out.chunks_exact_mut(COLUMNS * PANEL)) {
        let (groups, _) = block[heads..].as_chunks::<64>();
        for side in 0..2 {
            unpack_side(format, block, (groups, side), out);
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn unpack_side(
    format: Format,
    block: &[u8],
    (groups, side): (&[[u8; 64]], usize),
    out: &mut [f32],
) {
    let scale = halves(&block[16 * side..]);
    let (minimum, offset) = match format {
        Format::Q4_1 => (halves(&block[32 + 16 * side..]), 0),
        _ => (_mm256_setzero_ps(), 8),
    };
    for (group, codes) in groups.iter().enumerate() {
        if format == Format::Q8_0 {
            let weights = bytes(codes, side);
            for (column, weights) in weights.iter().enumerate() {
                let at = (4 * group + column) * PANEL + 8 * side;
                store(_mm256_mul_ps(*weights, scale), &mut out[at..]);
            }
            continue;
        }
        let mut codes = integers(codes, side);
        for column in NIBBLES {
            // A product and a sum apart, as `Format::unpack` has them: a fused one rounds once.
            let weights = _mm256_mul_ps(nibble(codes, offset), scale);
            let at = (4 * group + column) * PANEL + 8 * side;
            store(_mm256_add_ps(weights, minimum), &mut out[at..]);
            codes = _mm256_srli_epi32::<4>(codes);
        }
    }
}

/// Columns of inputs whose sums the sixteen registers hold beside a column of weights.
const AT_ONCE: usize = 6;

/// Tokens of a tile for many: whole turns of that.
pub(super) const TOKENS: usize = 2 * AT_ONCE;

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn tile_pair(panels: [&[f32]; 2], inputs: &[f32], out: [&mut [Lanes]; 2]) {
    for (panel, out) in panels.into_iter().zip(out) {
        tile(panel, inputs, out.len(), out);
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn tile(panel: &[f32], inputs: &[f32], stride: usize, out: &mut [Lanes]) {
    assert!(out.len() <= WIDTH, "a tile is at most {WIDTH} wide");
    for (part, out) in out.chunks_mut(AT_ONCE).enumerate() {
        let inputs = &inputs[part * AT_ONCE..];
        match out.len() {
            1 => tile_of::<1>(panel, inputs, stride, out),
            2 => tile_of::<2>(panel, inputs, stride, out),
            3 => tile_of::<3>(panel, inputs, stride, out),
            4 => tile_of::<4>(panel, inputs, stride, out),
            5 => tile_of::<5>(panel, inputs, stride, out),
            _ => tile_of::<AT_ONCE>(panel, inputs, stride, out),
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn tile_of<const WIDE: usize>(panel: &[f32], inputs: &[f32], stride: usize, out: &mut [Lanes]) {
    let (columns, _) = panel.as_chunks::<PANEL>();
    assert!(
        columns.is_empty() || (columns.len() - 1) * stride + WIDE <= inputs.len(),
        "a tile's inputs are there"
    );
    for (part, columns) in columns.chunks(DEPTH).enumerate() {
        let mut sums = [[_mm256_setzero_ps(); 2]; WIDE];
        let first = part * DEPTH;
        for (k, weights) in columns.iter().enumerate() {
            let (low, high) = (load(weights, 0), load(weights, 1));
            for (t, sum) in sums.iter_mut().enumerate() {
                // SAFETY: `first + k` is a column and `t < WIDE`, for which the inputs have just been
                // checked.
                let input = unsafe { *inputs.get_unchecked((first + k) * stride + t) };
                let input = _mm256_set1_ps(input);
                sum[0] = _mm256_fmadd_ps(low, input, sum[0]);
                sum[1] = _mm256_fmadd_ps(high, input, sum[1]);
            }
        }
        for ([low, high], out) in sums.iter().zip(&mut *out) {
            *out = lanes([
                _mm256_add_ps(*low, load(out, 0)),
                _mm256_add_ps(*high, load(out, 1)),
            ]);
        }
    }
}

/// Eight 16-bit floats.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn halves(bytes: &[u8]) -> __m256 {
    assert!(bytes.len() >= 16, "eight halves have 16 bytes");
    // SAFETY: the bytes are there, and the load has no alignment to keep.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
}

/// One half of sixteen lanes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn integers(bytes: &[u8; 64], side: usize) -> __m256i {
    let half = &bytes[32 * side..][..32];
    // SAFETY: 32 bytes are there, and the load has no alignment to keep.
    unsafe { _mm256_loadu_si256(half.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load(values: &Lanes, side: usize) -> __m256 {
    let half = &values[8 * side..][..8];
    // SAFETY: eight values are there, and the load has no alignment to keep.
    unsafe { _mm256_loadu_ps(half.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn store(register: __m256, out: &mut [f32]) {
    let out = &mut out[..8];
    // SAFETY: there is room for eight values, and the store has no alignment to keep.
    unsafe { _mm256_storeu_ps(out.as_mut_ptr(), register) };
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn lanes([low, high]: [__m256; 2]) -> Lanes {
    let mut values = [0.0; PANEL];
    store(low, &mut values);
    store(high, &mut values[8..]);
    values
}
