//! The encoder that all architectures are: token vectors, layers of attention and feed-forward with a
//! norm behind each, a head. Rows of different lengths lie one behind the other, so that nothing is
//! computed for padding, and what a row gives does not depend on its neighbours.

use std::sync::Arc;

use candle_core::{Result, Tensor, bail};

use super::{
    heads::{Head, HeadKind},
    labels::Labels,
    plan::{Counting, Plan},
};
use crate::{
    families::ModelSizes,
    kernels::RaggedAttention,
    layers::{Embedding, LayerNorm, Linear, PlainMlp},
};

/// One sequence.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Its tokens.
    pub ids: &'a [u32],
    /// Their types, as many.
    pub token_types: &'a [u32],
}

/// A loaded encoder.
#[derive(Debug)]
pub struct Encoder {
    pub(super) plan: Plan,
    pub(super) words: Embedding,
    pub(super) positions: Embedding,
    pub(super) token_types: Option<Embedding>,
    pub(super) norm: LayerNorm,
    pub(super) projection: Option<Linear>,
    /// One, where all are the same.
    pub(super) layers: Vec<EncoderLayer>,
    pub(super) head: Option<Head>,
    pub(super) labels: Labels,
    pub(super) bytes: u64,
}

/// One layer.
#[derive(Debug)]
pub(super) struct EncoderLayer {
    pub projections: [Linear; 3],
    pub output: Linear,
    pub attention_norm: LayerNorm,
    pub feed_forward: PlainMlp,
    pub norm: LayerNorm,
}

impl Encoder {
    /// The architecture's name.
    pub fn architecture(&self) -> &'static str {
        self.plan.architecture
    }

    /// Its sizes.
    pub fn sizes(&self) -> ModelSizes {
        ModelSizes {
            vocab_size: self.plan.vocab_size,
            context_length: self.plan.longest(),
            layers: self.plan.layers,
            hidden_size: self.plan.hidden,
        }
    }

    /// Bytes that the weights take.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The kind of its head; `None` of a bare encoder.
    pub fn head(&self) -> Option<HeadKind> {
        self.head.as_ref().map(Head::kind)
    }

    /// What its head's outputs are called.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The last hidden states, `(1, tokens of all rows, hidden)`.
    pub fn hidden_states(&self, rows: &[Row]) -> Result<Tensor> {
        let lengths: Arc<[usize]> = rows.iter().map(|row| row.ids.len()).collect();
        let mut x = self.embed(rows)?;
        for index in 0..self.plan.layers {
            let layer = &self.layers[index.min(self.layers.len() - 1)];
            x = layer.forward(&x, &lengths, self.plan.heads)?;
        }
        Ok(x)
    }

    /// What the head makes of states `(1, states, hidden)`: `(1, states, outputs)`. Those of a head for
    /// sequences are the states of rows' first tokens.
    pub fn logits(&self, states: &Tensor) -> Result<Tensor> {
        match &self.head {
            Some(head) => head.logits(states),
            None => bail!("the encoder has no head"),
        }
    }

    /// The vectors that go into the first layer, `(1, tokens of all rows, hidden)`.
    fn embed(&self, rows: &[Row]) -> Result<Tensor> {
        let ids: Vec<u32> = rows.iter().flat_map(|row| row.ids).copied().collect();
        let positions: Vec<u32> = rows
            .iter()
            .flat_map(|row| self.plan.counting.positions(row.ids))
            .collect();
        let mut x = self.words.forward(&ids)?;
        if let Some(table) = &self.token_types {
            let types: Vec<u32> = rows
                .iter()
                .flat_map(|row| row.token_types)
                .copied()
                .collect();
            x = (x + table.forward(&types)?)?;
        }
        let x = self
            .norm
            .forward(&(x + self.positions.forward(&positions)?)?)?;
        match &self.projection {
            Some(projection) => projection.forward(&x),
            None => Ok(x),
        }
    }
}

impl Counting {
    fn positions(self, ids: &[u32]) -> Vec<u32> {
        match self {
            Self::FromZero => (0..ids.len() as u32).collect(),
            Self::AfterPadding(padding) => {
                let mut last = padding;
                let positions = ids.iter().map(|&id| {
                    if id == padding {
                        return padding;
                    }
                    last += 1;
                    last
                });
                positions.collect()
            }
        }
    }
}

impl EncoderLayer {
    /// From `(1, tokens, hidden)` to the same shape.
    fn forward(&self, x: &Tensor, lengths: &Arc<[usize]>, heads: usize) -> Result<Tensor> {
        let [query, key, value] = &self.projections;
        let head_dim = x.dim(2)? / heads;
        let attention = RaggedAttention {
            lengths: Arc::clone(lengths),
            heads,
            scale: 1.0 / (head_dim as f32).sqrt(),
        };
        let query = query.forward(x)?;
        let mixed = query.apply_op3_no_bwd(&key.forward(x)?, &value.forward(x)?, &attention)?;
        let x = self
            .attention_norm
            .forward(&(x + self.output.forward(&mixed)?)?)?;
        let y = self.feed_forward.forward(&x)?;
        self.norm.forward(&(x + y)?)
    }
}
