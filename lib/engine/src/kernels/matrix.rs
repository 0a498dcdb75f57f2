//! A weight matrix in the format of its file: plain floats or blocks of ggml.

use candle_core::{Result, Tensor, bail};

use super::{
    primitives,
    rows::{Rows, multiply},
};
use crate::weights::Format;

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

    /// How the values are stored.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Bytes that the values take.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// `x · Wᵀ`: from `(…, in_features)` to `(…, out_features)`, in f32.
    pub fn multiply(&self, x: &Tensor) -> Result<Tensor> {
        multiply(self, x)
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
}

impl Rows for Matrix {
    fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    fn dot(&self, row: usize, input: &[f32], scratch: &mut [f32]) -> f32 {
        (primitives().packed_dot)(self.format, self.row(row), input, scratch)
    }

    fn unpack(&self, row: usize, out: &mut [f32]) {
        (primitives().unpack)(self.format, self.row(row), out);
    }
}
