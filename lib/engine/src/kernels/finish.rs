//! What follows a product before its values leave the cache: a bias, rounding and a non-linearity. Apart, each
//! would read and write all of them again.

use wire::model::DType;

use super::{Activation, primitives};
use crate::bitsandbytes::round;

/// What is done to products.
#[derive(Clone, Copy)]
pub(crate) struct Finish<'a> {
    /// Added, one value a row of the matrix.
    pub bias: Option<&'a [f32]>,
    /// The type that the sums are rounded to.
    pub rounding: DType,
    /// What the sums go through.
    pub activation: Option<Activation>,
}

impl Default for Finish<'_> {
    fn default() -> Self {
        Self {
            bias: None,
            rounding: DType::F32,
            activation: None,
        }
    }
}

impl Finish<'_> {
    /// Finishes a token's products with rows from `first` on.
    pub(super) fn apply(&self, first: usize, values: &mut [f32]) {
        if let Some(bias) = self.bias {
            for (value, bias) in values.iter_mut().zip(&bias[first..]) {
                *value += bias;
            }
        }
        round(values, self.rounding);
        if let Some(activation) = self.activation {
            (primitives().activate)(activation, values);
        }
    }
}
