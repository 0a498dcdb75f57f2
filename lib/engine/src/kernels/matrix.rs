//! A weight matrix in the format it is stored in, and its product with f32 activations. The matrix
//! is never unpacked as a whole: for one token each block goes through registers, for many tokens a
//! few rows at a time go through scratch and serve all of them.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::{TILE, primitives};
use crate::weights::Format;

/// Rows that one job multiplies for a single token: enough work to pay for handing it out.
const ROWS_PER_JOB: usize = 64;
/// Rows that are unpacked at once for many tokens: with rows of a few thousand values they stay in
/// the second-level cache while the tokens pass.
const ROWS_UNPACKED: usize = 16;

/// Weights of shape `(out_features, in_features)`, row by row.
#[derive(Debug)]
pub struct Matrix {
    format: Format,
    rows: usize,
    columns: usize,
    bytes: Vec<u8>,
}

impl Matrix {
    /// A matrix of packed rows. Fails when the bytes are not those of the shape.
    pub fn new(format: Format, rows: usize, columns: usize, bytes: Vec<u8>) -> Result<Self> {
        let row_bytes = format.bytes_of(columns as u64).unwrap_or(0) as usize;
        if columns == 0 || row_bytes == 0 || row_bytes.checked_mul(rows) != Some(bytes.len()) {
            bail!(
                "{} bytes are no ({rows}, {columns}) matrix of {format:?}",
                bytes.len()
            );
        }
        Ok(Self {
            format,
            rows,
            columns,
            bytes,
        })
    }

    /// Bytes that the values take.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// `x · Wᵀ`: from `(…, in_features)` to `(…, out_features)`, in f32.
    pub fn multiply(&self, x: &Tensor) -> Result<Tensor> {
        x.contiguous()?.apply_op1_no_bwd(&Product(self))
    }

    /// Unpacks one row into `out`. Fails past the last row.
    pub fn unpack_row(&self, row: usize, out: &mut [f32]) -> Result<()> {
        if row >= self.rows {
            bail!("row {row} of a matrix with {} rows", self.rows);
        }
        (primitives().unpack)(self.format, self.row(row), out);
        Ok(())
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    fn row(&self, row: usize) -> &[u8] {
        let length = self.bytes.len() / self.rows;
        &self.bytes[row * length..][..length]
    }

    fn multiply_one(&self, input: &[f32]) -> Vec<f32> {
        let dot = primitives().packed_dot;
        let mut out = vec![0.0; self.rows];
        out.par_chunks_mut(ROWS_PER_JOB).enumerate().for_each_init(
            || vec![0.0; self.columns],
            |scratch, (job, out)| {
                for (i, out) in out.iter_mut().enumerate() {
                    *out = dot(
                        self.format,
                        self.row(job * ROWS_PER_JOB + i),
                        input,
                        scratch,
                    );
                }
            },
        );
        out
    }

    fn multiply_many(&self, inputs: &[f32]) -> Vec<f32> {
        let tokens = inputs.len() / self.columns;
        // Rows on the outside, so that each job owns what it writes; turned round at the end.
        let mut turned = vec![0.0; self.rows * tokens];
        turned
            .par_chunks_mut(ROWS_UNPACKED * tokens)
            .enumerate()
            .for_each_init(
                || vec![0.0; ROWS_UNPACKED * self.columns],
                |scratch, (job, out)| {
                    let rows = out.len() / tokens;
                    let weights = &mut scratch[..rows * self.columns];
                    for (i, weights) in weights.chunks_exact_mut(self.columns).enumerate() {
                        (primitives().unpack)(
                            self.format,
                            self.row(job * ROWS_UNPACKED + i),
                            weights,
                        );
                    }
                    multiply_block(weights, inputs, self.columns, out);
                },
            );
        transpose(&turned, self.rows, tokens)
    }
}

/// `out[row][token] = weights[row] · inputs[token]`, tile by tile. A tile that reaches over the edge
/// takes the last row or token again and drops what it got twice.
fn multiply_block(weights: &[f32], inputs: &[f32], columns: usize, out: &mut [f32]) {
    let (rows, tokens) = (weights.len() / columns, inputs.len() / columns);
    let weight = |row: usize| &weights[row.min(rows - 1) * columns..][..columns];
    let input = |token: usize| &inputs[token.min(tokens - 1) * columns..][..columns];
    for token in (0..tokens).step_by(TILE.1) {
        let width = TILE.1.min(tokens - token);
        let inputs = std::array::from_fn(|j| input(token + j));
        for row in (0..rows).step_by(TILE.0) {
            let tile = (primitives().tile)(std::array::from_fn(|i| weight(row + i)), inputs);
            for (i, values) in tile.iter().enumerate().take(rows - row) {
                out[(row + i) * tokens + token..][..width].copy_from_slice(&values[..width]);
            }
        }
    }
}

/// From `(rows, columns)` to `(columns, rows)`.
fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    // Sixteen columns at a time: a cache line of `values` is used up before it is lost.
    out.par_chunks_mut(16 * rows)
        .enumerate()
        .for_each(|(job, out)| {
            let first = job * 16;
            for row in 0..rows {
                let line = &values[row * columns + first..];
                for (column, out) in out.chunks_exact_mut(rows).enumerate() {
                    out[row] = line[column];
                }
            }
        });
    out
}

struct Product<'a>(&'a Matrix);

impl CustomOp1 for Product<'_> {
    fn name(&self) -> &'static str {
        "packed-matrix-product"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let matrix = self.0;
        let mut shape = layout.dims().to_vec();
        if shape.pop() != Some(matrix.columns) {
            bail!(
                "a product with a matrix of {} columns got {:?}",
                matrix.columns,
                layout.shape()
            );
        }
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("a packed matrix takes contiguous activations");
        };
        let input = &storage.as_slice::<f32>()?[start..end];
        let out = match input.len() / matrix.columns {
            0 => Vec::new(),
            1 => matrix.multiply_one(input),
            _ => matrix.multiply_many(input),
        };
        shape.push(matrix.rows);
        Ok((CpuStorage::F32(out), Shape::from(shape)))
    }
}
