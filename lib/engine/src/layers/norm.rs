//! Root mean square normalisation (Zhang and Sennrich, 2019).

use candle_core::{Result, Tensor};

/// `x / √(mean(x²) + ε) · w` over the last dimension.
#[derive(Clone, Debug)]
pub struct RmsNorm {
    weight: Tensor,
    epsilon: f32,
}

impl RmsNorm {
    /// A norm of a weight `(hidden)`.
    pub fn new(weight: Tensor, epsilon: f64) -> Self {
        Self {
            weight,
            epsilon: epsilon as f32,
        }
    }

    /// From `(…, hidden)` to the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        candle_nn::ops::rms_norm(x, &self.weight, self.epsilon)
    }
}
