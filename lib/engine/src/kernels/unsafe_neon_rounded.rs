//! Products of bytes by NEON: of activations that are rounded with panels, and of rows of signed bytes.
//! `DOT` says whether the processor adds up products of four bytes by one instruction; `unsafe_neon` is
//! the only caller and has looked.

use std::arch::{
    aarch64::{
        float32x4_t, int8x16_t, int32x4_t, vaddq_s32, vaddvq_s32, vandq_u8, vcvtq_f32_s32,
        vdupq_n_f32, vdupq_n_s32, vdupq_n_u8, vfmaq_f32, vfmaq_n_f32, vget_low_s8, vld1q_s8,
        vmull_high_s8, vmull_s8, vmulq_n_f32, vpaddlq_s16, vpaddq_s32, vreinterpretq_s8_s32,
        vreinterpretq_s8_u8, vshrq_n_u8,
    },
    asm,
};

use super::{
    panels::{Lanes, PANEL, heads},
    rounded::RoundedBlock,
    unsafe_neon_floats::sixteen,
    unsafe_neon_panels::{head, lanes},
};
use crate::weights::Format;

/// Products of a panel's rows with tokens `(out.len(), in_features / 32)`.
#[target_feature(enable = "neon")]
pub(super) fn rounded<const DOT: bool>(
    format: Format,
    panel: &[u8],
    inputs: &[RoundedBlock],
    out: &mut [Lanes],
) {
    let size = format.block_bytes() * PANEL;
    let blocks = panel.len() / size;
    assert_eq!(
        blocks * out.len(),
        inputs.len(),
        "tokens have the panel's columns"
    );
    if blocks == 0 {
        return;
    }
    for (out, inputs) in out.iter_mut().zip(inputs.chunks_exact(blocks)) {
        let mut totals = [vdupq_n_f32(0.0); 4];
        for (block, input) in panel.chunks_exact(size).zip(inputs) {
            let (groups, _) = block[heads(format).unwrap_or(0) * PANEL..].as_chunks::<64>();
            let (scales, rests) = (head(block, 0), rests(format, block));
            for (quarter, total) in totals.iter_mut().enumerate() {
                let sum = match format {
                    Format::Q8_0 => bytes::<DOT>(groups, quarter, input),
                    _ => nibbles::<DOT>(groups, quarter, input),
                };
                let factor = vmulq_n_f32(scales[quarter], input.scale);
                *total = vfmaq_f32(*total, vcvtq_f32_s32(sum), factor);
                *total = vfmaq_n_f32(*total, rests[quarter], input.sum);
            }
        }
        *out = lanes(totals);
    }
}

/// What each row's sum of activations is multiplied with.
#[inline]
#[target_feature(enable = "neon")]
fn rests(format: Format, block: &[u8]) -> [float32x4_t; 4] {
    match format {
        Format::Q4_1 => head(block, 1),
        Format::Q8_0 => [vdupq_n_f32(0.0); 4],
        _ => {
            let mut rests = head(block, 0);
            for rest in &mut rests {
                *rest = vmulq_n_f32(*rest, -8.0);
            }
            rests
        }
    }
}

/// Sums of codes of 4 bits times activations.
#[inline]
#[target_feature(enable = "neon")]
fn nibbles<const DOT: bool>(
    groups: &[[u8; 64]],
    quarter: usize,
    input: &RoundedBlock,
) -> int32x4_t {
    let mut sums = [vdupq_n_s32(0); 2];
    for (index, group) in groups.iter().enumerate() {
        let both = sixteen(&group[16 * quarter..]);
        let low = vreinterpretq_s8_u8(vandq_u8(both, vdupq_n_u8(15)));
        let high = vreinterpretq_s8_u8(vshrq_n_u8::<4>(both));
        sums[0] = add_fours::<DOT>(sums[0], low, four(input, index));
        sums[1] = add_fours::<DOT>(sums[1], high, four(input, index + 4));
    }
    vaddq_s32(sums[0], sums[1])
}

/// The same for codes of 8 bits.
#[inline]
#[target_feature(enable = "neon")]
fn bytes<const DOT: bool>(groups: &[[u8; 64]], quarter: usize, input: &RoundedBlock) -> int32x4_t {
    let mut sums = [vdupq_n_s32(0); 2];
    for (index, group) in groups.iter().enumerate() {
        let codes = vreinterpretq_s8_u8(sixteen(&group[16 * quarter..]));
        sums[index % 2] = add_fours::<DOT>(sums[index % 2], codes, four(input, index));
    }
    vaddq_s32(sums[0], sums[1])
}

/// Four activations in every lane.
#[inline]
#[target_feature(enable = "neon")]
fn four(input: &RoundedBlock, index: usize) -> int8x16_t {
    let (fours, _) = input.codes.as_chunks::<4>();
    let four = i32::from_le_bytes(fours[index].map(i8::cast_unsigned));
    vreinterpretq_s8_s32(vdupq_n_s32(four))
}

/// The product of signed bytes, exact up to 2¹⁷ of them.
#[target_feature(enable = "neon")]
pub(super) fn bytes_dot<const DOT: bool>(a: &[i8], b: &[i8]) -> i32 {
    let ((a_parts, a_rest), (b_parts, b_rest)) = (a.as_chunks::<64>(), b.as_chunks::<64>());
    let mut sums = [vdupq_n_s32(0); 4];
    for (a, b) in a_parts.iter().zip(b_parts) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            let (a, b) = (signed(&a[16 * lane..]), signed(&b[16 * lane..]));
            *sum = add_fours::<DOT>(*sum, a, b);
        }
    }
    let rest = a_rest.iter().zip(b_rest);
    let rest: i32 = rest.map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
    let [a, b, c, d] = sums;
    vaddvq_s32(vaddq_s32(vaddq_s32(a, b), vaddq_s32(c, d))) + rest
}

#[inline]
#[target_feature(enable = "neon")]
fn signed(bytes: &[i8]) -> int8x16_t {
    assert!(bytes.len() >= 16, "a register needs sixteen bytes");
    // SAFETY: sixteen bytes are there, and the load has no alignment to keep.
    unsafe { vld1q_s8(bytes.as_ptr()) }
}

/// Adds products of four neighbours to each lane.
#[inline]
#[target_feature(enable = "neon")]
fn add_fours<const DOT: bool>(sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    if DOT {
        let mut sum = sum;
        // As text: the intrinsic is not stable (rust-lang/rust#117224).
        // SAFETY: the caller found the instruction; it reads and writes registers alone.
        unsafe {
            asm!(
                ".arch_extension dotprod",
                "sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b",
                sum = inout(vreg) sum,
                a = in(vreg) a,
                b = in(vreg) b,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        return sum;
    }
    // Two products of at most 128 · 128 are added in 32 bits.
    let low = vpaddlq_s16(vmull_s8(vget_low_s8(a), vget_low_s8(b)));
    let high = vpaddlq_s16(vmull_high_s8(a, b));
    vaddq_s32(sum, vpaddq_s32(low, high))
}
