//! What layers compute, by candle's own operations, on whichever device their tensors lie: what a card takes. On
//! the processor `kernels` does the same faster. Each function says nothing but which operations; the layers
//! decide by [`serves`].

mod activation;
mod attention;
mod four_bit;
mod heads;
mod norm;
mod weight;

use candle_core::{Device, Tensor};

pub(super) use activation::{activate, gate};
pub(super) use attention::causal_attention;
pub(crate) use four_bit::FourBit as FourBitOnDevice;
#[cfg(feature = "cuda")]
pub(crate) use four_bit::Scales;
pub(super) use heads::{Angles, heads};
pub(super) use norm::{layer_norm, root_mean_square};
pub(crate) use weight::Plain;

/// Whether layers compute of this tensor by what is here.
pub(crate) fn serves(x: &Tensor) -> bool {
    serves_on(x.device())
}

/// The same of all tensors on a device.
pub(crate) fn serves_on(device: &Device) -> bool {
    #[cfg(test)]
    if FORCED.get() {
        return true;
    }
    !device.is_cpu()
}

#[cfg(test)]
thread_local! {
    /// Computes so on the processor too, on this thread: there tests compare it with `kernels`.
    pub(crate) static FORCED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails says where")]
mod tests;
