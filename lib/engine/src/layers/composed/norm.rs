//! Norms of `kernels::norm`; of which cards have kernels of their own.

use candle_core::{D, Result, Tensor};

/// `x / √(mean(x²) + ε) · w` over the last dimension: `(…, hidden)` with a weight `(hidden)`.
pub fn root_mean_square(x: &Tensor, weight: &Tensor, epsilon: f32) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return crate::cuda::root_mean_square(x, weight, epsilon);
    }
    // (…, 1)
    let root = (x.sqr()?.mean_keepdim(D::Minus1)? + f64::from(epsilon))?.sqrt()?;
    x.broadcast_div(&root)?.broadcast_mul(weight)
}

/// `(x - mean(x)) / √(var(x) + ε) · w + b` over the last dimension: `(…, hidden)` with both `(hidden)`.
pub fn layer_norm(x: &Tensor, (weight, bias): (&Tensor, &Tensor), epsilon: f32) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return crate::cuda::layer_norm(x, (weight, bias), epsilon);
    }
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    // (…, 1)
    let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + f64::from(epsilon))?.sqrt()?;
    let normed = centred.broadcast_div(&deviation)?;
    normed.broadcast_mul(weight)?.broadcast_add(bias)
}
