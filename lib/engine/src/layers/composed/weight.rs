//! A weight matrix of plain floats on a device.

use candle_core::{DType, Result, Tensor};

#[cfg(feature = "cuda")]
use super::super::Packed;
use super::{super::Weight, flat_product, rounding::product};
use crate::weights::Format;

/// Weights `(out_features, in_features)` as f32, f16 or bf16. Activations are rounded to their type at each
/// product, as transformers computes in it and as a card has products for; between products they are f32.
#[derive(Clone, Debug)]
pub(crate) struct Plain(Tensor);

impl Plain {
    /// A matrix. Fails on another type, and on what is none.
    pub(crate) fn new(weight: Tensor) -> Result<Self> {
        if !matches!(weight.dtype(), DType::F32 | DType::F16 | DType::BF16) || weight.rank() != 2 {
            let (dtype, shape) = (weight.dtype(), weight.shape());
            candle_core::bail!("{dtype:?} {shape:?} is no matrix of plain floats");
        }
        Ok(Self(weight))
    }
}

impl Weight for Plain {
    fn multiply(&self, x: &Tensor) -> Result<Tensor> {
        flat_product(x, self.0.dims2()?, |x| product(x, &self.0))
    }

    #[cfg(feature = "cuda")]
    fn packed(&self) -> Option<Packed<'_>> {
        Some(Packed::Floats(&self.0))
    }

    fn card_dtype(&self) -> DType {
        self.0.dtype()
    }

    fn bytes(&self) -> usize {
        self.0.elem_count() * self.0.dtype().size_in_bytes()
    }

    fn class(&self) -> (&'static str, Option<Format>) {
        let format = match self.0.dtype() {
            DType::F16 => Format::F16,
            DType::BF16 => Format::BF16,
            _ => Format::F32,
        };
        ("Linear", Some(format))
    }
}
