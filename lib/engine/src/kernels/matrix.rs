//! A weight matrix in the format of its file: plain floats or blocks of ggml. Formats that have panels
//! are kept in them, the last rows that fill none aside.

use std::borrow::Cow;

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;
use wire::model::Activations;

use super::{
    panels::{self, Lanes, PANEL},
    primitives,
    rounded::{RoundedBlock, is_exact},
    rows::{Input, Rows, multiply, panel_of_rows},
};
use crate::weights::Format;

/// Weights of shape `(out_features, in_features)`, row by row or panel by panel.
#[derive(Debug)]
pub struct Matrix {
    format: Format,
    rows: usize,
    columns: usize,
    /// Rows that lie in panels, all before the others.
    panelled: usize,
    activations: Activations,
    bytes: Vec<u8>,
}

impl Matrix {
    /// A matrix of packed rows. Fails when the bytes are not those of the shape.
    pub fn new(format: Format, rows: usize, columns: usize, mut bytes: Vec<u8>) -> Result<Self> {
        let row_bytes = format.bytes_of(columns as u64).unwrap_or(0) as usize;
        if columns == 0 || row_bytes == 0 || row_bytes.checked_mul(rows) != Some(bytes.len()) {
            bail!(
                "{} bytes are no ({rows}, {columns}) matrix of {format:?}",
                bytes.len()
            );
        }
        let panelled = match panels::heads(format) {
            Some(_) => rows - rows % PANEL,
            None => 0,
        };
        bytes[..panelled * row_bytes]
            .par_chunks_exact_mut(PANEL * row_bytes)
            .for_each_init(
                || vec![0; PANEL * row_bytes],
                |rows, panel| {
                    rows.copy_from_slice(panel);
                    panels::pack(format, rows, panel);
                },
            );
        Ok(Self {
            format,
            rows,
            columns,
            panelled,
            activations: Activations::F32,
            bytes,
        })
    }

    /// The same, with activations in this form where its rows all lie in panels.
    #[must_use]
    pub fn taking(mut self, activations: Activations) -> Self {
        self.activations = activations;
        self
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
        if row < self.panelled {
            let bytes = panels::row(self.format, self.panel_bytes(row), row % PANEL);
            (primitives().unpack)(self.format, &bytes, out);
        } else {
            (primitives().unpack)(self.format, self.row(row), out);
        }
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

    /// The panel that a row lies in.
    fn panel_bytes(&self, row: usize) -> &[u8] {
        let length = self.bytes.len() / self.rows * PANEL;
        &self.bytes[row / PANEL * length..][..length]
    }
}

impl Rows for Matrix {
    fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    fn dots(&self, first: usize, input: &Input, out: &mut [f32]) {
        let in_panels = self.panelled.saturating_sub(first).min(out.len());
        let (panelled, others) = out.split_at_mut(in_panels);
        for (index, out) in panelled.chunks_mut(PANEL).enumerate() {
            let panel = self.panel_bytes(first + index * PANEL);
            let lanes = (primitives().panel_dot)(self.format, panel, input.values, &input.sums);
            out.copy_from_slice(&lanes[..out.len()]);
        }
        if others.is_empty() {
            return;
        }
        if let Format::F32 | Format::F16 | Format::BF16 = self.format {
            let length = self.bytes.len() / self.rows;
            let rows = &self.bytes[(first + in_panels) * length..][..others.len() * length];
            (primitives().float_dots)(self.format, rows, input.values, others);
            return;
        }
        let mut scratch = vec![0.0; self.columns];
        for (index, out) in others.iter_mut().enumerate() {
            let row = self.row(first + in_panels + index);
            *out = (primitives().packed_dot)(self.format, row, input.values, &mut scratch);
        }
    }

    fn panel(&self, first: usize, out: &mut [f32]) {
        if first < self.panelled {
            (primitives().panel_unpack)(self.format, self.panel_bytes(first), out);
        } else {
            panel_of_rows((first, self.rows), out, |row, values| {
                (primitives().unpack)(self.format, self.row(row), values);
            });
        }
    }

    fn rounds_to_brain(&self) -> bool {
        self.activations == Activations::BF16 && self.format == Format::BF16 && !is_exact()
    }

    fn brain_panel(&self, first: usize, out: &mut [f32]) {
        let count = PANEL.min(self.rows - first);
        let length = self.bytes.len() / self.rows;
        let bytes = &self.bytes[first * length..][..count * length];
        // As they lie where that is a place for an f32, as it is nearly always.
        let pairs = bytemuck::try_cast_slice(bytes).map_or_else(
            |_| {
                let (pairs, _) = bytes.as_chunks::<4>();
                Cow::Owned(pairs.iter().map(|pair| f32::from_ne_bytes(*pair)).collect())
            },
            Cow::Borrowed,
        );
        (primitives().turn)(&pairs, self.columns / 2, PANEL, out);
    }

    fn rounds(&self) -> bool {
        self.activations == Activations::Int8 && self.panelled == self.rows && !is_exact()
    }

    fn rounded(&self, first: usize, inputs: &[RoundedBlock], out: &mut [Lanes]) {
        (primitives().rounded)(self.format, self.panel_bytes(first), inputs, out);
    }
}
