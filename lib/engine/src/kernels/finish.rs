//! What follows a product before its values leave the cache: a bias and a non-linearity. Apart, each would
//! read and write all of them again.

use super::{Activation, primitives};

/// What is done to products.
#[derive(Clone, Copy, Default)]
pub(crate) struct Finish<'a> {
    /// Added, one value a row of the matrix.
    pub bias: Option<&'a [f32]>,
    /// What the sums go through.
    pub activation: Option<Activation>,
}

impl Finish<'_> {
    /// Finishes a token's products with rows from `first` on.
    pub(super) fn apply(&self, first: usize, values: &mut [f32]) {
        if let Some(bias) = self.bias {
            for (value, bias) in values.iter_mut().zip(&bias[first..]) {
                *value += bias;
            }
        }
        if let Some(activation) = self.activation {
            (primitives().activate)(activation, values);
        }
    }
}
