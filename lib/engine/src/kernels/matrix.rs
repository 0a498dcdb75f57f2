//! A weight matrix in the format of its file: plain floats or blocks of ggml. Formats that have panels
//! are kept in them, the last rows that fill none aside; brain floats with all rows.

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;
use wire::model::Activations;

use super::{
    FEW, brain,
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
    /// Whether these are panels of brain floats, the last one filled up with zeros.
    has_pairs: bool,
    /// Where the first panel or row begins.
    start: usize,
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
        if format == Format::BF16 && columns.is_multiple_of(2) {
            let start = brain::pack(&mut bytes, columns);
            return Ok(Self {
                format,
                rows,
                columns,
                panelled: rows,
                has_pairs: true,
                start,
                activations: Activations::F32,
                bytes,
            });
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
            has_pairs: false,
            start: 0,
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
        self.rows * self.row_bytes()
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
        if self.has_pairs {
            brain::unpack_row(self.panel_bytes(row), row % PANEL, out);
        } else if row < self.panelled {
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

    /// Bytes that a row takes, wherever they lie.
    fn row_bytes(&self) -> usize {
        self.columns / self.format.block_values() * self.format.block_bytes()
    }

    /// A row outside panels.
    fn row(&self, row: usize) -> &[u8] {
        let length = self.row_bytes();
        &self.bytes[row * length..][..length]
    }

    /// The panel that a row lies in.
    fn panel_bytes(&self, row: usize) -> &[u8] {
        let length = self.row_bytes() * PANEL;
        &self.bytes[self.start + row / PANEL * length..][..length]
    }
}

impl Rows for Matrix {
    fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    fn dots(&self, first: usize, input: &Input, out: &mut [f32]) {
        if self.has_pairs {
            for (index, out) in out.chunks_mut(PANEL).enumerate() {
                let mut lanes = [[0.0; PANEL]];
                let panel = self.panel_bytes(first + index * PANEL);
                (primitives().brain_dots)(panel, &[input.values], &mut lanes);
                out.copy_from_slice(&lanes[0][..out.len()]);
            }
            return;
        }
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
            let length = self.row_bytes();
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

    fn few(&self, first: usize, count: usize, inputs: &[Input], out: &mut [Lanes]) {
        if !self.has_pairs {
            for (input, out) in inputs.iter().zip(out) {
                self.dots(first, input, &mut out[..count]);
            }
            return;
        }
        let mut vectors: [&[f32]; FEW] = [&[]; FEW];
        for (vector, input) in vectors.iter_mut().zip(inputs) {
            *vector = input.values;
        }
        (primitives().brain_dots)(self.panel_bytes(first), &vectors[..inputs.len()], out);
    }

    fn panel(&self, first: usize, out: &mut [f32]) {
        if self.has_pairs {
            (primitives().brain_unpack)(self.panel_bytes(first), out);
        } else if first < self.panelled {
            (primitives().panel_unpack)(self.format, self.panel_bytes(first), out);
        } else {
            panel_of_rows((first, self.rows), out, |row, values| {
                (primitives().unpack)(self.format, self.row(row), values);
            });
        }
    }

    fn rounds_to_brain(&self) -> bool {
        self.activations == Activations::BF16 && self.is_brain() && !is_exact()
    }

    fn is_brain(&self) -> bool {
        self.format == Format::BF16
    }

    fn brain(&self, first: usize, count: usize) -> Option<&[f32]> {
        let length = self.row_bytes() * PANEL;
        let start = self.start + first / PANEL * length;
        let panels = self
            .has_pairs
            .then(|| &self.bytes[start..][..count * length])?;
        bytemuck::try_cast_slice(panels).ok()
    }

    fn rounds(&self) -> bool {
        let has_codes = panels::heads(self.format).is_some() && self.panelled == self.rows;
        self.activations == Activations::Int8 && has_codes && !is_exact()
    }

    fn rounded(&self, first: usize, inputs: &[RoundedBlock], out: &mut [Lanes]) {
        (primitives().rounded)(self.format, self.panel_bytes(first), inputs, out);
    }
}
