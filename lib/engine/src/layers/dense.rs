//! A weight matrix of plain f32 as it lies in its file. A row's product takes the loop over floats that
//! attention has for keys, several rows at a time: beams read each weight once for all of them, and the
//! product is as fast as memory.

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

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
    /// Whether rows lie in panels `(columns, 16)`, those past the last zero.
    panelled: bool,
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
            panelled: false,
        })
    }

    /// The same in panels, which products with many tokens would else make at every call.
    #[must_use]
    pub fn in_panels(mut self) -> Self {
        self.values
            .resize(self.rows.next_multiple_of(PANEL) * self.columns, 0.0);
        self.values
            .par_chunks_exact_mut(PANEL * self.columns)
            .for_each_init(Vec::new, |rows, panel| {
                rows.clear();
                rows.extend_from_slice(panel);
                (primitives().turn)(rows, self.columns, PANEL, panel);
            });
        self.panelled = true;
        self
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// A row of those that are not in panels. Fails past the last one.
    pub fn row(&self, row: usize) -> Result<&[f32]> {
        if row >= self.rows || self.panelled {
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
        if !self.panelled {
            let rows = &self.values[first * self.columns..][..out.len() * self.columns];
            (primitives().dots)(input.values, rows, out);
            return;
        }
        let panels = self.values[first * self.columns..].chunks_exact(PANEL * self.columns);
        for (out, panel) in out.chunks_mut(PANEL).zip(panels) {
            let mut lanes = [[0.0; PANEL]];
            (primitives().tile)(panel, input.values, 1, &mut lanes);
            out.copy_from_slice(&lanes[0][..out.len()]);
        }
    }

    fn few(&self, first: usize, count: usize, inputs: &[Input], out: &mut [Lanes]) {
        if self.panelled {
            for (input, out) in inputs.iter().zip(out) {
                self.dots(first, input, &mut out[..count]);
            }
            return;
        }
        let rows = &self.values[first * self.columns..][..count * self.columns];
        let mut vectors: [&[f32]; FEW] = [&[]; FEW];
        for (vector, input) in vectors.iter_mut().zip(inputs) {
            *vector = input.values;
        }
        (primitives().dots_of_few)(&vectors[..inputs.len()], rows, out);
    }

    fn panel(&self, first: usize, out: &mut [f32]) {
        let values = &self.values[first * self.columns..];
        if self.panelled {
            out.copy_from_slice(&values[..out.len()]);
            return;
        }
        let count = PANEL.min(self.rows - first);
        (primitives().turn)(&values[..count * self.columns], self.columns, PANEL, out);
    }

    fn ready(&self, first: usize, count: usize) -> Option<&[f32]> {
        let size = PANEL * self.columns;
        self.panelled
            .then(|| &self.values[first * self.columns..][..count * size])
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
        self.rows * self.columns * 4
    }

    fn class(&self) -> (&'static str, Option<Format>) {
        ("Linear", Some(Format::F32))
    }
}
