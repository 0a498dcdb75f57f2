//! A matrix of 4-bit codes that stand for values of a book, with a scale a block, as bitsandbytes
//! packs them: over all rows without a gap, the first of two codes in the high half of a byte.

use half::{bf16, f16};
use wire::model::DType;

use super::{
    primitives,
    rows::{Input, Rows, panel_of_rows},
};
use crate::bitsandbytes::Absmax;

/// Codes that the primitives take at once; the usual block.
const PART: usize = 64;

/// What codes stand for.
#[derive(Clone, Debug)]
pub(crate) struct Book {
    /// Values by code.
    pub values: [f32; 16],
    /// The type that a value times its scale is rounded to.
    pub rounding: DType,
}

impl Book {
    /// The values for a scale.
    pub fn scaled(&self, scale: f32) -> [f32; 16] {
        self.values.map(|value| {
            let value = value * scale;
            match self.rounding {
                DType::F32 => value,
                DType::F16 => f16::from_f32(value).to_f32(),
                DType::BF16 => bf16::from_f32(value).to_f32(),
            }
        })
    }

    /// Unpacks blocks of 64 codes with a scale each.
    pub fn unpack(&self, packed: &[u8], scales: &[f32], values: &mut [f32]) {
        let blocks = packed.chunks_exact(PART / 2).zip(scales);
        for ((packed, scale), values) in blocks.zip(values.chunks_exact_mut(PART)) {
            let table = self.scaled(*scale);
            for (byte, pair) in packed.iter().zip(values.chunks_exact_mut(2)) {
                pair[0] = table[usize::from(byte >> 4)];
                pair[1] = table[usize::from(byte & 15)];
            }
        }
    }
}

/// A matrix `(out_features, in_features)` of 4-bit codes.
#[derive(Debug)]
pub(crate) struct Nibbles {
    pub rows: usize,
    pub columns: usize,
    /// Codes that share a scale.
    pub block: usize,
    pub book: Book,
    /// Two codes a byte.
    pub packed: Vec<u8>,
    /// Scales by block.
    pub absmax: Absmax,
}

impl Nibbles {
    /// Bytes and scales of a row in parts of 64, where rows begin with a byte and parts have one scale;
    /// the scales are written to `scales`.
    fn parts(&self, row: usize, scales: &mut [f32]) -> Option<&[u8]> {
        if !self.columns.is_multiple_of(PART) || !self.block.is_multiple_of(PART) {
            return None;
        }
        let start = row * self.columns;
        for (index, scale) in scales.iter_mut().enumerate() {
            *scale = self.absmax.get((start + index * PART) / self.block);
        }
        Some(&self.packed[start / 2..][..self.columns / 2])
    }

    /// Product of a row with a vector; `scratch` is as long as the vector.
    pub fn dot(&self, row: usize, input: &[f32], scratch: &mut [f32]) -> f32 {
        let scales = &mut scratch[..self.columns / PART];
        if let Some(packed) = self.parts(row, scales) {
            return (primitives().nibbles_dot)(&self.book, packed, scales, input);
        }
        self.unpack_any(row, scratch);
        let mut product = [0.0];
        (primitives().dots)(input, scratch, &mut product);
        product[0]
    }

    /// Unpacks a row to f32.
    pub fn unpack(&self, row: usize, out: &mut [f32]) {
        let mut scales = vec![0.0; self.columns / PART];
        match self.parts(row, &mut scales) {
            Some(packed) => (primitives().nibbles_unpack)(&self.book, packed, &scales, out),
            None => self.unpack_any(row, out),
        }
    }

    fn unpack_any(&self, row: usize, out: &mut [f32]) {
        let start = row * self.columns;
        let (mut block, mut table) = (usize::MAX, [0.0; 16]);
        for (at, out) in (start..).zip(out) {
            if at / self.block != block {
                block = at / self.block;
                table = self.book.scaled(self.absmax.get(block));
            }
            let byte = self.packed[at / 2];
            let code = if at.is_multiple_of(2) {
                byte >> 4
            } else {
                byte & 15
            };
            *out = table[usize::from(code)];
        }
    }
}

impl Rows for Nibbles {
    fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    fn dots(&self, first: usize, input: &Input, out: &mut [f32]) {
        let mut scratch = vec![0.0; self.columns];
        for (index, out) in out.iter_mut().enumerate() {
            *out = self.dot(first + index, input.values, &mut scratch);
        }
    }

    fn panel(&self, first: usize, out: &mut [f32]) {
        panel_of_rows((first, self.rows), out, |row, values| {
            self.unpack(row, values);
        });
    }
}
