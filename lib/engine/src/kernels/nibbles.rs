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
pub(super) const PART: usize = 64;
/// Codes of sixteen lanes of 32 bits.
pub(super) const SPREAD: usize = 2 * PART;

/// What codes stand for.
#[derive(Clone, Debug)]
pub(crate) struct Book {
    /// Values by code.
    pub values: [f32; 16],
    /// The type that a value times its scale is rounded to, and with it activations and products.
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
    /// Whether rows are whole parts of 64 codes: they begin with a byte, and a part has one scale.
    fn has_parts(&self) -> bool {
        self.columns.is_multiple_of(PART) && self.block.is_multiple_of(PART)
    }

    /// Bytes and scales of some rows in parts of 64.
    fn parts(&self, row: usize, rows: usize) -> (&[u8], Vec<f32>) {
        let (start, count) = (row * self.columns, rows * self.columns);
        let mut scales = vec![0.0; count / PART];
        if self.block == PART {
            self.absmax.read(start / PART, &mut scales);
        } else {
            for (index, scale) in scales.iter_mut().enumerate() {
                *scale = self.absmax.get((start + index * PART) / self.block);
            }
        }
        (&self.packed[start / 2..][..count / 2], scales)
    }

    /// Unpacks a row to f32.
    pub fn unpack(&self, row: usize, out: &mut [f32]) {
        if self.has_parts() {
            let (packed, scales) = self.parts(row, 1);
            (primitives().nibbles_unpack)(&self.book, packed, &scales, out);
        } else {
            self.unpack_any(row, out);
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
        if self.has_parts() {
            let (packed, scales) = self.parts(first, out.len());
            (primitives().nibbles_dots)(&self.book, packed, &scales, input, out);
            return;
        }
        let mut values = vec![0.0; self.columns];
        for (index, out) in out.chunks_mut(1).enumerate() {
            self.unpack_any(first + index, &mut values);
            (primitives().dots)(input.values, &values, out);
        }
    }

    fn panel(&self, first: usize, out: &mut [f32]) {
        panel_of_rows((first, self.rows), out, |row, values| {
            self.unpack(row, values);
        });
    }

    fn spreads(&self) -> bool {
        primitives().spreads && self.has_parts()
    }

    fn rounding(&self) -> DType {
        self.book.rounding
    }

    fn is_brain(&self) -> bool {
        self.book.rounding == DType::BF16
    }
}

/// Lays a vector out as the codes of sixteen lanes of 32 bits meet it, 128 at a time (the last may be short
/// of some, which are zero): first what the lowest codes of all lanes are multiplied with, then the next.
pub(super) fn spread(values: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; values.len().next_multiple_of(SPREAD)];
    for (out, values) in out.chunks_exact_mut(SPREAD).zip(values.chunks(SPREAD)) {
        for (lane, values) in values.chunks(8).enumerate() {
            for (at, value) in values.iter().enumerate() {
                // The first of two codes lies above the second.
                out[(at ^ 1) * 16 + lane] = *value;
            }
        }
    }
    out
}
