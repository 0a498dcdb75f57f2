//! The primitives for 64-bit ARM, whose processors all have NEON. Unsafe for calling what is compiled
//! for it; products of bytes besides take the instruction for four of them where [`set`] finds it.
//! Formats of ggml that no panel holds are unpacked as the portable set does, and multiplied here.

use std::arch::{
    aarch64::{
        float32x4_t, vaddq_f32, vaddvq_f32, vdupq_n_f32, vfmaq_f32, vfmaq_n_f32, vld1q_f32,
        vst1q_f32,
    },
    is_aarch64_feature_detected,
};

use super::{
    Primitives, brain,
    bytes::by_pairs,
    panels, portable, unsafe_neon_exponential as exponential,
    unsafe_neon_floats::{self as plain, BF16, F16, F32},
    unsafe_neon_nibbles as nibbles, unsafe_neon_panels, unsafe_neon_rounded as rounded,
};
use crate::weights::Format;

/// The set.
pub fn set() -> Primitives {
    let with_dots = is_aarch64_feature_detected!("dotprod");
    Primitives {
        // SAFETY (all): every processor of this architecture has NEON, for which the functions are
        // compiled; those that are told to use the product of four bytes are where it was just found.
        unpack: |format, bytes, values| unsafe { unpack(format, bytes, values) },
        packed_dot: |format, row, input, scratch| unsafe {
            packed_dot(format, row, input, scratch)
        },
        nibbles_unpack: |book, packed, scales, values| unsafe {
            nibbles::unpack(book, packed, scales, values);
        },
        nibbles_dots: |book, packed, scales, input, out| unsafe {
            nibbles::dots(book, packed, scales, input.values, out);
        },
        float_dots: |format, rows, input, out| unsafe { float_dots(format, rows, input, out) },
        byte_products: if with_dots {
            |rows, inputs, columns, sums| {
                let dot = |a: &[i8], b: &[i8]| unsafe { rounded::bytes_dot::<true>(a, b) };
                by_pairs(dot, (rows, inputs), columns, sums);
            }
        } else {
            |rows, inputs, columns, sums| {
                let dot = |a: &[i8], b: &[i8]| unsafe { rounded::bytes_dot::<false>(a, b) };
                by_pairs(dot, (rows, inputs), columns, sums);
            }
        },
        panel_dot: |format, panel, input, sums| unsafe {
            unsafe_neon_panels::panel_dot(format, panel, input, sums)
        },
        panel_unpack: |format, panel, out| unsafe {
            unsafe_neon_panels::panel_unpack(format, panel, out);
        },
        brain_dots: brain::dots,
        brain_unpack: brain::unpack,
        tile: |panel, inputs, stride, out| unsafe {
            unsafe_neon_panels::tile(panel, inputs, stride, out);
        },
        tile_pair: |panels, inputs, out| unsafe {
            unsafe_neon_panels::tile_pair(panels, inputs, out);
        },
        tile_tokens: unsafe_neon_panels::TOKENS,
        turn: panels::turn,
        dots: |vector, rows, out| unsafe { dots(vector, rows, out) },
        dots_of_few: |vectors, rows, out| {
            let dots =
                |vector: &[f32], rows: &[f32], out: &mut [f32]| unsafe { dots(vector, rows, out) };
            portable::dots_of_few(dots, vectors, rows, out);
        },
        weighted_sum: |weights, rows, out| unsafe { weighted_sum(weights, rows, out) },
        exponentials: |values, largest| unsafe { exponential::exponentials(values, largest) },
        lane_exponentials: |values, largest| unsafe {
            exponential::lane_exponentials(values, largest)
        },
        silu_gate: |gate, up| unsafe { exponential::silu_gate(gate, up) },
        activate: |activation, values| unsafe { exponential::activate(activation, values) },
        narrow: super::given::narrow,
        rounded: if with_dots {
            |format, panel, inputs, out| unsafe {
                rounded::rounded::<true>(format, panel, inputs, out);
            }
        } else {
            |format, panel, inputs, out| unsafe {
                rounded::rounded::<false>(format, panel, inputs, out);
            }
        },
        ..portable::PRIMITIVES
    }
}

#[target_feature(enable = "neon")]
fn unpack(format: Format, bytes: &[u8], values: &mut [f32]) {
    match format {
        Format::F32 => plain::unpack::<F32>(bytes, values),
        Format::F16 => plain::unpack::<F16>(bytes, values),
        Format::BF16 => plain::unpack::<BF16>(bytes, values),
        _ => format.unpack(bytes, values),
    }
}

#[target_feature(enable = "neon")]
fn packed_dot(format: Format, row: &[u8], input: &[f32], scratch: &mut [f32]) -> f32 {
    match format {
        Format::F32 => plain::dot::<F32>(row, input),
        Format::F16 => plain::dot::<F16>(row, input),
        Format::BF16 => plain::dot::<BF16>(row, input),
        _ => {
            format.unpack(row, scratch);
            dot(scratch, input)
        }
    }
}

#[target_feature(enable = "neon")]
fn float_dots(format: Format, rows: &[u8], input: &[f32], out: &mut [f32]) {
    if !matches!(format, Format::F32 | Format::F16 | Format::BF16) {
        return portable::float_dots(format, rows, input, out);
    }
    let rows = rows.chunks_exact(input.len() * format.block_bytes());
    for (row, out) in rows.zip(out) {
        *out = packed_dot(format, row, input, &mut []);
    }
}

/// Sums of products that are added up beside each other.
pub(super) type Sums = [float32x4_t; 8];

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn no_sums() -> Sums {
    [vdupq_n_f32(0.0); 8]
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn total(sums: Sums) -> f32 {
    let [a, b, c, d, e, f, g, h] = sums;
    let (low, high) = (vaddq_f32(vaddq_f32(a, b), vaddq_f32(c, d)), vaddq_f32(e, f));
    vaddvq_f32(vaddq_f32(low, vaddq_f32(high, vaddq_f32(g, h))))
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load(values: &[f32]) -> float32x4_t {
    assert!(values.len() >= 4, "a register needs four values");
    // SAFETY: four values are there, and the load has no alignment to keep.
    unsafe { vld1q_f32(values.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn store(register: float32x4_t, out: &mut [f32]) {
    assert!(out.len() >= 4, "a register has four values");
    // SAFETY: there is room for four values, and the store has no alignment to keep.
    unsafe { vst1q_f32(out.as_mut_ptr(), register) };
}

#[inline]
#[target_feature(enable = "neon")]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a_parts, a_rest), (b_parts, b_rest)) = (a.as_chunks::<32>(), b.as_chunks::<32>());
    let mut sums = no_sums();
    for (a, b) in a_parts.iter().zip(b_parts) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum = vfmaq_f32(*sum, load(&a[4 * lane..]), load(&b[4 * lane..]));
        }
    }
    let ((a_parts, a_rest), (b_parts, b_rest)) = (a_rest.as_chunks::<4>(), b_rest.as_chunks::<4>());
    for (a, b) in a_parts.iter().zip(b_parts) {
        sums[0] = vfmaq_f32(sums[0], load(a), load(b));
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    total(sums) + rest
}

#[target_feature(enable = "neon")]
fn dots(vector: &[f32], rows: &[f32], out: &mut [f32]) {
    for (row, out) in rows.chunks_exact(vector.len()).zip(out) {
        *out = dot(vector, row);
    }
}

#[target_feature(enable = "neon")]
fn weighted_sum(weights: &[f32], rows: &[f32], out: &mut [f32]) {
    for (row, weight) in rows.chunks_exact(out.len()).zip(weights) {
        let (row_parts, row_rest) = row.as_chunks::<4>();
        let (out_parts, out_rest) = out.as_chunks_mut::<4>();
        for (row, out) in row_parts.iter().zip(out_parts) {
            store(vfmaq_n_f32(load(out), load(row), *weight), out);
        }
        for (out, value) in out_rest.iter_mut().zip(row_rest) {
            *out += weight * value;
        }
    }
}
