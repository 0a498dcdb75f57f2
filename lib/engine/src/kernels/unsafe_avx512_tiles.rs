//! Many tokens by AVX-512: two panels of weights at a time, so that the thirty-two registers hold the sums
//! of fourteen tokens and an input that was loaded serves twice; and rows turned round on the way there.
//! Unsafe for loads and stores; only [`detect`] hands the loops out, where the processor has what they need.

use std::arch::x86_64::{
    __m512, __m512d, _MM_HINT_T1, _mm_prefetch, _mm512_add_ps, _mm512_castpd_ps, _mm512_castps_pd,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_shuffle_f32x4, _mm512_storeu_ps, _mm512_unpackhi_pd,
    _mm512_unpackhi_ps, _mm512_unpacklo_pd, _mm512_unpacklo_ps,
};

use super::{
    Primitives,
    panels::{DEPTH, Lanes, PANEL},
};

/// Tokens of a tile: two registers of sums each, and four are left for weights and inputs.
const TOKENS: usize = 14;

/// Puts these loops in place of others, where the processor can run them.
pub(super) fn detect(others: Primitives) -> Primitives {
    if !is_x86_feature_detected!("avx512f") {
        return others;
    }
    Primitives {
        tile_tokens: TOKENS,
        // SAFETY (both): `detect` has just found the instructions that the functions are compiled for;
        // they have no other condition.
        tile_pair: |panels, inputs, out| unsafe { tile_pair(panels, inputs, out) },
        turn: |rows, columns, stride, out| unsafe { turn(rows, columns, stride, out) },
        ..others
    }
}

#[target_feature(enable = "avx512f")]
fn tile_pair(panels: [&[f32]; 2], inputs: &[f32], out: [&mut [Lanes]; 2]) {
    macro_rules! by_width {
        ($($width:literal)*) => {
            match out[0].len() {
                $($width => pair_of::<$width>(panels, inputs, out),)*
                width => assert_eq!(width, 0, "a tile has at most {TOKENS} tokens"),
            }
        };
    }
    by_width!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
}

#[target_feature(enable = "avx512f")]
fn pair_of<const WIDE: usize>(panels: [&[f32]; 2], inputs: &[f32], out: [&mut [Lanes]; 2]) {
    let [(first, _), (second, _)] = panels.map(|panel| panel.as_chunks::<PANEL>());
    let (inputs, _) = inputs.as_chunks::<WIDE>();
    let [first_out, second_out] = out;
    let second_out = &mut second_out[..WIDE];
    let parts = first.chunks(DEPTH).zip(second.chunks(DEPTH));
    for ((first, second), inputs) in parts.zip(inputs.chunks(DEPTH)) {
        let mut sums = [[_mm512_setzero_ps(); 2]; WIDE];
        for ((first, second), inputs) in first.iter().zip(second).zip(inputs) {
            let (first, second) = (load(first), load(second));
            for (sum, input) in sums.iter_mut().zip(inputs) {
                let input = _mm512_set1_ps(*input);
                sum[0] = _mm512_fmadd_ps(first, input, sum[0]);
                sum[1] = _mm512_fmadd_ps(second, input, sum[1]);
            }
        }
        let outs = first_out.iter_mut().zip(&mut *second_out);
        for (sum, (first, second)) in sums.iter().zip(outs) {
            add(sum[0], first);
            add(sum[1], second);
        }
    }
}

#[target_feature(enable = "avx512f")]
fn turn(rows: &[f32], columns: usize, stride: usize, out: &mut [f32]) {
    let count = rows.len() / columns;
    assert!(
        count <= stride.min(PANEL) && columns * stride <= out.len(),
        "up to sixteen rows are turned round, to where there is room for them"
    );
    let stored = mask(count);
    // Sixteen rows at once are too many for the processor to see what is read next: what lies behind them, most
    // often the next panel, is asked for line by line meanwhile. That is half of the time where rows are short.
    let mut behind = rows.as_ptr().wrapping_add(rows.len());
    for first in (0..columns).step_by(PANEL) {
        let width = PANEL.min(columns - first);
        let loaded = mask(width);
        let mut square = [_mm512_setzero_ps(); PANEL];
        for (register, row) in square.iter_mut().zip(rows.chunks_exact(columns)) {
            _mm_prefetch::<_MM_HINT_T1>(behind.cast());
            behind = behind.wrapping_add(PANEL);
            let row = &row[first..][..width];
            // SAFETY: the mask lets no more than the row's values be read.
            *register = unsafe { _mm512_maskz_loadu_ps(loaded, row.as_ptr()) };
        }
        let turned = transposed(&square);
        for (column, register) in (first..).zip(&turned[..width]) {
            let out = &mut out[column * stride..][..count];
            // SAFETY: the mask lets no more than `count` values be written.
            unsafe { _mm512_mask_storeu_ps(out.as_mut_ptr(), stored, *register) };
        }
    }
}

/// Sixteen registers of sixteen, rows for columns: within quarters of registers, then the quarters.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed(rows: &[__m512; 16]) -> [__m512; 16] {
    let mut fours = [_mm512_setzero_ps(); 16];
    for at in (0..16).step_by(4) {
        let [a, b, c, d] = [rows[at], rows[at + 1], rows[at + 2], rows[at + 3]];
        let low: [__m512d; 2] = [
            _mm512_castps_pd(_mm512_unpacklo_ps(a, b)),
            _mm512_castps_pd(_mm512_unpacklo_ps(c, d)),
        ];
        let high: [__m512d; 2] = [
            _mm512_castps_pd(_mm512_unpackhi_ps(a, b)),
            _mm512_castps_pd(_mm512_unpackhi_ps(c, d)),
        ];
        // Columns 0, 1, 2 and 3 of each quarter.
        fours[at] = _mm512_castpd_ps(_mm512_unpacklo_pd(low[0], low[1]));
        fours[at + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low[0], low[1]));
        fours[at + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high[0], high[1]));
        fours[at + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high[0], high[1]));
    }
    let mut columns = [_mm512_setzero_ps(); 16];
    for at in 0..4 {
        let [a, b, c, d] = [fours[at], fours[at + 4], fours[at + 8], fours[at + 12]];
        let even = [
            _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b),
            _mm512_shuffle_f32x4::<0b10_00_10_00>(c, d),
        ];
        let odd = [
            _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b),
            _mm512_shuffle_f32x4::<0b11_01_11_01>(c, d),
        ];
        columns[at] = _mm512_shuffle_f32x4::<0b10_00_10_00>(even[0], even[1]);
        columns[at + 4] = _mm512_shuffle_f32x4::<0b10_00_10_00>(odd[0], odd[1]);
        columns[at + 8] = _mm512_shuffle_f32x4::<0b11_01_11_01>(even[0], even[1]);
        columns[at + 12] = _mm512_shuffle_f32x4::<0b11_01_11_01>(odd[0], odd[1]);
    }
    columns
}

/// The first `count` lanes, of sixteen.
fn mask(count: usize) -> u16 {
    u16::MAX >> (PANEL - count)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(values: &Lanes) -> __m512 {
    // SAFETY: sixteen values are there, and the load has no alignment to keep.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn add(sum: __m512, out: &mut Lanes) {
    let sum = _mm512_add_ps(sum, load(out));
    // SAFETY: there is room for sixteen values, and the store has no alignment to keep.
    unsafe { _mm512_storeu_ps(out.as_mut_ptr(), sum) };
}
