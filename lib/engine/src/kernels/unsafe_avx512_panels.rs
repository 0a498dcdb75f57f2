//! Products with panels by AVX-512: a register holds one column of sixteen rows. Codes of 4 bits are
//! looked up by one permutation each, and scaled once a block. Unsafe for loads and stores; only
//! [`detect`] hands the loops out, where the processor has what they need.

use std::arch::x86_64::{
    __m512, __m512i, _mm256_loadu_si256, _mm512_add_ps, _mm512_cvtepi32_ps, _mm512_cvtph_ps,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mul_ps, _mm512_permutexvar_ps,
    _mm512_set1_ps, _mm512_setzero_ps, _mm512_slli_epi32, _mm512_srai_epi32, _mm512_srli_epi32,
    _mm512_storeu_ps,
};

use super::{
    Primitives,
    panels::{COLUMNS, DEPTH, Lanes, PANEL, WIDTH, heads},
};
use crate::weights::Format;

/// What codes of 4 bits stand for before they are scaled: less eight, so that a block's sums stay small.
const CODES: Lanes = [
    -8.0, -7.0, -6.0, -5.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0,
];

/// Columns of a group of codes: their place in a block, by the nibbles or bytes of a row's four bytes.
const NIBBLES: [usize; 8] = [0, 16, 1, 17, 2, 18, 3, 19];

/// Puts these loops in place of others, where the processor can run them.
pub(super) fn detect(others: Primitives) -> Primitives {
    if !is_x86_feature_detected!("avx512f") {
        return others;
    }
    Primitives {
        // SAFETY (all three): `detect` has just found the instructions that the functions are compiled
        // for; they have no other condition.
        panel_dot: |format, panel, input, sums| unsafe { panel_dot(format, panel, input, sums) },
        panel_unpack: |format, panel, out| unsafe { panel_unpack(format, panel, out) },
        tile: |panel, inputs, stride, out| unsafe { tile(panel, inputs, stride, out) },
        ..others
    }
}

#[target_feature(enable = "avx512f")]
fn panel_dot(format: Format, panel: &[u8], input: &[f32], sums: &[f32]) -> Lanes {
    let mut total = _mm512_setzero_ps();
    let blocks = panel.chunks_exact(format.block_bytes() * PANEL);
    let (inputs, _) = input.as_chunks::<COLUMNS>();
    let heads = heads(format).unwrap_or(0) * PANEL;
    for ((block, input), sum) in blocks.zip(inputs).zip(sums) {
        let (groups, _) = block[heads..].as_chunks::<64>();
        let scale = halves(&block[..32]);
        let product = if format == Format::Q8_0 {
            bytes_block(groups, input)
        } else {
            nibbles_block(groups, input)
        };
        total = _mm512_fmadd_ps(product, scale, total);
        if format == Format::Q4_1 {
            // The eight that the codes lack.
            let minimum = _mm512_fmadd_ps(scale, _mm512_set1_ps(8.0), halves(&block[32..64]));
            total = _mm512_fmadd_ps(minimum, _mm512_set1_ps(*sum), total);
        }
    }
    lanes(total)
}

/// Codes of a block times the input, before they are scaled.
#[inline]
#[target_feature(enable = "avx512f")]
fn nibbles_block(groups: &[[u8; 64]], input: &[f32; COLUMNS]) -> __m512 {
    let table = load(&CODES);
    let mut sums = [_mm512_setzero_ps(); 4];
    for (group, codes) in groups.iter().enumerate() {
        let mut codes = integers(codes);
        for (index, column) in NIBBLES.into_iter().enumerate() {
            // A permutation looks at the lowest four bits of each index alone.
            let weights = _mm512_permutexvar_ps(codes, table);
            let value = _mm512_set1_ps(input[4 * group + column]);
            sums[index % 4] = _mm512_fmadd_ps(weights, value, sums[index % 4]);
            codes = _mm512_srli_epi32::<4>(codes);
        }
    }
    let [a, b, c, d] = sums;
    _mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, d))
}

/// The same for codes of 8 bits.
#[inline]
#[target_feature(enable = "avx512f")]
fn bytes_block(groups: &[[u8; 64]], input: &[f32; COLUMNS]) -> __m512 {
    let mut sums = [_mm512_setzero_ps(); 4];
    for (group, codes) in groups.iter().enumerate() {
        let weights = bytes(codes);
        for column in 0..4 {
            let value = _mm512_set1_ps(input[4 * group + column]);
            sums[column] = _mm512_fmadd_ps(weights[column], value, sums[column]);
        }
    }
    let [a, b, c, d] = sums;
    _mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, d))
}

/// The four signed bytes of each lane as floats.
#[inline]
#[target_feature(enable = "avx512f")]
fn bytes(codes: &[u8; 64]) -> [__m512; 4] {
    let codes = integers(codes);
    [
        _mm512_cvtepi32_ps(_mm512_srai_epi32::<24>(_mm512_slli_epi32::<24>(codes))),
        _mm512_cvtepi32_ps(_mm512_srai_epi32::<24>(_mm512_slli_epi32::<16>(codes))),
        _mm512_cvtepi32_ps(_mm512_srai_epi32::<24>(_mm512_slli_epi32::<8>(codes))),
        _mm512_cvtepi32_ps(_mm512_srai_epi32::<24>(codes)),
    ]
}

#[target_feature(enable = "avx512f")]
fn panel_unpack(format: Format, panel: &[u8], out: &mut [f32]) {
    let heads = heads(format).unwrap_or(0) * PANEL;
    let blocks = panel.chunks_exact(format.block_bytes() * PANEL);
    for (block, out) in blocks.zip(out.chunks_exact_mut(COLUMNS * PANEL)) {
        let (groups, _) = block[heads..].as_chunks::<64>();
        let (columns, _) = out.as_chunks_mut::<PANEL>();
        let scale = halves(&block[..32]);
        if format == Format::Q8_0 {
            for (codes, columns) in groups.iter().zip(columns.chunks_exact_mut(4)) {
                for (weights, column) in bytes(codes).iter().zip(columns) {
                    *column = lanes(_mm512_mul_ps(*weights, scale));
                }
            }
            continue;
        }
        let (table, minimum) = if format == Format::Q4_1 {
            let table = _mm512_add_ps(load(&CODES), _mm512_set1_ps(8.0));
            (table, halves(&block[32..64]))
        } else {
            (load(&CODES), _mm512_setzero_ps())
        };
        for (group, codes) in groups.iter().enumerate() {
            let mut codes = integers(codes);
            for column in NIBBLES {
                // A product and a sum apart, as `Format::unpack` has them: a fused one rounds once.
                let weights = _mm512_mul_ps(_mm512_permutexvar_ps(codes, table), scale);
                columns[4 * group + column] = lanes(_mm512_add_ps(weights, minimum));
                codes = _mm512_srli_epi32::<4>(codes);
            }
        }
    }
}

#[target_feature(enable = "avx512f")]
fn tile(panel: &[f32], inputs: &[f32], stride: usize, out: &mut [Lanes]) {
    macro_rules! by_width {
        ($($width:literal)*) => {
            match out.len() {
                $($width => tile_of::<$width>(panel, inputs, stride, out),)*
                width => assert_eq!(width, 0, "a tile is at most {WIDTH} wide"),
            }
        };
    }
    by_width!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);
}

#[target_feature(enable = "avx512f")]
fn tile_of<const WIDE: usize>(panel: &[f32], inputs: &[f32], stride: usize, out: &mut [Lanes]) {
    let (columns, _) = panel.as_chunks::<PANEL>();
    assert!(
        columns.is_empty() || (columns.len() - 1) * stride + WIDE <= inputs.len(),
        "a tile's inputs are there"
    );
    for (part, columns) in columns.chunks(DEPTH).enumerate() {
        let mut sums = [_mm512_setzero_ps(); WIDE];
        let first = part * DEPTH;
        for (k, weights) in columns.iter().enumerate() {
            let weights = load(weights);
            for (t, sum) in sums.iter_mut().enumerate() {
                // SAFETY: `first + k` is a column and `t < WIDE`, for which the inputs have just been
                // checked.
                let input = unsafe { *inputs.get_unchecked((first + k) * stride + t) };
                *sum = _mm512_fmadd_ps(weights, _mm512_set1_ps(input), *sum);
            }
        }
        for (sum, out) in sums.iter().zip(&mut *out) {
            *out = lanes(_mm512_add_ps(*sum, load(out)));
        }
    }
}

/// Sixteen 16-bit floats.
#[inline]
#[target_feature(enable = "avx512f")]
fn halves(bytes: &[u8]) -> __m512 {
    assert!(bytes.len() >= 32, "sixteen halves have 32 bytes");
    // SAFETY: the bytes are there, and the load has no alignment to keep.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx512f")]
fn integers(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: 64 bytes are there, and the load has no alignment to keep.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(values: &Lanes) -> __m512 {
    // SAFETY: sixteen values are there, and the load has no alignment to keep.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn lanes(register: __m512) -> Lanes {
    let mut values = [0.0; PANEL];
    // SAFETY: there is room for sixteen values, and the store has no alignment to keep.
    unsafe { _mm512_storeu_ps(values.as_mut_ptr(), register) };
    values
}
