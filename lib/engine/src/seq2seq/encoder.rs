//! The half that reads a source text. Texts of different lengths lie one behind the other, so that nothing
//! is computed for padding, and what a text gives does not depend on its neighbours.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::{embed::Embed, plan::NormPlace};
use crate::layers::{FeedForward, Linear, Norm, RaggedHeads, RelativeBias, sum};

/// The encoder.
#[derive(Debug)]
pub struct Encoder {
    pub embed: Embed,
    pub bias: Option<RelativeBias>,
    pub layers: Vec<EncoderLayer>,
    /// After the last layer.
    pub norm: Option<Norm>,
    pub heads: usize,
    pub scale: f32,
    pub norms: NormPlace,
}

/// What lies one behind the other.
struct Sources {
    /// Tokens of each.
    lengths: Arc<[usize]>,
    /// What distances add to the scores of each; none without relative positions.
    biases: Vec<Arc<[f32]>>,
}

/// One layer.
#[derive(Debug)]
pub struct EncoderLayer {
    /// Query, key and value.
    pub projections: [Linear; 3],
    pub output: Linear,
    pub attention_norm: Norm,
    pub feed_forward: FeedForward,
    pub norm: Norm,
}

impl Encoder {
    /// The last states of sources, one behind the other, `(1, tokens, hidden)`.
    pub fn forward(&self, sources: &[&[u32]]) -> Result<Tensor> {
        let vectors = sources.iter().map(|ids| self.embed.forward(ids, 0));
        let mut x = Tensor::cat(&vectors.collect::<Result<Vec<_>>>()?, 1)?;
        let lengths: Arc<[usize]> = sources.iter().map(|ids| ids.len()).collect();
        let biases = self.bias.iter().flat_map(|bias| {
            let lengths = lengths.iter();
            lengths.map(|&length| bias.by_distance(length))
        });
        let sources = Sources {
            biases: biases.collect(),
            lengths,
        };
        for layer in &self.layers {
            x = self.layer(layer, &x, &sources)?;
        }
        match &self.norm {
            Some(norm) => norm.forward(&x),
            None => Ok(x),
        }
    }

    /// From `(1, tokens, hidden)` to the same shape.
    fn layer(&self, layer: &EncoderLayer, x: &Tensor, sources: &Sources) -> Result<Tensor> {
        let attend = |x: &Tensor| -> Result<Tensor> {
            let [q, k, v] = &layer.projections;
            let all = Linear::forward_all([q, k, v], x)?;
            let width = all.dim(2)? / 3;
            let part = |index: usize| all.narrow(2, index * width, width);
            let qkv = [part(0)?, part(1)?, part(2)?];
            layer.output.forward(&self.mix(&qkv, sources)?)
        };
        if self.norms == NormPlace::Before {
            let mixed = attend(&layer.attention_norm.forward(x)?)?;
            let x = sum(x, &mixed)?;
            let normed = layer.norm.forward(&x)?;
            return layer.feed_forward.forward(&normed, Some(&x));
        }
        let x = layer.attention_norm.forward_sum(x, &attend(x)?)?;
        let y = layer.feed_forward.forward(&x, None)?;
        layer.norm.forward_sum(&x, &y)
    }

    /// From queries, keys and values, each `(1, tokens, heads * head_dim)`, to the same shape.
    fn mix(&self, qkv: &[Tensor; 3], sources: &Sources) -> Result<Tensor> {
        let attention = RaggedHeads {
            lengths: &sources.lengths,
            heads: self.heads,
            scale: self.scale,
            biases: &sources.biases,
        };
        attention.forward(qkv)
    }
}
