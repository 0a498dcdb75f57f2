//! Brain floats by AVX-512. A panel's rows meet a few vectors after two columns have been taken apart to f32.
//! Many tokens, where they are brain floats too, meet two panels at a time, as in `unsafe_avx512_tiles`: one
//! instruction multiplies two columns of sixteen rows and adds in f32. Unsafe for loads and stores; only
//! [`detect`] hands the loops out, where the processor has what they need.

use std::{
    arch::x86_64::{
        __m512, __m512bh, _mm512_add_ps, _mm512_and_si512, _mm512_castsi512_ps, _mm512_dpbf16_ps,
        _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_set1_ps,
        _mm512_setzero_ps, _mm512_slli_epi32, _mm512_storeu_ps,
    },
    mem::transmute,
};

use super::{
    FEW, Primitives,
    brain::PAIR,
    panels::{DEPTH, Lanes, PANEL},
};

/// Puts these loops in place of others, where the processor can run them.
pub(super) fn detect(others: Primitives) -> Primitives {
    if !is_x86_feature_detected!("avx512f") {
        return others;
    }
    let set = Primitives {
        // SAFETY (both): `detect` has just found the instructions that the functions are compiled for;
        // they have no other condition.
        brain_dots: |panel, vectors, out| unsafe { dots(panel, vectors, out) },
        brain_unpack: |panel, out| unsafe { unpack(panel, out) },
        ..others
    };
    if !is_x86_feature_detected!("avx512bf16") {
        return set;
    }
    Primitives {
        // SAFETY: likewise.
        tile_pair_brain: Some(|panels, inputs, out| unsafe { tile_pair(panels, inputs, out) }),
        ..set
    }
}

#[target_feature(enable = "avx512f")]
fn dots(panel: &[u8], vectors: &[&[f32]], out: &mut [Lanes]) {
    macro_rules! by_count {
        ($($count:literal)*) => {
            match vectors.len() {
                $($count => dots_of::<$count>(panel, vectors, out),)*
                count => assert_eq!(count, 0, "at most {FEW} vectors are taken at once"),
            }
        };
    }
    by_count!(1 2 3 4 5 6);
}

/// Each pair of columns meets all vectors while it is in registers.
#[target_feature(enable = "avx512f")]
fn dots_of<const COUNT: usize>(panel: &[u8], vectors: &[&[f32]], out: &mut [Lanes]) {
    let (pairs, _) = panel.as_chunks::<PAIR>();
    let vectors: [&[f32]; COUNT] = std::array::from_fn(|vector| vectors[vector]);
    assert!(
        vectors.iter().all(|vector| vector.len() == 2 * pairs.len()),
        "a vector has a value for each column"
    );
    let mut totals = [_mm512_setzero_ps(); COUNT];
    for (part, pairs) in pairs.chunks(DEPTH / 2).enumerate() {
        let mut sums = [[_mm512_setzero_ps(); 2]; COUNT];
        for (pair, weights) in (part * (DEPTH / 2)..).zip(pairs) {
            let [low, high] = columns(weights);
            for (sums, vector) in sums.iter_mut().zip(&vectors) {
                // SAFETY: the vectors have just been found to have two values for each pair.
                let inputs = unsafe { [0, 1].map(|at| *vector.get_unchecked(2 * pair + at)) };
                sums[0] = _mm512_fmadd_ps(low, _mm512_set1_ps(inputs[0]), sums[0]);
                sums[1] = _mm512_fmadd_ps(high, _mm512_set1_ps(inputs[1]), sums[1]);
            }
        }
        for (total, sums) in totals.iter_mut().zip(&sums) {
            *total = _mm512_add_ps(*total, _mm512_add_ps(sums[0], sums[1]));
        }
    }
    for (total, out) in totals.iter().zip(out) {
        store(*total, out);
    }
}

#[target_feature(enable = "avx512f")]
fn unpack(panel: &[u8], out: &mut [f32]) {
    let (pairs, _) = panel.as_chunks::<PAIR>();
    let (lanes, _) = out.as_chunks_mut::<PANEL>();
    for (pair, lanes) in pairs.iter().zip(lanes.chunks_exact_mut(2)) {
        for (column, lanes) in columns(pair).iter().zip(lanes) {
            store(*column, lanes);
        }
    }
}

/// Two columns of sixteen rows as f32.
#[inline]
#[target_feature(enable = "avx512f")]
fn columns(pair: &[u8; PAIR]) -> [__m512; 2] {
    // SAFETY: 64 bytes are there, and the load has no alignment to keep.
    let both = unsafe { _mm512_loadu_si512(pair.as_ptr().cast()) };
    let high = _mm512_and_si512(both, _mm512_set1_epi32(0xffff_0000_u32.cast_signed()));
    [_mm512_slli_epi32::<16>(both), high].map(|bits| _mm512_castsi512_ps(bits))
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
            store(_mm512_add_ps(sum[0], load(first)), first);
            store(_mm512_add_ps(sum[1], load(second)), second);
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
fn store(register: __m512, out: &mut Lanes) {
    // SAFETY: there is room for sixteen values, and the store has no alignment to keep.
    unsafe { _mm512_storeu_ps(out.as_mut_ptr(), register) };
}
