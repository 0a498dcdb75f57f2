//! Quantisation to 4 bits (`quantize_4bit` of bitsandbytes) and the matrices that come of it.

use candle_core::{Result, Tensor};
use rayon::prelude::*;
use wire::model::{DType, FourBitType};

use super::{
    Source,
    codes::{bounds, code_book, dynamic_code, dynamic_map},
    mean::mean,
};
use crate::{
    kernels::{BLOCK, Book, Bounds, Nibbles, Rows, divisor, largest, multiply, primitives},
    layers::Weight,
    weights::Format,
};

/// Scales of a block of the second quantisation.
pub(super) const NESTED_BLOCK: usize = 256;
/// Such blocks that one job quantises at least.
const NESTED_PER_JOB: usize = 64;

/// Values in 4 bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantized4 {
    /// Two codes a byte, the first in the high half.
    pub packed: Vec<u8>,
    /// Scales of the blocks.
    pub absmax: Absmax,
}

/// Scales of blocks: each the largest magnitude of its block, NaN where that holds one. Nested, a NaN makes their mean
/// one, and so all of them.
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
    /// Scales of blocks in 8 bits.
    pub(crate) fn nest(absmax: &[f32]) -> Self {
        let offset = mean(absmax);
        let mut codes = vec![0; absmax.len()];
        let mut outer = vec![0.0; absmax.len().div_ceil(NESTED_BLOCK)];
        codes
            .par_chunks_mut(NESTED_BLOCK)
            .zip(absmax.par_chunks(NESTED_BLOCK))
            .zip(&mut outer)
            .with_min_len(NESTED_PER_JOB)
            .for_each(|((codes, block), largest)| {
                let rest = block.iter().map(|value| value - offset);
                *largest = rest
                    .clone()
                    .fold(0.0, |most: f32, value| most.max(value.abs()));
                if *largest > 0.0 {
                    let inverse = 1.0 / *largest;
                    for (code, value) in codes.iter_mut().zip(rest) {
                        *code = dynamic_code(value * inverse);
                    }
                }
            });
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

    /// The scales of a stretch of blocks, as [`Self::get`] gives each.
    pub fn read(&self, first: usize, out: &mut [f32]) {
        let Self::Nested {
            codes,
            absmax,
            map,
            offset,
        } = self
        else {
            for (index, out) in out.iter_mut().enumerate() {
                *out = self.get(first + index);
            }
            return;
        };
        let (mut at, mut rest) = (first, out);
        while !rest.is_empty() {
            let count = rest.len().min(NESTED_BLOCK - at % NESTED_BLOCK);
            let (part, after) = rest.split_at_mut(count);
            let scale = absmax[at / NESTED_BLOCK];
            for (out, code) in part.iter_mut().zip(&codes[at..at + count]) {
                *out = map[usize::from(*code)] * scale + offset;
            }
            (at, rest) = (at + count, after);
        }
    }

    /// Bytes that the scales take.
    pub fn bytes(&self) -> usize {
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
    let mut whole = FourBitParts::new(source.values(), kind);
    whole
        .parts()
        .par_iter_mut()
        .zip(source.parts(FourBitParts::PART))
        .for_each(|(part, source)| part.fill(source));
    whole.finish(double)
}

/// Values in the making: parts of them are quantised by themselves, in any order.
pub(crate) struct FourBitParts {
    bounds: Bounds,
    packed: Vec<u8>,
    absmax: Vec<f32>,
}

/// A stretch of whole blocks.
pub(crate) struct FourBitPart<'a> {
    bounds: &'a Bounds,
    packed: &'a mut [u8],
    absmax: &'a mut [f32],
}

impl FourBitParts {
    /// Values of a part; the last may be shorter.
    pub const PART: usize = 1024 * BLOCK;

    /// Room for this many values.
    pub fn new(values: usize, kind: FourBitType) -> Self {
        Self {
            bounds: bounds(kind),
            packed: vec![0; values.div_ceil(2)],
            absmax: vec![0.0; values.div_ceil(BLOCK)],
        }
    }

    /// The parts in order.
    pub fn parts(&mut self) -> Vec<FourBitPart<'_>> {
        let (bounds, packed) = (&self.bounds, self.packed.chunks_mut(Self::PART / 2));
        let parts = packed.zip(self.absmax.chunks_mut(Self::PART / BLOCK));
        let parts = parts.map(|(packed, absmax)| FourBitPart {
            bounds,
            packed,
            absmax,
        });
        parts.collect()
    }

    /// The whole, once all parts are filled; with `double`, its scales are quantised too.
    pub fn finish(self, double: bool) -> Quantized4 {
        Quantized4 {
            packed: self.packed,
            absmax: if double {
                Absmax::nest(&self.absmax)
            } else {
                Absmax::Plain(self.absmax)
            },
        }
    }
}

impl FourBitPart<'_> {
    /// Quantises the values of this part.
    pub fn fill(&mut self, source: Source<'_>) {
        let values = source.values();
        let blocks = self.packed.chunks_mut(BLOCK / 2).zip(&mut *self.absmax);
        for (index, (packed, absmax)) in blocks.enumerate() {
            let start = index * BLOCK;
            let mut block = [0.0; BLOCK];
            let block = &mut block[..BLOCK.min(values - start)];
            source.read(start, block);
            *absmax = quantize_block(block, self.bounds, packed);
        }
    }
}

/// Packs the codes of a block and gives its scale.
fn quantize_block(block: &mut [f32], bounds: &Bounds, packed: &mut [u8]) -> f32 {
    if let Ok(block) = (&*block).try_into() {
        return (primitives().pack_block)(block, bounds, packed);
    }
    // The short block at the end is divided, and keeps the clamped scale.
    let absmax = divisor(largest(block));
    for value in &mut *block {
        *value = (*value / absmax).clamp(-1.0, 1.0);
    }
    bounds.pack(block, packed);
    absmax
}

/// A matrix in 4 bits.
#[derive(Debug)]
pub(crate) struct FourBit {
    pub nibbles: Nibbles,
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
        }
    }

    /// A matrix that was quantised here.
    pub fn quantized(
        shape: (usize, usize),
        values: Quantized4,
        kind: FourBitType,
        compute: DType,
    ) -> Self {
        Self::new(shape, values, code_book(kind), BLOCK, compute)
    }
}

impl Weight for FourBit {
    fn multiply(&self, x: &Tensor) -> Result<Tensor> {
        multiply(&self.nibbles, x)
    }

    fn rows(&self) -> Option<&dyn Rows> {
        Some(&self.nibbles)
    }

    fn bytes(&self) -> usize {
        self.nibbles.packed.len() + self.nibbles.absmax.bytes()
    }

    fn class(&self) -> (&'static str, Option<Format>) {
        ("Linear4bit", None)
    }
}
