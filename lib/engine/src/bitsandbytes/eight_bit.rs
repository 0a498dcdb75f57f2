//! `LLM.int8()` (`int8_vectorwise_quant` and `MatMul8bitLt` of bitsandbytes): weights of 8 bits with one
//! scale a row, activations quantised token by token, and columns with outliers apart.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use half::f16;
use rayon::prelude::*;
use wire::model::DType;

use super::{Source, source::round};
use crate::{kernels::byte_products, layers::Weight, weights::Format};

/// 1/127² as bitsandbytes writes it.
const SCALE: f32 = 6.200_124e-5;
/// 1/127 as bitsandbytes writes it.
const WEIGHT_SCALE: f32 = 7.874_016e-3;
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

/// Codes of a row, and its largest magnitude.
fn quantize_row(values: &[f32], codes: &mut [i8]) -> f32 {
    let largest = values
        .iter()
        .fold(0.0, |most: f32, value| most.max(value.abs()));
    // Two roundings: torch divides a number by a tensor so.
    let inverse = largest.recip() * 127.0;
    for (code, value) in codes.iter_mut().zip(values) {
        *code = (value * inverse).round_ties_even() as i8;
    }
    largest
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
        let mut rounded = inputs.to_vec();
        for value in &mut rounded {
            *value = f16::from_f32(*value).to_f32();
        }
        let mut is_outlier = vec![false; columns];
        if threshold > 0.0 {
            for row in rounded.chunks_exact_mut(columns) {
                for (value, is_outlier) in row.iter_mut().zip(&mut is_outlier) {
                    if value.abs() >= threshold {
                        *value = 0.0;
                        *is_outlier = true;
                    }
                }
            }
        }
        let outliers: Vec<usize> = (0..columns).filter(|&column| is_outlier[column]).collect();
        let mut codes = vec![0; inputs.len()];
        let rows = rounded
            .chunks_exact(columns)
            .zip(codes.chunks_exact_mut(columns));
        let scales = rows
            .map(|(row, codes)| {
                let scale = quantize_row(row, codes);
                for &column in &outliers {
                    codes[column] = 0;
                }
                scale
            })
            .collect();
        Self {
            codes,
            scales,
            outliers,
        }
    }
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
