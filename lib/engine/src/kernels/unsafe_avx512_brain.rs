//! Many tokens in brain floats by AVX-512: one instruction multiplies two columns of sixteen rows and adds in
//! f32. Two panels at a time, as in `unsafe_avx512_tiles`, of pairs of columns in the place of single ones.
//! Unsafe for loads and stores; only [`detect`] hands the loop out, where the processor has what it needs.

use std::{
    arch::x86_64::{
        __m512, __m512bh, _mm512_add_ps, _mm512_dpbf16_ps, _mm512_loadu_ps, _mm512_set1_ps,
        _mm512_setzero_ps, _mm512_storeu_ps,
    },
    mem::transmute,
};

use super::{
    Primitives,
    panels::{DEPTH, Lanes, PANEL},
};

/// Puts this loop in, where the processor can run it.
pub(super) fn detect(others: Primitives) -> Primitives {
    if !(is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16")) {
        return others;
    }
    Primitives {
        // SAFETY: `detect` has just found the instructions that the function is compiled for; it has no
        // other condition.
        tile_pair_brain: Some(|panels, inputs, out| unsafe { tile_pair(panels, inputs, out) }),
        ..others
    }
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn tile_pair(panels: [&[f32]; 2], inputs: &[f32], out: [&mut [Lanes]; 2]) {
    macro_rules! by_width {
        ($($width:literal)*) => {
            match out[0].len() {
                $($width => pair_of::<$width>(panels, inputs, out),)*
                width => assert_eq!(width, 0, "a tile has at most 14 tokens"),
            }
        };
    }
    by_width!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn pair_of<const WIDE: usize>(panels: [&[f32]; 2], inputs: &[f32], out: [&mut [Lanes]; 2]) {
    let [(first, _), (second, _)] = panels.map(|panel| panel.as_chunks::<PANEL>());
    let (inputs, _) = inputs.as_chunks::<WIDE>();
    let [first_out, second_out] = out;
    let second_out = &mut second_out[..WIDE];
    let parts = first.chunks(DEPTH).zip(second.chunks(DEPTH));
    for ((first, second), inputs) in parts.zip(inputs.chunks(DEPTH)) {
        let mut sums = [[_mm512_setzero_ps(); 2]; WIDE];
        for ((first, second), inputs) in first.iter().zip(second).zip(inputs) {
            let (first, second) = (halves(load(first)), halves(load(second)));
            for (sum, input) in sums.iter_mut().zip(inputs) {
                let input = halves(_mm512_set1_ps(*input));
                sum[0] = _mm512_dpbf16_ps(sum[0], first, input);
                sum[1] = _mm512_dpbf16_ps(sum[1], second, input);
            }
        }
        let outs = first_out.iter_mut().zip(&mut *second_out);
        for (sum, (first, second)) in sums.iter().zip(outs) {
            add(sum[0], first);
            add(sum[1], second);
        }
    }
}

/// The same bits as pairs of brain floats.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn halves(bits: __m512) -> __m512bh {
    // SAFETY: both are 64 bytes, of which every value is one of either.
    unsafe { transmute(bits) }
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
