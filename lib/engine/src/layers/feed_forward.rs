//! Feed-forward layers: gated (Shazeer, 2020), plain, and mixtures of gated experts.

use candle_core::{Result, Tensor};

use super::{Experts, Linear, composed};
use crate::kernels::{Activation, Gate};

/// A feed-forward layer of any kind.
#[derive(Clone, Debug)]
pub enum FeedForward {
    /// With a gate.
    Gated(GatedMlp),
    /// Without.
    Plain(PlainMlp),
    /// Several with a router.
    Experts(Experts),
}

impl FeedForward {
    /// From `(batch, tokens, hidden)` to the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Gated(layer) => layer.forward(x),
            Self::Plain(layer) => layer.forward(x),
            Self::Experts(layer) => layer.forward(x),
        }
    }
}

/// `down(activation(gate(x)) * up(x))`.
#[derive(Clone, Debug)]
pub struct GatedMlp {
    /// From `(hidden)` to gate and up.
    pub inputs: GateAndUp,
    /// `(intermediate)` to `(hidden)`.
    pub down: Linear,
    /// What the gate goes through.
    pub activation: Activation,
}

/// The two layers on the way in, each from `(hidden)` to `(intermediate)`.
#[derive(Clone, Debug)]
pub enum GateAndUp {
    /// Gate and up.
    Separate([Linear; 2]),
    /// Both in one, the gate first.
    Fused(Linear),
}

impl GatedMlp {
    /// From `(…, hidden)` to the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        // (…, 2 * intermediate)
        let both = match &self.inputs {
            GateAndUp::Separate([gate, up]) => Linear::forward_all([gate, up], x)?,
            GateAndUp::Fused(both) => both.forward(x)?,
        };
        // (…, intermediate)
        let gated = if composed::serves(&both) {
            composed::gate(&both, self.activation)?
        } else {
            both.apply_op1_no_bwd(&Gate(self.activation))?
        };
        self.down.forward(&gated)
    }
}

/// `down(activation(up(x)))`.
#[derive(Clone, Debug)]
pub struct PlainMlp {
    /// `(hidden)` to `(intermediate)`.
    pub up: Linear,
    /// `(intermediate)` to `(hidden)`.
    pub down: Linear,
    /// What lies between.
    pub activation: Activation,
}

impl PlainMlp {
    /// From `(…, hidden)` to the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        // (…, intermediate)
        let inner = self.up.forward_then(x, self.activation)?;
        self.down.forward(&inner)
    }
}
