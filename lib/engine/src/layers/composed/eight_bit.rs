//! A matrix of `LLM.int8()` on a device: codes and scales as they are. A card multiplies them by kernels of our own,
//! which quantise activations, too; elsewhere the processor does.

use candle_core::{Device, Result, Tensor};

use super::{super::Weight, flat_product};
use crate::{bitsandbytes::EightBit, weights::Format};

/// Weights `(out_features, in_features)` in 8 bits, with a scale a row.
#[derive(Debug)]
pub(crate) struct Int8 {
    pub(crate) shape: (usize, usize),
    /// Row by row, each the byte of a signed one.
    pub(crate) codes: Tensor,
    /// `(out_features)`.
    pub(crate) scales: Tensor,
    /// Columns in which an activation is at least this large are multiplied in full; 0 for none.
    pub(crate) threshold: f32,
}

impl Int8 {
    /// A matrix, put on a device.
    pub(crate) fn new(matrix: &EightBit, device: &Device) -> Result<Self> {
        let codes: &[u8] = bytemuck::cast_slice(&matrix.codes);
        Ok(Self {
            shape: (matrix.rows, matrix.columns),
            codes: Tensor::from_slice(codes, codes.len(), device)?,
            scales: Tensor::from_slice(&matrix.scales, matrix.scales.len(), device)?,
            threshold: matrix.threshold,
        })
    }

    /// From f32 `(tokens, in_features)` to f32 `(tokens, out_features)`.
    fn product(&self, x: &Tensor) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if x.device().is_cuda()
            && let Some(product) = crate::cuda::int8_product(self, x)?
        {
            return Ok(product);
        }
        let codes = self.codes.to_vec1::<u8>()?;
        let matrix = EightBit {
            rows: self.shape.0,
            columns: self.shape.1,
            codes: bytemuck::cast_slice(&codes).to_vec(),
            scales: self.scales.to_vec1()?,
            threshold: self.threshold,
        };
        let product = Weight::multiply(&matrix, &x.to_device(&Device::Cpu)?)?;
        product.to_device(x.device())
    }
}

impl Weight for Int8 {
    fn multiply(&self, x: &Tensor) -> Result<Tensor> {
        flat_product(x, self.shape, |x| self.product(x))
    }

    fn bytes(&self) -> usize {
        self.codes.elem_count() + self.scales.elem_count() * 4
    }

    fn class(&self) -> (&'static str, Option<Format>) {
        ("Linear8bitLt", None)
    }
}
