//! What layers compute, by candle's own operations, on whichever device their tensors lie: what a card takes. On
//! the processor `kernels` does the same faster. Each function says nothing but which operations; the layers
//! decide by [`serves`].

mod activation;
mod attention;
mod blocks;
mod candidates;
mod eight_bit;
mod four_bit;
mod heads;
mod norm;
mod ragged;
mod rounding;
mod softmax;
mod weight;

use candle_core::{Device, Result, Tensor, bail};

pub(super) use activation::{activate, gate};
pub(super) use attention::{causal_attention, relative_attention};
pub(crate) use blocks::Blocks as BlocksOnDevice;
#[cfg(test)]
pub(crate) use candidates::ROWS;
pub(crate) use candidates::{Candidates, MOST_CANDIDATES, candidates};
pub(crate) use eight_bit::Int8 as Int8OnDevice;
#[cfg(any(feature = "cuda", test))]
pub(crate) use four_bit::Form as FourBitForm;
pub(crate) use four_bit::FourBit as FourBitOnDevice;
#[cfg(feature = "cuda")]
pub(crate) use four_bit::Scales;
pub(crate) use heads::Angles;
pub(super) use heads::heads;
pub(super) use norm::{layer_norm, root_mean_square};
pub(crate) use ragged::{Meeting, Places, Rows};
#[cfg(feature = "cuda")]
pub(crate) use softmax::{Scaling, Sight};
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

/// A product with a matrix of a shape, of all that stands before the last dimension as tokens: from
/// `(…, in_features)` to `(…, out_features)`.
fn flat_product(
    x: &Tensor,
    (rows, columns): (usize, usize),
    product: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let mut shape = x.dims().to_vec();
    match shape.last_mut() {
        Some(last) if *last == columns => *last = rows,
        _ => bail!("a ({rows}, {columns}) matrix got {:?}", x.shape()),
    }
    product(&x.reshape(((), columns))?)?.reshape(shape)
}

#[cfg(test)]
thread_local! {
    /// Computes so on the processor too, on this thread: there tests compare it with `kernels`.
    static FORCED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Runs it with layers that compute as on a card.
#[cfg(test)]
pub(crate) fn composed<T>(run: impl FnOnce() -> T) -> T {
    FORCED.set(true);
    let result = run();
    FORCED.set(false);
    result
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails says where")]
mod reader_tests;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails says where")]
mod tests;
