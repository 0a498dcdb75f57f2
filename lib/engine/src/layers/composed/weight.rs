//! A weight matrix of plain floats on a device.

use candle_core::{DType, Result, Tensor};

#[cfg(feature = "cuda")]
use super::super::Put;
use super::{
    super::Weight,
    flat_product,
    rounding::{made_as, product, rounded, sliced},
};
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
        let (shape, dtype) = (self.0.dims2()?, self.0.dtype());
        flat_product(x, shape, |x| {
            let made = made_as(dtype, x.device());
            if made == dtype {
                return product(x, &self.0, dtype);
            }
            let (rows, columns) = shape;
            sliced((rows, columns * made.size_in_bytes()), |start, count| {
                product(x, &rounded(&self.0.narrow(0, start, count)?, dtype)?, dtype)
            })
        })
    }

    #[cfg(feature = "cuda")]
    fn put(&self, x: &Tensor, put: &Put) -> Result<bool> {
        crate::cuda::put_floats(&self.0, x, put)
    }

    #[cfg(feature = "cuda")]
    fn puts(&self) -> Option<(usize, usize)> {
        let shape = self.0.dims2().ok()?;
        crate::cuda::puts_floats(&self.0).then_some(shape)
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
