//! The gated feed-forward layer of the llama line (Shazeer, 2020).

use candle_core::{Result, Tensor};

use super::Linear;
use crate::kernels::SiluMul;

/// `down(silu(gate(x)) * up(x))`.
#[derive(Clone, Debug)]
pub struct GatedMlp {
    /// `(hidden)` to `(intermediate)`.
    pub gate: Linear,
    /// `(hidden)` to `(intermediate)`.
    pub up: Linear,
    /// `(intermediate)` to `(hidden)`.
    pub down: Linear,
}

impl GatedMlp {
    /// From `(…, hidden)` to the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        // (…, intermediate)
        let gate = self.gate.forward(x)?;
        let up = self.up.forward(x)?;
        let gated = gate.apply_op2_no_bwd(&up, &SiluMul)?;
        self.down.forward(&gated)
    }
}
