//! A linear layer over weights in whatever format they are stored in.

use std::{fmt::Debug, sync::Arc};

use candle_core::{Result, Tensor};

use super::composed;
use crate::{
    bitsandbytes::round,
    kernels::{Activate, Activation, Finish, Matrix, Rows, Stacked, multiply, multiply_then},
    weights::Format,
};

/// Weights `(out_features, in_features)` that can be multiplied with, however they are stored. A new
/// quantisation implements this and hands itself to [`Linear::new`].
pub(crate) trait Weight: Debug + Send + Sync {
    /// `x · Wᵀ`: from f32 `(…, in_features)` to f32 `(…, out_features)`.
    fn multiply(&self, x: &Tensor) -> Result<Tensor>;

    /// The rows, where the product is no more than theirs with the activations as they are.
    fn rows(&self) -> Option<&dyn Rows> {
        None
    }

    /// Bytes that the values take.
    fn bytes(&self) -> usize;

    /// The class that transformers has for a layer of it, and the format of values that are not
    /// bitsandbytes'.
    fn class(&self) -> (&'static str, Option<Format>);
}

impl Weight for Matrix {
    fn multiply(&self, x: &Tensor) -> Result<Tensor> {
        self.multiply(x)
    }

    fn rows(&self) -> Option<&dyn Rows> {
        Some(self)
    }

    fn bytes(&self) -> usize {
        self.bytes()
    }

    fn class(&self) -> (&'static str, Option<Format>) {
        ("Linear", Some(self.format()))
    }
}

/// `y = x·Wᵀ + b`, with activations in f32.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Arc<dyn Weight>,
    bias: Option<Tensor>,
}

impl Linear {
    /// A layer of weights `(out_features, in_features)` and a bias `(out_features)`.
    pub(crate) fn new(weight: Arc<dyn Weight>, bias: Option<Tensor>) -> Self {
        Self { weight, bias }
    }

    /// From `(…, in_features)` to `(…, out_features)`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.finished(x, None)
    }

    /// The same, through a non-linearity.
    pub(crate) fn forward_then(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        self.finished(x, Some(activation))
    }

    fn finished(&self, x: &Tensor, activation: Option<Activation>) -> Result<Tensor> {
        if let Some(rows) = self.weight.rows() {
            let mut bias = self.bias.as_ref().map(Tensor::to_vec1).transpose()?;
            if let Some(bias) = &mut bias {
                round(bias, rows.rounding());
            }
            let finish = Finish {
                bias: bias.as_deref(),
                activation,
                ..Finish::default()
            };
            return multiply_then(rows, x, finish);
        }
        let mut y = self.weight.multiply(x)?;
        if let Some(bias) = &self.bias {
            y = y.broadcast_add(bias)?;
        }
        match activation {
            Some(activation) if composed::serves(&y) => composed::activate(&y, activation),
            Some(activation) => y.apply_op1_no_bwd(&Activate(activation)),
            None => Ok(y),
        }
    }

    /// What several layers make of one input, side by side: from `(…, in_features)` to `(…, the sum of
    /// their out_features)`. One product where weights allow it: each token is handed out once.
    pub(crate) fn forward_all<const COUNT: usize>(
        layers: [&Self; COUNT],
        x: &Tensor,
    ) -> Result<Tensor> {
        let rows: Option<Vec<_>> = layers.iter().map(|layer| layer.weight.rows()).collect();
        let Some(stacked) = rows.and_then(Stacked::of) else {
            let parts = layers.map(|layer| layer.forward(x));
            let parts: Vec<Tensor> = parts.into_iter().collect::<Result<_>>()?;
            return Tensor::cat(&parts, x.rank() - 1);
        };
        if layers.iter().all(|layer| layer.bias.is_none()) {
            return multiply(&stacked, x);
        }
        let biases = layers.iter().map(|layer| {
            if let Some(bias) = &layer.bias {
                return bias.to_vec1();
            }
            let size = layer.weight.rows().map_or(0, |rows| rows.shape().0);
            Ok(vec![0.0; size])
        });
        let mut bias: Vec<f32> = biases.collect::<Result<Vec<_>>>()?.concat();
        round(&mut bias, stacked.rounding());
        let finish = Finish {
            bias: Some(&bias),
            ..Finish::default()
        };
        multiply_then(&stacked, x, finish)
    }

    /// The class that transformers has for it, and the format of plain or packed values.
    pub(crate) fn class(&self) -> (&'static str, Option<Format>) {
        self.weight.class()
    }

    /// Whether it adds a bias.
    pub(crate) fn has_bias(&self) -> bool {
        self.bias.is_some()
    }

    /// Bytes that the weights take.
    pub fn bytes(&self) -> usize {
        self.weight.bytes() + self.bias.as_ref().map_or(0, |bias| bias.elem_count() * 4)
    }
}
