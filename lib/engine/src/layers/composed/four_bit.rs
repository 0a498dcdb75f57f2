//! A matrix in 4 bits on a device: codes and scales stay as they are. A card multiplies some tokens with them as they
//! lie; for more, and elsewhere, values are made of them for each product.

use candle_core::{DType, Device, Result, Tensor};

#[cfg(feature = "cuda")]
use super::super::Packed;
use super::{
    super::Weight,
    flat_product,
    rounding::{product, sliced},
};
use crate::{bitsandbytes::Absmax, kernels::Nibbles, weights::Format};

/// Scales of a block of the second quantisation.
const NESTED_BLOCK: usize = 256;

/// Weights `(out_features, in_features)` in blocks of codes. Activations are rounded to the type that values are
/// computed in, as are products.
#[derive(Debug)]
pub(crate) struct FourBit {
    pub(crate) shape: (usize, usize),
    /// Codes of a block.
    pub(crate) block: usize,
    /// Two codes a byte, the first in the high half.
    pub(crate) packed: Tensor,
    /// What the 16 codes stand for.
    #[cfg(feature = "cuda")]
    pub(crate) book: Tensor,
    /// The same in main memory.
    values_of_codes: [f32; 16],
    pub(crate) scales: Scales,
    /// What values are computed in.
    pub(crate) dtype: DType,
    bytes: usize,
}

/// What is known of a matrix beside its codes and scales.
pub(crate) struct Form {
    pub(crate) shape: (usize, usize),
    /// Codes of a block.
    pub(crate) block: usize,
    /// What the codes stand for.
    pub(crate) book: [f32; 16],
    /// What values are computed in.
    pub(crate) rounding: wire::model::DType,
}

/// Scales of blocks.
#[derive(Debug)]
pub(crate) enum Scales {
    /// `(blocks)`.
    Plain(Tensor),
    /// In 8 bits: `map[code] · outer + offset`.
    Nested {
        /// `(blocks)`.
        codes: Tensor,
        /// One for every 256 codes.
        outer: Tensor,
        /// `(256)`.
        map: Tensor,
        offset: f32,
    },
}

impl FourBit {
    /// A matrix, put on a device.
    pub(crate) fn new(nibbles: &Nibbles, device: &Device) -> Result<Self> {
        let packed = &nibbles.packed;
        let form = Form {
            shape: (nibbles.rows, nibbles.columns),
            block: nibbles.block,
            book: nibbles.book.values,
            rounding: nibbles.book.rounding,
        };
        let packed = Tensor::from_slice(packed, packed.len(), device)?;
        Self::of_codes(packed, &nibbles.absmax, &form)
    }

    /// A matrix whose codes are on a device.
    pub(crate) fn of_codes(packed: Tensor, absmax: &Absmax, form: &Form) -> Result<Self> {
        let device = packed.device();
        let floats = |values: &[f32]| Tensor::from_slice(values, values.len(), device);
        let bytes = |values: &[u8]| Tensor::from_slice(values, values.len(), device);
        let book = form.book;
        Ok(Self {
            shape: form.shape,
            block: form.block,
            #[cfg(feature = "cuda")]
            book: floats(&book)?,
            values_of_codes: book,
            scales: match absmax {
                Absmax::Plain(absmax) => Scales::Plain(floats(absmax)?),
                Absmax::Nested {
                    codes,
                    absmax,
                    map,
                    offset,
                } => Scales::Nested {
                    codes: bytes(codes)?,
                    outer: floats(absmax)?,
                    map: floats(map)?,
                    offset: *offset,
                },
            },
            dtype: match form.rounding {
                wire::model::DType::F32 => DType::F32,
                wire::model::DType::F16 => DType::F16,
                wire::model::DType::BF16 => DType::BF16,
            },
            bytes: packed.elem_count() + absmax.bytes(),
            packed,
        })
    }

    /// Values of some rows, `(count, in_features)`.
    fn values(&self, (start, count): (usize, usize)) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if self.packed.device().is_cuda() {
            return crate::cuda::four_bit_values(self, (start, count));
        }
        let (rows, columns) = self.shape;
        let book = self.values_of_codes;
        let pairs: Vec<f32> = (0..256)
            .flat_map(|byte| [book[byte >> 4], book[byte & 15]])
            .collect();
        // What both codes of a byte stand for, (256, 2), and of all bytes, (bytes, 2).
        let pairs = Tensor::from_vec(pairs, (256, 2), self.packed.device())?;
        let values = looked_up(&pairs, &self.packed)?.flatten_all()?;
        let values = by_blocks(&values, self.block)?;
        let values = values.broadcast_mul(&self.scales()?.unsqueeze(1)?)?;
        let values = values.flatten_all()?.narrow(0, 0, rows * columns)?;
        let values = values.reshape((rows, columns))?;
        values.narrow(0, start, count)?.to_dtype(self.dtype)
    }

    /// `(blocks)`.
    fn scales(&self) -> Result<Tensor> {
        match &self.scales {
            Scales::Plain(scales) => Ok(scales.clone()),
            Scales::Nested {
                codes,
                outer,
                map,
                offset,
            } => {
                let values = by_blocks(&looked_up(map, codes)?, NESTED_BLOCK)?;
                let values = values.broadcast_mul(&outer.unsqueeze(1)?)?.flatten_all()?;
                values.narrow(0, 0, codes.elem_count())? + f64::from(*offset)
            }
        }
    }

    /// From f32 `(tokens, in_features)` to f32 `(tokens, out_features)`.
    fn product(&self, x: &Tensor) -> Result<Tensor> {
        let (rows, columns) = self.shape;
        sliced(
            (rows, columns * self.dtype.size_in_bytes()),
            |start, count| product(x, &self.values((start, count))?),
        )
    }
}

/// Rows of a table by bytes.
fn looked_up(table: &Tensor, bytes: &Tensor) -> Result<Tensor> {
    // The largest number of a type stands for no row at all to candle, and 255 is a code.
    table.index_select(&bytes.to_dtype(DType::U32)?, 0)
}

/// Values as `(blocks, block)`, the last block filled up with zeros.
fn by_blocks(values: &Tensor, block: usize) -> Result<Tensor> {
    let count = values.elem_count();
    let missing = count.next_multiple_of(block) - count;
    let values = values.pad_with_zeros(0, 0, missing)?;
    values.reshape(((), block))
}

impl Weight for FourBit {
    fn multiply(&self, x: &Tensor) -> Result<Tensor> {
        flat_product(x, self.shape, |x| self.product(x))
    }

    #[cfg(feature = "cuda")]
    fn packed(&self) -> Option<Packed<'_>> {
        Some(Packed::FourBit(self))
    }

    fn card_dtype(&self) -> DType {
        self.dtype
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn class(&self) -> (&'static str, Option<Format>) {
        ("Linear4bit", None)
    }
}
