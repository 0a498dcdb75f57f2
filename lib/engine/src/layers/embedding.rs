//! A table of token vectors, unpacked row by row as tokens come.

use std::sync::Arc;

use candle_core::{Device, Result, Tensor};

use super::Linear;
use crate::kernels::Matrix;

/// Vectors of shape `(vocabulary, hidden)`.
#[derive(Clone, Debug)]
pub struct Embedding(Arc<Matrix>);

impl Embedding {
    /// An embedding of a matrix `(vocabulary, hidden)`.
    pub(crate) fn new(weight: Matrix) -> Self {
        Self(Arc::new(weight))
    }

    /// The vectors of tokens, `(1, tokens, hidden)`. Fails on an id past the table.
    pub fn forward(&self, ids: &[u32]) -> Result<Tensor> {
        let hidden = self.0.columns();
        let mut values = vec![0.0; ids.len() * hidden];
        for (&id, row) in ids.iter().zip(values.chunks_exact_mut(hidden)) {
            self.0.unpack_row(id as usize, row)?;
        }
        Tensor::from_vec(values, (1, ids.len(), hidden), &Device::Cpu)
    }

    /// The output layer of a model whose head is tied to this table.
    pub fn tied_head(&self) -> Linear {
        Linear::new(Arc::<Matrix>::clone(&self.0), None)
    }

    /// Bytes that the table takes.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }
}
