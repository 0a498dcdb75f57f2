//! A linear layer over weights in whatever format they are stored in.

use std::{fmt::Debug, sync::Arc};

use candle_core::{Result, Tensor};
use wire::model::DType;

#[cfg(feature = "cuda")]
use super::{BlocksOnDevice, FourBitOnDevice};
use super::{Normed, composed, norm::sum};
use crate::{
    bitsandbytes::round,
    kernels::{
        Activate, Activation, Finish, Matrix, PANEL, Rows, Stacked, input_dtype, multiply,
        multiply_adding, multiply_then,
    },
    weights::Format,
};
#[cfg(feature = "cuda")]
use crate::{cuda::Around, kernels::Fused};

/// Weights `(out_features, in_features)` that can be multiplied with, however they are stored. A new
/// quantisation implements this and hands itself to [`Linear::new`].
pub(crate) trait Weight: Debug + Send + Sync {
    /// `x · Wᵀ`: from f32 `(…, in_features)` to f32 `(…, out_features)`.
    fn multiply(&self, x: &Tensor) -> Result<Tensor>;

    /// The rows, where the product is no more than theirs with the activations as they are.
    fn rows(&self) -> Option<&dyn Rows> {
        None
    }

    /// What kernels of a card multiply some tokens with, where there are any.
    #[cfg(feature = "cuda")]
    fn packed(&self) -> Option<Packed<'_>> {
        None
    }

    /// What a card computes products of many tokens in.
    fn card_dtype(&self) -> candle_core::DType {
        candle_core::DType::F32
    }

    /// Bytes that the values take.
    fn bytes(&self) -> usize;

    /// The class that transformers has for a layer of it, and the format of values that are not
    /// bitsandbytes'.
    fn class(&self) -> (&'static str, Option<Format>);
}

/// Weights that kernels of a card multiply some tokens with as they lie.
#[cfg(feature = "cuda")]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Packed<'a> {
    /// In 4 bits as bitsandbytes has them.
    FourBit(&'a FourBitOnDevice),
    /// In blocks of ggml.
    Blocks(&'a BlocksOnDevice),
    /// Plain floats `(out_features, in_features)`.
    Floats(&'a Tensor),
}

impl Weight for Matrix {
    fn multiply(&self, x: &Tensor) -> Result<Tensor> {
        self.multiply(x)
    }

    fn rows(&self) -> Option<&dyn Rows> {
        Some(self)
    }

    fn bytes(&self) -> usize {
        self.bytes()
    }

    fn class(&self) -> (&'static str, Option<Format>) {
        ("Linear", Some(self.format()))
    }
}

/// What follows on a layer.
#[derive(Clone, Copy)]
pub(crate) struct After<'a> {
    /// What its output goes through.
    pub activation: Option<Activation>,
    /// Added to it; of its shape.
    pub sum: Option<&'a Tensor>,
    /// What it is given in, where products give anything but f32.
    pub gives: DType,
}

impl Default for After<'_> {
    fn default() -> Self {
        Self {
            activation: None,
            sum: None,
            gives: DType::F32,
        }
    }
}

/// `y = x·Wᵀ + b`, with activations in f32, or in what [`Linear::takes`] says.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Arc<dyn Weight>,
    bias: Option<Tensor>,
}

impl Linear {
    /// A layer of weights `(out_features, in_features)` and a bias `(out_features)`.
    pub(crate) fn new(weight: Arc<dyn Weight>, bias: Option<Tensor>) -> Self {
        Self { weight, bias }
    }

    /// From `(…, in_features)` to `(…, out_features)`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_then(x, After::default())
    }

    /// The same, and what follows on it.
    pub(crate) fn forward_then(&self, x: &Tensor, after: After) -> Result<Tensor> {
        if let Some(rows) = self.weight.rows() {
            let mut bias = self.bias.as_ref().map(Tensor::to_vec1).transpose()?;
            if let Some(bias) = &mut bias {
                round(bias, rows.rounding());
            }
            let finish = Finish {
                bias: bias.as_deref(),
                activation: after.activation,
                gives: after.gives,
                ..Finish::default()
            };
            return multiply_adding(rows, x, finish, after.sum);
        }
        #[cfg(feature = "cuda")]
        {
            let added = after.sum.filter(|_| after.activation.is_none());
            if let Some(y) = put_all(&[self], x.into(), (added, None))? {
                let sum = after.sum.filter(|_| added.is_none());
                return followed(y, After { sum, ..after });
            }
        }
        let mut y = self.weight.multiply(x)?;
        if let Some(bias) = &self.bias {
            y = y.broadcast_add(bias)?;
        }
        followed(y, after)
    }

    /// What a card computes products of many tokens in.
    pub(crate) fn card_dtype(&self) -> candle_core::DType {
        self.weight.card_dtype()
    }

    /// What it takes activations in: bf16 where it would round them to that, f32 everywhere else.
    pub(crate) fn takes(&self) -> DType {
        match self.weight.rows().map(input_dtype) {
            Some(DType::BF16) => DType::BF16,
            _ => DType::F32,
        }
    }

    /// The same of several layers.
    pub(crate) fn takes_all<const COUNT: usize>(layers: [&Self; COUNT]) -> DType {
        let mut takes = layers.iter().map(|layer| layer.takes());
        match takes.next() {
            Some(first) if takes.all(|other| other == first) => first,
            _ => DType::F32,
        }
    }

    /// What the second layer makes of an input times a non-linearity of what the first does, where one product
    /// does both: from `(…, in_features)` to `(…, out_features)`.
    pub(crate) fn gated(
        layers: [&Self; 2],
        x: &Tensor,
        (activation, gives): (Activation, DType),
    ) -> Option<Result<Tensor>> {
        let rows: Option<Vec<_>> = layers.iter().map(|layer| layer.weight.rows()).collect();
        let rows = rows.filter(|_| layers.iter().all(|layer| layer.bias.is_none()))?;
        let is_even = rows[0].shape() == rows[1].shape();
        let stacked = is_even.then(|| Stacked::of(rows)).flatten()?;
        Some(gated(&stacked, x, (activation, gives)))
    }

    /// The same by a card, with the norm before them; of one layer or of two, `None` where it has no kernels for them or for
    /// the activation.
    #[cfg(feature = "cuda")]
    pub(crate) fn gated_on_card(
        layers: &[&Self],
        x: Normed,
        activation: Activation,
    ) -> Result<Option<Tensor>> {
        match activation.fused() {
            Some(fused) => put_all(layers, x, (None, Some(fused))),
            None => Ok(None),
        }
    }

    /// The same of one layer whose rows are those of both.
    pub(crate) fn gated_by_itself(
        &self,
        x: &Tensor,
        (activation, gives): (Activation, DType),
    ) -> Option<Result<Tensor>> {
        let rows = self.weight.rows().filter(|_| self.bias.is_none())?;
        let is_even = rows.shape().0.is_multiple_of(2 * PANEL);
        is_even.then(|| gated(rows, x, (activation, gives)))
    }

    /// What several layers make of one input, side by side: from `(…, in_features)` to `(…, the sum of
    /// their out_features)`. One product where weights allow it: each token is handed out once.
    pub(crate) fn forward_all<'a, const COUNT: usize>(
        layers: [&Self; COUNT],
        x: impl Into<Normed<'a>>,
    ) -> Result<Tensor> {
        let x = x.into();
        #[cfg(feature = "cuda")]
        if let Some(all) = put_all(&layers, x, (None, None))? {
            return Ok(all);
        }
        let x = &x.whole(Self::takes_all(layers))?;
        let rows: Option<Vec<_>> = layers.iter().map(|layer| layer.weight.rows()).collect();
        let Some(stacked) = rows.and_then(Stacked::of) else {
            let parts = layers.map(|layer| layer.forward(x));
            let parts: Vec<Tensor> = parts.into_iter().collect::<Result<_>>()?;
            return Tensor::cat(&parts, x.rank() - 1);
        };
        if layers.iter().all(|layer| layer.bias.is_none()) {
            return multiply(&stacked, x);
        }
        let biases = layers.iter().map(|layer| {
            if let Some(bias) = &layer.bias {
                return bias.to_vec1();
            }
            let size = layer.weight.rows().map_or(0, |rows| rows.shape().0);
            Ok(vec![0.0; size])
        });
        let mut bias: Vec<f32> = biases.collect::<Result<Vec<_>>>()?.concat();
        round(&mut bias, stacked.rounding());
        let finish = Finish {
            bias: Some(&bias),
            ..Finish::default()
        };
        multiply_then(&stacked, x, finish)
    }

    /// The class that transformers has for it, and the format of plain or packed values.
    pub(crate) fn class(&self) -> (&'static str, Option<Format>) {
        self.weight.class()
    }

    /// Whether it adds a bias.
    pub(crate) fn has_bias(&self) -> bool {
        self.bias.is_some()
    }

    /// Bytes that the weights take.
    pub fn bytes(&self) -> usize {
        self.weight.bytes() + self.bias.as_ref().map_or(0, |bias| bias.elem_count() * 4)
    }
}

/// What layers make of one input, side by side, `(…, the sum of their out_features)`, added to another of that shape, or
/// with the first half multiplying the second through a gate, where a card has kernels for it; `None` elsewhere.
#[cfg(feature = "cuda")]
fn put_all(
    layers: &[&Linear],
    Normed { x, norm }: Normed,
    (added, gate): (Option<&Tensor>, Option<Fused>),
) -> Result<Option<Tensor>> {
    let mut shape = x.dims().to_vec();
    let Some(last) = shape.last_mut().filter(|_| x.device().is_cuda()) else {
        return Ok(None);
    };
    let parts = layers.iter();
    let parts = parts.map(|layer| Some((layer.weight.packed()?, layer.bias.as_ref())));
    let Some(parts) = parts.collect::<Option<Vec<_>>>() else {
        return Ok(None);
    };
    let x = x.reshape(((), *last))?;
    let added = added
        .map(|added| added.reshape((x.dim(0)?, ())))
        .transpose()?;
    let around = Around {
        norm,
        added: added.as_ref(),
        gate,
    };
    let Some(all) = crate::cuda::put_all(&parts, &x, around)? else {
        return Ok(None);
    };
    *last = all.dim(1)?;
    all.reshape(shape).map(Some)
}

/// An output through what follows on it.
fn followed(mut y: Tensor, after: After) -> Result<Tensor> {
    if let Some(activation) = after.activation {
        y = activate(&y, activation)?;
    }
    match after.sum {
        Some(x) => sum(x, &y),
        None => Ok(y),
    }
}

/// `activation(x)`, elementwise.
pub(crate) fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    if composed::serves(x) {
        return composed::activate(x, activation);
    }
    x.apply_op1_no_bwd(&Activate(activation))
}

fn gated(rows: &dyn Rows, x: &Tensor, (activation, gives): (Activation, DType)) -> Result<Tensor> {
    let finish = Finish {
        gate: Some(activation),
        gives,
        ..Finish::default()
    };
    multiply_then(rows, x, finish)
}
