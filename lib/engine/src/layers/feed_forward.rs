//! Feed-forward layers: gated (Shazeer, 2020), plain, and mixtures of gated experts.

use candle_core::{Result, Tensor};
use wire::model::DType;

use super::{Experts, Linear, Normed, composed, linear::After, norm::sum};
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
    /// From `(batch, tokens, hidden)` to the same shape, added to another where there is one.
    pub fn forward<'a>(
        &self,
        x: impl Into<Normed<'a>>,
        added_to: Option<&Tensor>,
    ) -> Result<Tensor> {
        match self {
            Self::Gated(layer) => layer.forward(x, added_to),
            Self::Plain(layer) => layer.forward(x, added_to),
            Self::Experts(layer) => {
                let y = layer.forward(&x.into().whole(DType::F32)?)?;
                match added_to {
                    Some(before) => sum(before, &y),
                    None => Ok(y),
                }
            }
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
    /// From `(…, hidden)` to the same shape, added to another where there is one.
    pub fn forward<'a>(
        &self,
        x: impl Into<Normed<'a>>,
        added_to: Option<&Tensor>,
    ) -> Result<Tensor> {
        let after = After {
            sum: added_to,
            ..After::default()
        };
        self.down.forward_then(&self.gated(x.into())?, after)
    }

    /// To `(…, intermediate)`.
    fn gated(&self, x: Normed) -> Result<Tensor> {
        let how = (self.activation, self.down.takes());
        #[cfg(feature = "cuda")]
        {
            let gated = match &self.inputs {
                GateAndUp::Separate([gate, up]) => {
                    Linear::gated_on_card(&[gate, up], x, self.activation)?
                }
                GateAndUp::Fused(both) => Linear::gated_on_card(&[both], x, self.activation)?,
            };
            if let Some(gated) = gated {
                return Ok(gated);
            }
        }
        let takes = match &self.inputs {
            GateAndUp::Separate([gate, up]) => Linear::takes_all([gate, up]),
            GateAndUp::Fused(both) => both.takes(),
        };
        let x = &x.whole(takes)?;
        let whole = match &self.inputs {
            GateAndUp::Separate([gate, up]) => Linear::gated([gate, up], x, how),
            GateAndUp::Fused(both) => both.gated_by_itself(x, how),
        };
        if let Some(gated) = whole {
            return gated;
        }
        // (…, 2 * intermediate)
        let both = match &self.inputs {
            GateAndUp::Separate([gate, up]) => Linear::forward_all([gate, up], x)?,
            GateAndUp::Fused(both) => both.forward(x)?,
        };
        if composed::serves(&both) {
            return composed::gate(&both, self.activation);
        }
        both.apply_op1_no_bwd(&Gate(self.activation))
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
    /// From `(…, hidden)` to the same shape, added to another where there is one.
    pub fn forward<'a>(
        &self,
        x: impl Into<Normed<'a>>,
        added_to: Option<&Tensor>,
    ) -> Result<Tensor> {
        let x = &x.into().whole(self.up.takes())?;
        let after = After {
            activation: Some(self.activation),
            gives: self.down.takes(),
            ..After::default()
        };
        // (…, intermediate)
        let inner = self.up.forward_then(x, after)?;
        let after = After {
            sum: added_to,
            ..After::default()
        };
        self.down.forward_then(&inner, after)
    }
}
