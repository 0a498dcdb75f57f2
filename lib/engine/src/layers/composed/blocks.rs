//! A matrix on a device as its file has it: in blocks of ggml, or in floats of 16 bits. A card multiplies some tokens
//! with it as it lies; for more, and elsewhere, values are made of it for each product.

use candle_core::{DType, Device, Result, Tensor};

#[cfg(feature = "cuda")]
use super::super::Packed;
use super::{
    super::Weight,
    flat_product,
    rounding::{product, sliced},
};
use crate::weights::Format;

/// Values that a lane of a card takes of a row at once.
const LANE_VALUES: usize = 32;
/// Tokens of a product whose values are exact, and activations as they are: as many as cards multiply so.
const FEW: usize = 4;

/// Weights `(out_features, in_features)` in blocks. A few tokens meet what the file says in f32; products of more are
/// computed in a type of their own, since there tensor cores pay.
#[derive(Debug)]
pub(crate) struct Blocks {
    pub(crate) shape: (usize, usize),
    pub(crate) format: Format,
    /// Row by row.
    pub(crate) packed: Tensor,
    /// What products of many tokens are computed in.
    pub(crate) dtype: DType,
}

impl Blocks {
    /// Whether rows of so many columns are taken in a format.
    pub(crate) fn takes(format: Format, columns: usize) -> bool {
        match format {
            Format::F32 | Format::Byte => false,
            Format::F16 | Format::BF16 => columns.is_multiple_of(LANE_VALUES),
            _ => columns.is_multiple_of(format.block_values()),
        }
    }

    /// A matrix of such rows, put on a device. Fails where it has not as many bytes as its shape says.
    pub(crate) fn new(
        (format, bytes): (Format, &[u8]),
        shape: (usize, usize),
        (device, dtype): (&Device, DType),
    ) -> Result<Self> {
        let expected = format.bytes_of(shape.0 as u64 * shape.1 as u64);
        if expected != Some(bytes.len() as u64) || !Self::takes(format, shape.1) {
            let (name, count) = (format.name(), bytes.len());
            candle_core::bail!("{count} bytes of {name} are no {shape:?} matrix");
        }
        Ok(Self {
            shape,
            format,
            packed: Tensor::from_slice(bytes, bytes.len(), device)?,
            dtype,
        })
    }

    /// All values, `(out_features, in_features)`, in a type.
    fn values(&self, dtype: DType) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if self.packed.device().is_cuda() {
            return crate::cuda::block_values(self, dtype);
        }
        let mut values = vec![0.0; self.shape.0 * self.shape.1];
        self.format
            .unpack(&self.packed.to_vec1::<u8>()?, &mut values);
        Tensor::from_vec(values, self.shape, self.packed.device())?.to_dtype(dtype)
    }

    /// From f32 `(tokens, in_features)` to f32 `(tokens, out_features)`.
    fn product(&self, x: &Tensor) -> Result<Tensor> {
        let is_few = x.dim(0)? <= FEW;
        let dtype = if is_few { DType::F32 } else { self.dtype };
        let (rows, columns) = self.shape;
        sliced((rows, columns * dtype.size_in_bytes()), |start, count| {
            product(x, &self.rows(start, count)?.values(dtype)?)
        })
    }

    /// Some of its rows.
    fn rows(&self, start: usize, count: usize) -> Result<Self> {
        let bytes = self.packed.elem_count() / self.shape.0.max(1);
        Ok(Self {
            shape: (count, self.shape.1),
            format: self.format,
            packed: self.packed.narrow(0, start * bytes, count * bytes)?,
            dtype: self.dtype,
        })
    }
}

impl Weight for Blocks {
    fn multiply(&self, x: &Tensor) -> Result<Tensor> {
        flat_product(x, self.shape, |x| self.product(x))
    }

    #[cfg(feature = "cuda")]
    fn packed(&self) -> Option<Packed<'_>> {
        Some(Packed::Blocks(self))
    }

    fn card_dtype(&self) -> DType {
        self.dtype
    }

    fn bytes(&self) -> usize {
        self.packed.elem_count()
    }

    fn class(&self) -> (&'static str, Option<Format>) {
        ("Linear", Some(self.format))
    }
}
