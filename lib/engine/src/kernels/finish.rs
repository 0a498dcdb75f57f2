//! What follows a product before its values leave the cache: a bias, rounding, a non-linearity or a gate, and a sum.
//! Apart, each would read and write all of them again.

use wire::model::DType;

use super::{
    Activation,
    gated::gate,
    panels::{Lanes, PANEL},
};
use crate::bitsandbytes::round;

/// What is done to products, in this order.
#[derive(Clone, Copy)]
pub(crate) struct Finish<'a> {
    /// Added, one value a row of the matrix.
    pub bias: Option<&'a [f32]>,
    /// The type that the sums are rounded to.
    pub rounding: DType,
    /// What the sums go through.
    pub activation: Option<Activation>,
    /// The first half of the rows goes through this and is multiplied with the second half, so that half as many
    /// are left.
    pub gate: Option<Activation>,
    /// Added to what is left, `(tokens, rows)`.
    pub sum: Option<&'a [f32]>,
    /// What it is given in.
    pub gives: DType,
}

impl Default for Finish<'_> {
    fn default() -> Self {
        Self {
            bias: None,
            rounding: DType::F32,
            activation: None,
            gate: None,
            sum: None,
            gives: DType::F32,
        }
    }
}

impl Finish<'_> {
    /// Rows that are left of so many.
    pub(super) fn left(&self, rows: usize) -> usize {
        if self.gate.is_some() { rows / 2 } else { rows }
    }

    /// Finishes a token's products with all rows, up to the gate.
    pub(super) fn row(&self, values: &mut [f32]) {
        if let Some(bias) = self.bias {
            for (value, bias) in values.iter_mut().zip(bias) {
                *value += bias;
            }
        }
        self.settle(values);
    }

    /// Finishes some tokens' products with a panel's rows, from row `first` on, up to the gate, while they lie
    /// beside each other: in the output they are apart. What rows past the last have is of no use.
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
            activation.apply(values);
        }
    }

    /// Finishes the products of some tokens, from token `first` on, with two panels, from row `row` of so many that
    /// are left on: from the gate on. What is left is in the first panel then, or in both.
    pub(super) fn pair(
        &self,
        (first, row, rows): (usize, usize, usize),
        [products, others]: [&mut [Lanes]; 2],
    ) {
        if let Some(activation) = self.gate {
            gate(
                activation,
                products.as_flattened_mut(),
                others.as_flattened(),
            );
        }
        let Some(sum) = self.sum else {
            return;
        };
        let all: &mut [&mut [Lanes]] = if self.gate.is_some() {
            &mut [products]
        } else {
            &mut [products, others]
        };
        for (panel, products) in all.iter_mut().enumerate() {
            let row = row + panel * PANEL;
            // Rows past the last, and tokens past the last, are of no use.
            let others = sum.chunks_exact(rows).skip(first);
            for (lanes, others) in products.iter_mut().zip(others) {
                let others = others.get(row..).unwrap_or_default();
                match others.first_chunk::<PANEL>() {
                    Some(others) => add(lanes, others),
                    None => add(lanes, others),
                }
            }
        }
    }

    /// From the gate on, of all tokens' products with all rows.
    pub(super) fn whole(&self, mut values: Vec<f32>, rows: usize) -> Vec<f32> {
        if let Some(activation) = self.gate {
            let mut left = Vec::with_capacity(values.len() / 2);
            for row in values.chunks_exact_mut(rows) {
                let (gates, ups) = row.split_at_mut(rows / 2);
                gate(activation, gates, ups);
                left.extend_from_slice(gates);
            }
            values = left;
        }
        add(&mut values, self.sum.unwrap_or_default());
        values
    }
}

#[inline]
fn add(values: &mut [f32], others: &[f32]) {
    for (value, other) in values.iter_mut().zip(others) {
        *value += other;
    }
}
