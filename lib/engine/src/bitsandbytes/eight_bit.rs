//! `LLM.int8()` (`int8_vectorwise_quant` and `MatMul8bitLt` of bitsandbytes): weights of 8 bits with one
//! scale a row, activations quantised token by token, and columns with outliers apart.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;
use wire::model::DType;

use super::{Source, source::round};
use crate::{
    kernels::{byte_products, largest, new_pieces, share_pieces},
    layers::Weight,
    weights::Format,
};

/// 1/127² as bitsandbytes writes it.
const SCALE: f32 = 6.200_124e-5;
/// 1/127 as bitsandbytes writes it.
const WEIGHT_SCALE: f32 = 7.874_016e-3;
/// Activations that one job quantises, about.
const ACTIVATIONS_PER_JOB: usize = 1 << 13;
/// Values that one job quantises, about.
const PART: usize = 1 << 16;

/// Quantises each row of `columns` values, rounded to f16 first; gives the codes and the rows' scales.
/// Runs on all cores.
pub fn quantize_8bit(source: Source<'_>, columns: usize) -> (Vec<i8>, Vec<f32>) {
    let rows = source.values() / columns.max(1);
    let mut whole = EightBitParts::new((rows, columns));
    let size = whole.part();
    whole
        .parts()
        .par_iter_mut()
        .zip(source.parts(size))
        .for_each(|(part, source)| part.fill(source));
    (whole.codes, whole.scales)
}

/// A matrix in the making: parts of it are quantised by themselves, in any order.
pub(crate) struct EightBitParts {
    rows: usize,
    columns: usize,
    codes: Vec<i8>,
    scales: Vec<f32>,
}

/// A stretch of whole rows.
pub(crate) struct EightBitPart<'a> {
    columns: usize,
    codes: &'a mut [i8],
    scales: &'a mut [f32],
}

impl EightBitParts {
    /// Room for a matrix.
    pub fn new((rows, columns): (usize, usize)) -> Self {
        Self {
            rows,
            columns,
            codes: vec![0; rows * columns],
            scales: vec![0.0; rows],
        }
    }

    /// Values of a part; the last may be shorter.
    pub fn part(&self) -> usize {
        self.rows_per_part() * self.columns.max(1)
    }

    fn rows_per_part(&self) -> usize {
        (PART / self.columns.max(1)).max(1)
    }

    /// The parts in order.
    pub fn parts(&mut self) -> Vec<EightBitPart<'_>> {
        let (size, rows, columns) = (self.part(), self.rows_per_part(), self.columns);
        let parts = self.codes.chunks_mut(size);
        let parts = parts.zip(self.scales.chunks_mut(rows));
        let parts = parts.map(|(codes, scales)| EightBitPart {
            columns,
            codes,
            scales,
        });
        parts.collect()
    }

    /// The whole, once all parts are filled.
    pub fn finish(self, threshold: f32) -> EightBit {
        EightBit {
            rows: self.rows,
            columns: self.columns,
            codes: self.codes,
            scales: self.scales,
            threshold,
        }
    }
}

impl EightBitPart<'_> {
    /// Quantises the values of this part.
    pub fn fill(&mut self, source: Source<'_>) {
        let mut values = vec![0.0; self.columns];
        let rows = self.codes.chunks_mut(self.columns.max(1));
        for (row, (codes, scale)) in rows.zip(&mut *self.scales).enumerate() {
            source.read(row * self.columns, &mut values);
            round(&mut values, DType::F16);
            *scale = quantize_row(&values, codes);
        }
    }
}

/// What a code stands for in a row of this scale.
pub(crate) fn unpack_8bit(code: i8, scale: f32) -> f32 {
    f32::from(code) * scale * WEIGHT_SCALE
}

/// Codes of a row, and its largest magnitude; zeros and NaN of a row that holds a NaN.
fn quantize_row(values: &[f32], codes: &mut [i8]) -> f32 {
    let largest = largest(values);
    // Two roundings: torch divides a number by a tensor so.
    let inverse = largest.recip() * 127.0;
    for (code, value) in codes.iter_mut().zip(values) {
        *code = nearest(value * inverse);
    }
    largest
}

/// `value.round_ties_even() as i8`, without calls and branches, so that vectors take it: a number that is so much
/// larger has no room for fractions.
fn nearest(value: f32) -> i8 {
    const LARGE: f32 = 1.5 * (1 << 23) as f32;
    let near = value.clamp(-128.0, 127.0) + LARGE;
    if value.is_nan() {
        0
    } else {
        near.to_bits() as i8
    }
}

/// A matrix in 8 bits.
#[derive(Debug)]
pub(crate) struct EightBit {
    pub rows: usize,
    pub columns: usize,
    pub codes: Vec<i8>,
    pub scales: Vec<f32>,
    /// Columns in which an activation is at least this large are multiplied in full; 0 for none.
    pub threshold: f32,
}

impl EightBit {
    fn product(&self, inputs: &[f32]) -> Vec<f32> {
        let input = Activations::quantize(inputs, self.columns, self.threshold);
        let shape = (self.rows, self.columns);
        byte_products(shape, &self.codes, &input.codes, &|token, row, product| {
            let scale = self.scales[row];
            let mut out = product as f32 * (input.scales[token] * scale) * SCALE;
            if !input.outliers.is_empty() {
                let codes = &self.codes[row * self.columns..][..self.columns];
                let inputs = &inputs[token * self.columns..][..self.columns];
                for &column in &input.outliers {
                    out += inputs[column] * unpack_8bit(codes[column], scale);
                }
            }
            out
        })
    }
}

/// Activations of all tokens in 8 bits.
struct Activations {
    codes: Vec<i8>,
    /// Largest magnitude of each token, outliers left out.
    scales: Vec<f32>,
    /// Columns that hold an outlier of any token; their codes are zero.
    outliers: Vec<usize>,
}

impl Activations {
    fn quantize(inputs: &[f32], columns: usize, threshold: f32) -> Self {
        let rows = (ACTIVATIONS_PER_JOB / columns).max(1);
        let part = rows * columns;
        let rounded: Vec<f32> = new_pieces(inputs.len(), part, &|job, out: &mut [f32]| {
            out.copy_from_slice(&inputs[job * part..][..out.len()]);
            round(out, DType::F16);
        });
        let outliers = outliers(&rounded, (columns, part), threshold);
        let mut scales = vec![0.0; inputs.len() / columns];
        let mut codes = vec![0; inputs.len()];
        // Each job has the scales of its rows, and their codes.
        let scales_of = Mutex::new(&mut scales);
        share_pieces(&mut codes, part, &|job, codes| {
            let mut values = rounded[job * part..][..codes.len()].to_vec();
            let mut found = Vec::with_capacity(rows);
            for (values, codes) in values
                .chunks_exact_mut(columns)
                .zip(codes.chunks_exact_mut(columns))
            {
                for &column in &outliers {
                    // Of a column with outliers what is none counts for the scale.
                    if values[column].abs() >= threshold {
                        values[column] = 0.0;
                    }
                }
                found.push(quantize_row(values, codes));
                for &column in &outliers {
                    codes[column] = 0;
                }
            }
            let mut scales = scales_of.lock().unwrap_or_else(PoisonError::into_inner);
            scales[job * rows..][..found.len()].copy_from_slice(&found);
        });
        Self {
            codes,
            scales,
            outliers,
        }
    }
}

/// Columns that hold a magnitude of the threshold or more, in parts of so many values; none of a threshold of 0.
fn outliers(values: &[f32], (columns, part): (usize, usize), threshold: f32) -> Vec<usize> {
    if threshold <= 0.0 {
        return Vec::new();
    }
    let parts = values.len().div_ceil(part);
    let found: Vec<u8> = new_pieces(parts * columns, columns, &|job, found: &mut [u8]| {
        let values = &values[job * part..values.len().min((job + 1) * part)];
        for row in values.chunks_exact(columns) {
            for (found, value) in found.iter_mut().zip(row) {
                *found |= u8::from(value.abs() >= threshold);
            }
        }
    });
    let is_outlier = |column: &usize| {
        found
            .iter()
            .skip(*column)
            .step_by(columns)
            .any(|&one| one > 0)
    };
    (0..columns).filter(is_outlier).collect()
}

struct Product<'a>(&'a EightBit);

impl CustomOp1 for Product<'_> {
    fn name(&self) -> &'static str {
        "llm-int8-product"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut shape = layout.dims().to_vec();
        let places = layout.contiguous_offsets();
        let (Some((start, end)), Some(columns)) = (places, shape.pop()) else {
            bail!("a matrix of 8 bits takes contiguous activations");
        };
        if columns != self.0.columns {
            bail!(
                "a matrix of {} columns got {columns} values",
                self.0.columns
            );
        }
        let input = &storage.as_slice::<f32>()?[start..end];
        let out = if input.is_empty() {
            Vec::new()
        } else {
            self.0.product(input)
        };
        shape.push(self.0.rows);
        Ok((CpuStorage::F32(out), Shape::from(shape)))
    }
}

impl Weight for EightBit {
    fn multiply(&self, x: &Tensor) -> Result<Tensor> {
        x.contiguous()?.apply_op1_no_bwd(&Product(self))
    }

    fn bytes(&self) -> usize {
        self.codes.len() + self.scales.len() * 4
    }

    fn class(&self) -> (&'static str, Option<Format>) {
        ("Linear8bitLt", None)
    }
}

#[cfg(test)]
mod tests {
    use wire::model::DType;

    use super::{Activations, nearest, quantize_row, round};

    /// Against the same row by row, with outliers in some parts only.
    #[test]
    fn activations_are_quantised_in_any_number_of_parts() {
        let (rows, columns) = (300, 64);
        let value = |at: usize| ((at * 7919) % 1009) as f32 / 200.0 - 2.5;
        let mut inputs: Vec<f32> = (0..rows * columns).map(value).collect();
        for at in [3 * columns + 5, 290 * columns + 60, 299 * columns + 5] {
            inputs[at] = -7.0;
        }
        for (threshold, expected) in [(6.0, vec![5, 60]), (0.0, vec![])] {
            let got = Activations::quantize(&inputs, columns, threshold);
            assert_eq!(got.outliers, expected);
            for row in 0..rows {
                let mut values = inputs[row * columns..][..columns].to_vec();
                round(&mut values, DType::F16);
                let is_outlier = |value: f32| threshold > 0.0 && value.abs() >= threshold;
                for value in &mut values {
                    *value = if is_outlier(*value) { 0.0 } else { *value };
                }
                let mut codes = vec![0; columns];
                let scale = quantize_row(&values, &mut codes);
                for column in &expected {
                    codes[*column] = 0;
                }
                assert_eq!(got.scales[row].to_bits(), scale.to_bits(), "{row}");
                assert_eq!(got.codes[row * columns..][..columns], codes, "{row}");
            }
        }
    }

    #[test]
    fn codes_are_the_nearest() {
        let steps = (-2600..2600).map(|step| step as f32 / 20.0);
        let odd = [
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            -f32::NAN,
            1e-40,
            -0.0,
        ];
        for value in steps.chain(odd).chain([f32::from_bits(0x7fc0_0055)]) {
            assert_eq!(nearest(value), value.round_ties_even() as i8, "{value}");
        }
    }
}
