//! Products of packed matrices with f32 activations, whatever a row is packed by. The matrix is never
//! unpacked as a whole: for one token each block goes through registers, for many tokens a few rows at
//! a time go through scratch and serve all of them.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::{TILE, primitives};

/// Rows that one job multiplies for a single token: enough work to pay for handing it out.
const ROWS_PER_JOB: usize = 64;
/// Rows that are unpacked at once for many tokens: with rows of a few thousand values they stay in
/// the second-level cache while the tokens pass.
const ROWS_UNPACKED: usize = 16;

/// A matrix `(out_features, in_features)` of packed rows.
pub(crate) trait Rows: Sync {
    /// Rows and columns.
    fn shape(&self) -> (usize, usize);

    /// Product of a row with a vector; `scratch` is as long as the vector.
    fn dot(&self, row: usize, input: &[f32], scratch: &mut [f32]) -> f32;

    /// Unpacks a row to f32.
    fn unpack(&self, row: usize, out: &mut [f32]);
}

/// `x · Wᵀ`: from `(…, in_features)` to `(…, out_features)`, in f32.
pub(crate) fn multiply(matrix: &impl Rows, x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1_no_bwd(&Product(matrix))
}

fn multiply_one(matrix: &impl Rows, input: &[f32]) -> Vec<f32> {
    let (rows, columns) = matrix.shape();
    let mut out = vec![0.0; rows];
    out.par_chunks_mut(ROWS_PER_JOB).enumerate().for_each_init(
        || vec![0.0; columns],
        |scratch, (job, out)| {
            for (i, out) in out.iter_mut().enumerate() {
                *out = matrix.dot(job * ROWS_PER_JOB + i, input, scratch);
            }
        },
    );
    out
}

fn multiply_many(matrix: &impl Rows, inputs: &[f32]) -> Vec<f32> {
    let (rows, columns) = matrix.shape();
    let tokens = inputs.len() / columns;
    // Rows on the outside, so that each job owns what it writes; turned round at the end.
    let mut turned = vec![0.0; rows * tokens];
    turned
        .par_chunks_mut(ROWS_UNPACKED * tokens)
        .enumerate()
        .for_each_init(
            || vec![0.0; ROWS_UNPACKED * columns],
            |scratch, (job, out)| {
                let weights = &mut scratch[..out.len() / tokens * columns];
                for (i, weights) in weights.chunks_exact_mut(columns).enumerate() {
                    matrix.unpack(job * ROWS_UNPACKED + i, weights);
                }
                multiply_block(weights, inputs, columns, out);
            },
        );
    transpose(&turned, rows, tokens)
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

struct Product<'a, R>(&'a R);

impl<R: Rows> CustomOp1 for Product<'_, R> {
    fn name(&self) -> &'static str {
        "packed-matrix-product"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, columns) = self.0.shape();
        let mut shape = layout.dims().to_vec();
        if shape.pop() != Some(columns) {
            bail!(
                "a product with a matrix of {} columns got {:?}",
                columns,
                layout.shape()
            );
        }
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("a packed matrix takes contiguous activations");
        };
        let input = &storage.as_slice::<f32>()?[start..end];
        let out = match input.len() / columns {
            0 => Vec::new(),
            1 => multiply_one(self.0, input),
            _ => multiply_many(self.0, input),
        };
        shape.push(rows);
        Ok((CpuStorage::F32(out), Shape::from(shape)))
    }
}
