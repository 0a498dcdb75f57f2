//! A weight matrix of plain f32 as it lies in its file. A row's product takes the loop over floats that
//! attention has for keys, several rows at a time: beams read each weight once for all of them, and the
//! product is as fast as memory.

use candle_core::{Result, Tensor, bail};

use super::Weight;
use crate::{
    kernels::{FEW, Input, Lanes, Rows, multiply, primitives},
    weights::Format,
};

/// Rows of a panel.
const PANEL: usize = 16;

/// Weights of shape `(out_features, in_features)`, row by row.
#[derive(Debug)]
pub struct Dense {
    rows: usize,
    columns: usize,
    values: Vec<f32>,
}

impl Dense {
    /// A matrix of values. Fails where they are not as many as its shape says.
    pub fn new(rows: usize, columns: usize, values: Vec<f32>) -> Result<Self> {
        if columns == 0 || rows.checked_mul(columns) != Some(values.len()) {
            bail!("{} values are no ({rows}, {columns}) matrix", values.len());
        }
        Ok(Self {
            rows,
            columns,
            values,
        })
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// A row. Fails past the last one.
    pub fn row(&self, row: usize) -> Result<&[f32]> {
        if row >= self.rows {
            bail!("row {row} of a matrix with {} rows", self.rows);
        }
        Ok(&self.values[row * self.columns..][..self.columns])
    }
}

impl Rows for Dense {
    fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    fn dots(&self, first: usize, input: &Input, out: &mut [f32]) {
        let rows = &self.values[first * self.columns..][..out.len() * self.columns];
        (primitives().dots)(input.values, rows, out);
    }

    fn few(&self, first: usize, count: usize, inputs: &[Input], out: &mut [Lanes]) {
        let rows = &self.values[first * self.columns..][..count * self.columns];
        let mut vectors: [&[f32]; FEW] = [&[]; FEW];
        for (vector, input) in vectors.iter_mut().zip(inputs) {
            *vector = input.values;
        }
        (primitives().dots_of_few)(&vectors[..inputs.len()], rows, out);
    }

    fn panel(&self, first: usize, out: &mut [f32]) {
        let rows = self.values[first * self.columns..].chunks_exact(self.columns);
        let rows: Vec<&[f32]> = rows.take(PANEL).collect();
        for (block, out) in out.chunks_mut(PANEL * PANEL).enumerate() {
            let start = block * PANEL;
            let width = out.len() / PANEL;
            for (lane, row) in rows.iter().enumerate() {
                let row = &row[start..start + width];
                for (out, value) in out.chunks_exact_mut(PANEL).zip(row) {
                    out[lane] = *value;
                }
            }
        }
    }
}

impl Weight for Dense {
    fn multiply(&self, x: &Tensor) -> Result<Tensor> {
        multiply(self, x)
    }

    fn rows(&self) -> Option<&dyn Rows> {
        Some(self)
    }

    fn bytes(&self) -> usize {
        self.values.len() * 4
    }

    fn class(&self) -> (&'static str, Option<Format>) {
        ("Linear", Some(Format::F32))
    }
}
