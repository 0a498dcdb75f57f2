//! Quantisation to 4 bits (`quantize_4bit` of bitsandbytes) and the matrices that come of it.

use candle_core::{Result, Tensor};
use rayon::prelude::*;
use wire::model::{DType, FourBitType};

use super::{
    Source,
    codes::{Bounds, code_book, dynamic_code, dynamic_map},
    mean::mean,
};
use crate::{
    kernels::{Book, Nibbles, multiply},
    layers::Weight,
};

/// Values of a block.
pub(super) const BLOCK: usize = 64;
/// Scales of a block of the second quantisation.
pub(super) const NESTED_BLOCK: usize = 256;
/// bitsandbytes divides by no less than this.
const LEAST: f32 = 1e-38;
/// Blocks that one job quantises.
const BLOCKS_PER_JOB: usize = 1024;

/// Values in 4 bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantized4 {
    /// Two codes a byte, the first in the high half.
    pub packed: Vec<u8>,
    /// Scales of the blocks.
    pub absmax: Absmax,
}

/// Scales of blocks: each the largest magnitude of its block.
#[derive(Clone, Debug, PartialEq)]
pub enum Absmax {
    /// As they are.
    Plain(Vec<f32>),
    /// Less their mean and quantised to 8 bits by the dynamic map.
    Nested {
        /// One code a block.
        codes: Vec<u8>,
        /// Scales of every 256 codes.
        absmax: Vec<f32>,
        /// The value of each code.
        map: Vec<f32>,
        /// The mean.
        offset: f32,
    },
}

impl Absmax {
    fn nest(absmax: &[f32]) -> Self {
        let offset = mean(absmax);
        let mut codes = Vec::with_capacity(absmax.len());
        let mut outer = Vec::with_capacity(absmax.len().div_ceil(NESTED_BLOCK));
        for block in absmax.chunks(NESTED_BLOCK) {
            let rest = block.iter().map(|value| value - offset);
            let largest = rest
                .clone()
                .fold(0.0, |most: f32, value| most.max(value.abs()));
            outer.push(largest);
            let inverse = 1.0 / largest;
            codes.extend(rest.map(|value| {
                if largest == 0.0 {
                    0
                } else {
                    dynamic_code(value * inverse)
                }
            }));
        }
        Self::Nested {
            codes,
            absmax: outer,
            map: dynamic_map().to_vec(),
            offset,
        }
    }

    /// The scale of a block.
    pub fn get(&self, block: usize) -> f32 {
        match self {
            Self::Plain(absmax) => absmax[block],
            Self::Nested {
                codes,
                absmax,
                map,
                offset,
            } => map[usize::from(codes[block])] * absmax[block / NESTED_BLOCK] + offset,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Plain(absmax) => absmax.len() * 4,
            Self::Nested {
                codes, absmax, map, ..
            } => codes.len() + (absmax.len() + map.len() + 1) * 4,
        }
    }
}

/// Quantises values in blocks of 64; with `double`, their scales too. Runs on all cores.
pub fn quantize_4bit(source: Source<'_>, kind: FourBitType, double: bool) -> Quantized4 {
    let (values, bounds) = (source.values(), Bounds::new(kind));
    let mut packed = vec![0; values.div_ceil(2)];
    let mut absmax = vec![0.0; values.div_ceil(BLOCK)];
    packed
        .par_chunks_mut(BLOCKS_PER_JOB * BLOCK / 2)
        .zip(absmax.par_chunks_mut(BLOCKS_PER_JOB))
        .enumerate()
        .for_each(|(job, (packed, absmax))| {
            let blocks = packed.chunks_mut(BLOCK / 2).zip(absmax);
            for (index, (packed, absmax)) in blocks.enumerate() {
                let start = (job * BLOCKS_PER_JOB + index) * BLOCK;
                let mut block = [0.0; BLOCK];
                let block = &mut block[..BLOCK.min(values - start)];
                source.read(start, block);
                *absmax = quantize_block(block, &bounds, packed);
            }
        });
    Quantized4 {
        packed,
        absmax: if double {
            Absmax::nest(&absmax)
        } else {
            Absmax::Plain(absmax)
        },
    }
}

/// Packs the codes of a block and gives its scale.
fn quantize_block(block: &mut [f32], bounds: &Bounds, packed: &mut [u8]) -> f32 {
    let mut absmax = block
        .iter()
        .fold(0.0, |most: f32, value| most.max(value.abs()));
    if block.len() == BLOCK {
        let inverse = 1.0 / absmax.max(LEAST);
        for value in &mut *block {
            *value = (*value * inverse).clamp(-1.0, 1.0);
        }
    } else {
        // The short block at the end is divided, and keeps the clamped scale.
        absmax = absmax.max(LEAST);
        for value in &mut *block {
            *value = (*value / absmax).clamp(-1.0, 1.0);
        }
    }
    let mut places = [0_u8; BLOCK];
    for bound in bounds.bounds {
        for (place, value) in places.iter_mut().zip(&*block) {
            *place += u8::from(*value > bound);
        }
    }
    // An odd end is padded with a zero.
    if block.len() % 2 == 1 {
        places[block.len()] = bounds.bounds.iter().filter(|bound| **bound < 0.0).count() as u8;
    }
    let code = |place: u8| bounds.order[usize::from(place)];
    for (byte, pair) in packed.iter_mut().zip(places.chunks_exact(2)) {
        *byte = code(pair[0]) << 4 | code(pair[1]);
    }
    absmax
}

/// A matrix in 4 bits.
#[derive(Debug)]
pub(crate) struct FourBit {
    pub nibbles: Nibbles,
    /// The type that activations and weights are rounded to before they are multiplied.
    pub compute: DType,
}

impl FourBit {
    /// Values of `(rows, columns)` quantised with blocks of `block` values.
    pub fn new(
        (rows, columns): (usize, usize),
        values: Quantized4,
        book: [f32; 16],
        block: usize,
        compute: DType,
    ) -> Self {
        Self {
            nibbles: Nibbles {
                rows,
                columns,
                block,
                book: Book {
                    values: book,
                    rounding: compute,
                },
                packed: values.packed,
                absmax: values.absmax,
            },
            compute,
        }
    }

    /// Quantises a matrix.
    pub fn quantize(
        shape: (usize, usize),
        source: Source<'_>,
        (kind, double, compute): (FourBitType, bool, DType),
    ) -> Self {
        let values = quantize_4bit(source, kind, double);
        Self::new(shape, values, code_book(kind), BLOCK, compute)
    }
}

impl Weight for FourBit {
    fn multiply(&self, x: &Tensor) -> Result<Tensor> {
        let dtype = match self.compute {
            DType::F32 => return multiply(&self.nibbles, x),
            DType::F16 => candle_core::DType::F16,
            DType::BF16 => candle_core::DType::BF16,
        };
        let rounded = |x: &Tensor| x.to_dtype(dtype)?.to_dtype(candle_core::DType::F32);
        rounded(&multiply(&self.nibbles, &rounded(x)?)?)
    }

    fn bytes(&self) -> usize {
        self.nibbles.packed.len() + self.nibbles.absmax.bytes()
    }
}
