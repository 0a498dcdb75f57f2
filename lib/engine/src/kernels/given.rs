//! The types that passes give values in: f32, or 16 bits where whoever takes them would round to these anyway,
//! so that half as much memory is written and read.

use candle_core::{CpuStorage, Result, bail};
use half::{bf16, f16, slice::HalfFloatSliceExt};

use super::{
    panels::{Lanes, PANEL},
    primitives,
};
use crate::bitsandbytes::brain_bits;

/// One of them.
pub(super) trait Given: Copy + Default + Send + Sync + 'static {
    /// Rounds values to it, to the nearest, of two as near to the even one.
    fn put(values: &[f32], out: &mut [Self]);

    /// The same of what `make` writes.
    fn make(out: &mut [Self], make: impl FnOnce(&mut [f32])) {
        let mut values = vec![0.0; out.len()];
        make(&mut values);
        Self::put(&values, out);
    }

    /// The same of a whole output.
    fn from_wide(values: Vec<f32>) -> Vec<Self> {
        let mut out = vec![Self::default(); values.len()];
        Self::put(&values, &mut out);
        out
    }

    /// The same of products, by way of `scratch` where it takes any.
    fn lanes<'a>(products: &'a [Lanes], scratch: &'a mut [[Self; PANEL]]) -> &'a [[Self; PANEL]] {
        let scratch = &mut scratch[..products.len()];
        Self::put(products.as_flattened(), scratch.as_flattened_mut());
        scratch
    }

    /// Values of a tensor.
    fn stored(values: Vec<Self>) -> CpuStorage;

    /// The values of a tensor.
    fn of(storage: &mut CpuStorage) -> Result<&mut [Self]>;
}

impl Given for f32 {
    fn put(values: &[f32], out: &mut [Self]) {
        out.copy_from_slice(values);
    }

    fn make(out: &mut [Self], make: impl FnOnce(&mut [f32])) {
        make(out);
    }

    fn from_wide(values: Vec<f32>) -> Vec<Self> {
        values
    }

    fn lanes<'a>(products: &'a [Lanes], _scratch: &'a mut [Lanes]) -> &'a [Lanes] {
        products
    }

    fn stored(values: Vec<Self>) -> CpuStorage {
        CpuStorage::F32(values)
    }

    fn of(storage: &mut CpuStorage) -> Result<&mut [Self]> {
        match storage {
            CpuStorage::F32(values) => Ok(values),
            _ => bail!("a buffer of f32 was expected"),
        }
    }
}

impl Given for bf16 {
    fn put(values: &[f32], out: &mut [Self]) {
        (primitives().narrow)(values, out);
    }

    fn stored(values: Vec<Self>) -> CpuStorage {
        CpuStorage::BF16(values)
    }

    fn of(storage: &mut CpuStorage) -> Result<&mut [Self]> {
        match storage {
            CpuStorage::BF16(values) => Ok(values),
            _ => bail!("a buffer of bf16 was expected"),
        }
    }
}

impl Given for f16 {
    fn put(values: &[f32], out: &mut [Self]) {
        out.convert_from_f32_slice(values);
    }

    fn stored(values: Vec<Self>) -> CpuStorage {
        CpuStorage::F16(values)
    }

    fn of(storage: &mut CpuStorage) -> Result<&mut [Self]> {
        match storage {
            CpuStorage::F16(values) => Ok(values),
            _ => bail!("a buffer of f16 was expected"),
        }
    }
}

/// The storage of what `$made` makes for a type `$T`, which is the one that `$dtype` names.
macro_rules! given {
    ($dtype:expr, $T:ident => $made:expr) => {
        match $dtype {
            wire::model::DType::F32 => {
                type $T = f32;
                $crate::kernels::given::Given::stored($made)
            }
            wire::model::DType::BF16 => {
                type $T = half::bf16;
                $crate::kernels::given::Given::stored($made)
            }
            wire::model::DType::F16 => {
                type $T = half::f16;
                $crate::kernels::given::Given::stored($made)
            }
        }
    };
}
pub(super) use given;

/// Values as brain floats, without branches, so that vectors of whatever length the caller is compiled for take
/// it.
#[expect(
    clippy::inline_always,
    reason = "as a function of its own it would be compiled for the least vectors"
)]
#[inline(always)]
pub(super) fn narrow(values: &[f32], out: &mut [bf16]) {
    for (value, out) in values.iter().zip(out) {
        *out = bf16::from_bits((brain_bits(*value) >> 16) as u16);
    }
}

/// Two brain floats in the place of an f32.
pub(super) fn both([first, second]: [bf16; 2]) -> f32 {
    f32::from_bits(u32::from(first.to_bits()) | u32::from(second.to_bits()) << 16)
}

/// An even number of brain floats, each two in the place of an f32.
#[inline]
pub(super) fn copy_pairs(values: &[bf16], out: &mut [f32]) {
    let values: &[u8] = bytemuck::cast_slice(values.reinterpret_cast());
    bytemuck::cast_slice_mut::<f32, u8>(out)[..values.len()].copy_from_slice(values);
}

/// Brain floats as f32.
pub(super) fn widen(values: &[bf16], out: &mut [f32]) {
    // As `convert_to_f32_slice` without its look for what is no number, which keeps vectors out.
    for (out, value) in out.iter_mut().zip(values) {
        *out = f32::from_bits(u32::from(value.to_bits()) << 16);
    }
}
