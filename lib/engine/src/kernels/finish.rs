//! What follows a product before its values leave the cache: a bias, rounding and a non-linearity. Apart, each
//! would read and write all of them again.

use wire::model::DType;

use super::{
    Activation,
    panels::{Lanes, PANEL},
    primitives,
};
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
    /// Finishes a token's products with all rows.
    pub(super) fn row(&self, values: &mut [f32]) {
        if let Some(bias) = self.bias {
            for (value, bias) in values.iter_mut().zip(bias) {
                *value += bias;
            }
        }
        self.settle(values);
    }

    /// Finishes some tokens' products with a panel's rows, from row `first` on, while they lie beside each
    /// other: in the output they are apart. What rows past the last have is of no use.
    pub(super) fn lanes(&self, first: usize, products: &mut [Lanes]) {
        if let Some(bias) = self.bias {
            let bias = &bias[first..];
            let mut lanes = [0.0; PANEL];
            let count = bias.len().min(PANEL);
            lanes[..count].copy_from_slice(&bias[..count]);
            for product in products.iter_mut() {
                for (value, bias) in product.iter_mut().zip(&lanes) {
                    *value += bias;
                }
            }
        }
        self.settle(products.as_flattened_mut());
    }

    /// What no longer depends on the row.
    fn settle(&self, values: &mut [f32]) {
        round(values, self.rounding);
        if let Some(activation) = self.activation {
            (primitives().activate)(activation, values);
        }
    }
}
