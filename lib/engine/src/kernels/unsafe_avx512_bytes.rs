//! Products of signed bytes by AVX-512 with VNNI: one instruction multiplies 64 of them, of which one side
//! must not be negative. Inputs are taken 128 larger, and 128 times the sum of the weights is taken off
//! again; all of it in 32 bits that wrap, so that the result is exact. Four rows meet four tokens at a time.
//! Unsafe for loads; only [`detect`] hands the loop out, where the processor has what it needs.

use std::arch::x86_64::{
    __m512i, __mmask64, _mm512_dpbusd_epi32, _mm512_maskz_loadu_epi8, _mm512_reduce_add_epi32,
    _mm512_set1_epi8, _mm512_setzero_si512, _mm512_xor_si512,
};

use super::Primitives;

/// Rows and tokens at a time.
const TILE: usize = 4;
/// Bytes of a register.
const WIDTH: usize = 64;

/// Puts this loop in place of another, where the processor can run it.
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
        byte_products: |rows, inputs, columns, sums| unsafe {
            byte_products(rows, inputs, columns, sums);
        },
        ..others
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn byte_products(rows: &[i8], inputs: &[i8], columns: usize, sums: &mut [i32]) {
    let tokens = inputs.len() / columns;
    let groups = rows
        .chunks(TILE * columns)
        .zip(sums.chunks_mut(TILE * tokens));
    for (rows, sums) in groups {
        if rows.len() == TILE * columns {
            of_rows::<TILE>(rows, inputs, columns, sums);
        } else {
            let rows = rows.chunks_exact(columns);
            for (row, sums) in rows.zip(sums.chunks_exact_mut(tokens)) {
                of_rows::<1>(row, inputs, columns, sums);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn of_rows<const ROWS: usize>(rows: &[i8], inputs: &[i8], columns: usize, sums: &mut [i32]) {
    let tokens = inputs.len() / columns;
    for (group, inputs) in inputs.chunks(TILE * columns).enumerate() {
        let first = group * TILE;
        let mut put = |row: usize, token: usize, sum: i32| {
            sums[row * tokens + first + token] = sum;
        };
        match inputs.len() / columns {
            1 => tile::<ROWS, 1>(rows, inputs, columns, &mut put),
            2 => tile::<ROWS, 2>(rows, inputs, columns, &mut put),
            3 => tile::<ROWS, 3>(rows, inputs, columns, &mut put),
            _ => tile::<ROWS, TILE>(rows, inputs, columns, &mut put),
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn tile<const ROWS: usize, const TOKENS: usize>(
    rows: &[i8],
    inputs: &[i8],
    columns: usize,
    put: &mut impl FnMut(usize, usize, i32),
) {
    let (larger, ones) = (_mm512_set1_epi8(-128), _mm512_set1_epi8(1));
    let mut sums = [[_mm512_setzero_si512(); TOKENS]; ROWS];
    let mut weight_sums = [_mm512_setzero_si512(); ROWS];
    for start in (0..columns).step_by(WIDTH) {
        let width = WIDTH.min(columns - start);
        let input: [__m512i; TOKENS] = std::array::from_fn(|token| {
            _mm512_xor_si512(load(&inputs[token * columns + start..][..width]), larger)
        });
        for row in 0..ROWS {
            let weights = load(&rows[row * columns + start..][..width]);
            weight_sums[row] = _mm512_dpbusd_epi32(weight_sums[row], ones, weights);
            for token in 0..TOKENS {
                sums[row][token] = _mm512_dpbusd_epi32(sums[row][token], input[token], weights);
            }
        }
    }
    for row in 0..ROWS {
        let larger = _mm512_reduce_add_epi32(weight_sums[row]).wrapping_mul(128);
        for (token, sum) in sums[row].iter().enumerate() {
            let sum = _mm512_reduce_add_epi32(*sum);
            put(row, token, sum.wrapping_sub(larger));
        }
    }
}

/// Up to 64 bytes, and zeros after them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn load(bytes: &[i8]) -> __m512i {
    let mask = __mmask64::MAX >> (WIDTH - bytes.len());
    // SAFETY: the mask lets no more than the slice's bytes be read.
    unsafe { _mm512_maskz_loadu_epi8(mask, bytes.as_ptr()) }
}
