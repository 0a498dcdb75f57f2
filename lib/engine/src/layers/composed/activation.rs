//! Activations of `kernels::gated`.

use candle_core::{D, Result, Tensor};

use crate::kernels::Activation;

/// `activation(x)`, elementwise.
pub fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::Silu => x.silu(),
        Activation::Gelu => x.gelu_erf(),
        Activation::GeluTanh => x.gelu(),
        Activation::Relu => x.relu(),
    }
}

/// From `(…, 2 * intermediate)` with the gate first to `activation(gate) * up` `(…, intermediate)`.
pub fn gate(both: &Tensor, activation: Activation) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if both.device().is_cuda() {
        return crate::cuda::gate(both, activation);
    }
    let width = both.dim(D::Minus1)? / 2;
    let gate = both.narrow(D::Minus1, 0, width)?;
    let up = both.narrow(D::Minus1, width, width)?;
    activate(&gate, activation)?.mul(&up)
}
