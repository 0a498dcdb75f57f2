//! A linear layer over weights in whatever format they are stored in.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use crate::kernels::Matrix;

/// `y = x·Wᵀ + b`, with activations in f32.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Arc<Matrix>,
    bias: Option<Tensor>,
}

impl Linear {
    /// A layer of a matrix `(out_features, in_features)` and a bias `(out_features)`.
    pub(crate) fn new(weight: impl Into<Arc<Matrix>>, bias: Option<Tensor>) -> Self {
        Self {
            weight: weight.into(),
            bias,
        }
    }

    /// From `(…, in_features)` to `(…, out_features)`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.weight.multiply(x)?;
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }

    /// Bytes that the weights take.
    pub fn bytes(&self) -> usize {
        self.weight.bytes() + self.bias.as_ref().map_or(0, |bias| bias.elem_count() * 4)
    }
}
