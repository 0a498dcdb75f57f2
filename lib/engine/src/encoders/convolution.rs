//! The convolution of `DeBERTa` v2: what neighbours of each token give, beside the first layer's output.
//! `ConvLayer` of `modeling_deberta_v2.py`.

use candle_core::{Result, Tensor};

use super::{heads::activate, plan::HeadActivation};
use crate::layers::{Activation, LayerNorm};

/// A convolution over the tokens of a row.
#[derive(Debug)]
pub struct ConvolutionLayer {
    /// `(hidden, hidden / groups, width)`.
    pub kernel: Tensor,
    /// `(hidden)`.
    pub bias: Tensor,
    pub groups: usize,
    pub activation: HeadActivation,
    /// The encoder's own activation.
    pub own: Activation,
    pub norm: LayerNorm,
}

impl ConvolutionLayer {
    /// Of what goes into the first layer and what comes out, each `(1, tokens, hidden)`; to the same.
    pub fn forward(&self, input: &Tensor, output: &Tensor, lengths: &[usize]) -> Result<Tensor> {
        let width = self.kernel.dim(2)?;
        let mut start = 0;
        let rows = lengths.iter().map(|&length| {
            // (1, hidden, the row's tokens)
            let row = input.narrow(1, start, length)?.transpose(1, 2)?;
            start += length;
            let row = row.contiguous()?;
            let row = row.conv1d(&self.kernel, width / 2, 1, 1, self.groups)?;
            row.transpose(1, 2)?.broadcast_add(&self.bias)
        });
        let rows: Vec<Tensor> = rows.collect::<Result<_>>()?;
        let mixed = Tensor::cat(&rows, 1)?.contiguous()?;
        let mixed = activate(self.activation, self.own, &mixed)?;
        self.norm.forward(&(output + mixed)?)
    }
}
