//! Plain floats for NEON: eight values of f32, f16 or bf16 at a time. Unsafe for the loads; `unsafe_neon`
//! is the only caller.

use std::arch::aarch64::{
    float32x4_t, uint8x16_t, vcvt_f32_f16, vfmaq_f32, vget_high_u16, vget_low_u16, vld1q_u8,
    vmovl_high_u16, vmovl_u16, vreinterpret_f16_u16, vreinterpretq_f32_u8, vreinterpretq_f32_u32,
    vreinterpretq_u16_u8, vshlq_n_u32,
};

use half::{bf16, f16};

use super::unsafe_neon::{load, no_sums, store, total};

/// A way to store one value.
pub(super) trait Float {
    /// Bytes of a value.
    const BYTES: usize;

    /// Eight values, of `8 * BYTES` bytes.
    ///
    /// # Safety
    /// NEON is there.
    unsafe fn eight(bytes: &[u8]) -> [float32x4_t; 2];

    /// One value.
    fn one(bytes: &[u8]) -> f32;
}

pub(super) struct F32;
pub(super) struct F16;
pub(super) struct BF16;

impl Float for F32 {
    const BYTES: usize = 4;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn eight(bytes: &[u8]) -> [float32x4_t; 2] {
        let (low, high) = (sixteen(bytes), sixteen(&bytes[16..]));
        [vreinterpretq_f32_u8(low), vreinterpretq_f32_u8(high)]
    }

    fn one(bytes: &[u8]) -> f32 {
        f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }
}

impl Float for F16 {
    const BYTES: usize = 2;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn eight(bytes: &[u8]) -> [float32x4_t; 2] {
        halves(bytes)
    }

    fn one(bytes: &[u8]) -> f32 {
        f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
    }
}

impl Float for BF16 {
    const BYTES: usize = 2;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn eight(bytes: &[u8]) -> [float32x4_t; 2] {
        brain_floats(bytes)
    }

    fn one(bytes: &[u8]) -> f32 {
        bf16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
    }
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn sixteen(bytes: &[u8]) -> uint8x16_t {
    assert!(bytes.len() >= 16, "a register needs sixteen bytes");
    // SAFETY: sixteen bytes are there, and the load has no alignment to keep.
    unsafe { vld1q_u8(bytes.as_ptr()) }
}

/// Eight 16-bit floats.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn halves(bytes: &[u8]) -> [float32x4_t; 2] {
    let bits = vreinterpretq_u16_u8(sixteen(bytes));
    [
        vcvt_f32_f16(vreinterpret_f16_u16(vget_low_u16(bits))),
        vcvt_f32_f16(vreinterpret_f16_u16(vget_high_u16(bits))),
    ]
}

#[inline]
#[target_feature(enable = "neon")]
fn brain_floats(bytes: &[u8]) -> [float32x4_t; 2] {
    let bits = vreinterpretq_u16_u8(sixteen(bytes));
    [
        vreinterpretq_f32_u32(vshlq_n_u32::<16>(vmovl_u16(vget_low_u16(bits)))),
        vreinterpretq_f32_u32(vshlq_n_u32::<16>(vmovl_high_u16(bits))),
    ]
}

/// Unpacks `values.len()` values.
#[target_feature(enable = "neon")]
pub(super) fn unpack<T: Float>(bytes: &[u8], values: &mut [f32]) {
    let (targets, target_rest) = values.as_chunks_mut::<8>();
    let sources = bytes.chunks_exact(8 * T::BYTES);
    let rest = sources.remainder();
    for (source, target) in sources.zip(targets) {
        // SAFETY: this function runs only where NEON is.
        let [low, high] = unsafe { T::eight(source) };
        store(low, target);
        store(high, &mut target[4..]);
    }
    for (source, target) in rest.chunks_exact(T::BYTES).zip(target_rest) {
        *target = T::one(source);
    }
}

/// The product of a row with as many inputs.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn dot<T: Float>(row: &[u8], input: &[f32]) -> f32 {
    let mut sums = no_sums();
    let (inputs, input_rest) = input.as_chunks::<32>();
    let rows = row.chunks_exact(32 * T::BYTES);
    let row_rest = rows.remainder();
    for (row, input) in rows.zip(inputs) {
        for eight in 0..4 {
            // SAFETY: this function runs only where NEON is.
            let [low, high] = unsafe { T::eight(&row[8 * eight * T::BYTES..]) };
            let (at, sum) = (8 * eight, 2 * eight);
            sums[sum] = vfmaq_f32(sums[sum], low, load(&input[at..]));
            sums[sum + 1] = vfmaq_f32(sums[sum + 1], high, load(&input[at + 4..]));
        }
    }
    let rest = row_rest.chunks_exact(T::BYTES).zip(input_rest);
    total(sums)
        + rest
            .map(|(weight, input)| T::one(weight) * input)
            .sum::<f32>()
}
