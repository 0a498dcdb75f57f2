//! A table of token vectors, unpacked row by row as tokens come.

use std::sync::Arc;

use candle_core::{Device, Result, Tensor};

use super::{Dense, Linear, Weight};
use crate::kernels::Matrix;

/// Vectors of shape `(vocabulary, hidden)`.
#[derive(Clone, Debug)]
pub struct Embedding(Table);

#[derive(Clone, Debug)]
enum Table {
    Packed(Arc<Matrix>),
    Dense(Arc<Dense>),
}

impl Embedding {
    /// An embedding of a matrix `(vocabulary, hidden)`.
    pub(crate) fn new(weight: Matrix) -> Self {
        Self(Table::Packed(Arc::new(weight)))
    }

    /// The same of plain f32.
    pub(crate) fn dense(weight: Dense) -> Self {
        Self(Table::Dense(Arc::new(weight)))
    }

    /// The vectors of tokens, `(1, tokens, hidden)`. Fails on an id past the table.
    pub fn forward(&self, ids: &[u32]) -> Result<Tensor> {
        let hidden = match &self.0 {
            Table::Packed(matrix) => matrix.columns(),
            Table::Dense(matrix) => matrix.columns(),
        };
        let mut values = vec![0.0; ids.len() * hidden];
        for (&id, row) in ids.iter().zip(values.chunks_exact_mut(hidden)) {
            match &self.0 {
                Table::Packed(matrix) => matrix.unpack_row(id as usize, row)?,
                Table::Dense(matrix) => row.copy_from_slice(matrix.row(id as usize)?),
            }
        }
        Tensor::from_vec(values, (1, ids.len(), hidden), &Device::Cpu)
    }

    /// The output layer of a model whose head is tied to this table.
    pub fn tied_head(&self) -> Linear {
        match &self.0 {
            Table::Packed(matrix) => Linear::new(Arc::<Matrix>::clone(matrix), None),
            Table::Dense(matrix) => Linear::new(Arc::<Dense>::clone(matrix), None),
        }
    }

    /// Bytes that the table takes.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Table::Packed(matrix) => matrix.bytes(),
            Table::Dense(matrix) => Weight::bytes(matrix.as_ref()),
        }
    }
}
