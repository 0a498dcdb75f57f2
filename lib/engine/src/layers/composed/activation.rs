//! Activations of `kernels::gated`.

use candle_core::{D, Result, Tensor};

use crate::kernels::{Activation, CLIP, LAPLACE, LEAK, STEEPNESS};

/// `activation(x)`, elementwise.
pub fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::Silu => x.silu(),
        Activation::Gelu => x.gelu_erf(),
        Activation::GeluTanh => x.gelu(),
        Activation::Relu => x.relu(),
        Activation::ClippedGelu => x.gelu_erf()?.clamp(-CLIP, CLIP),
        Activation::Laplace => {
            let [mean, deviation] = LAPLACE.map(f64::from);
            let scale = 1.0 / (deviation * std::f64::consts::SQRT_2);
            x.affine(scale, -mean * scale)?.erf()?.affine(0.5, 0.5)
        }
        Activation::LeakyRelu => x.maximum(&x.affine(f64::from(LEAK), 0.0)?),
        Activation::Linear => Ok(x.clone()),
        Activation::Mish => softplus(x)?.tanh()?.mul(x),
        Activation::QuickGelu => {
            // σ by silu, which is one operation: silu(y) = y·σ(y).
            let steepness = f64::from(STEEPNESS);
            x.affine(steepness, 0.0)?
                .silu()?
                .affine(1.0 / steepness, 0.0)
        }
        Activation::ReluSquared => x.relu()?.sqr(),
        Activation::Relu6 => x.clamp(0_f32, 6_f32),
        Activation::Sigmoid => (x.neg()?.exp()? + 1.0)?.recip(),
        Activation::Tanh => x.tanh(),
    }
}

/// `ln(1 + eˣ)`, which no large argument takes past what a float holds.
fn softplus(x: &Tensor) -> Result<Tensor> {
    let rest = (x.abs()?.neg()?.exp()? + 1.0)?.log()?;
    x.relu()? + rest
}

/// From `(…, 2 * intermediate)` with the gate first to `activation(gate) * up` `(…, intermediate)`.
pub fn gate(both: &Tensor, activation: Activation) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if let (true, Some(fused)) = (both.device().is_cuda(), activation.fused()) {
        return crate::cuda::gate(both, fused);
    }
    let width = both.dim(D::Minus1)? / 2;
    let gate = both.narrow(D::Minus1, 0, width)?;
    let up = both.narrow(D::Minus1, width, width)?;
    activate(&gate, activation)?.mul(&up)
}
