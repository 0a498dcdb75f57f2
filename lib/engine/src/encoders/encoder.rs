//! The encoder that all architectures are: token vectors, layers of attention and feed-forward with a
//! norm behind or before each, a head. Rows of different lengths lie one behind the other, so that nothing is
//! computed for padding, and what a row gives does not depend on its neighbours.

use std::sync::Arc;

use candle_core::{Device, Result, Tensor, bail};
use wire::model::ModuleInfo;

use super::{
    convolution::ConvolutionLayer,
    heads::{Head, HeadKind},
    labels::Labels,
    plan::{Counting, Mixing, Plan},
    related::RelatedAttention,
    relation::{Prepared, Relation},
};
use crate::{
    families::ModelSizes,
    layers::{Embedding, FeedForward, LayerNorm, Linear, RaggedHeads, serves_on, sum},
};

/// Tokens that go through the layers together, where rows are not longer: so many that weights are worth
/// their reading, and so few that what lies between two products stays in the caches.
const TOKENS_OF_A_PASS: usize = 384;

/// The same on a card, which pads rows to the longest: so many that it is busy.
const TOKENS_OF_A_CARD: usize = 8192;
/// Bytes that the scores of a layer may take there, of rows beyond the first.
const SCORES_OF_A_CARD: usize = 256 << 20;

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
    pub(super) inputs: Inputs,
    pub(super) layers: Vec<EncoderLayer>,
    /// The layers that tokens go through, one after the other.
    pub(super) order: Vec<usize>,
    pub(super) convolution: Option<ConvolutionLayer>,
    /// Where norms stand first.
    pub(super) final_norm: Option<LayerNorm>,
    pub(super) head: Option<Head>,
    /// A second one, where no name says which it is: for tokens.
    pub(super) other_head: Option<Head>,
    pub(super) labels: Labels,
    /// What `print(model)` shows.
    pub(super) modules: Option<ModuleInfo>,
    pub(super) bytes: u64,
    /// Where it computes.
    pub(super) device: Device,
    /// Whether what becomes of a token depends on which others are in its pass.
    pub(super) mixes_tokens: bool,
}

/// What makes vectors of tokens.
#[derive(Debug)]
pub(super) struct Inputs {
    pub words: Embedding,
    pub positions: Option<Embedding>,
    pub token_types: Option<Embedding>,
    pub norm: LayerNorm,
    pub projection: Option<Linear>,
}

/// One layer.
#[derive(Debug)]
pub(super) struct EncoderLayer {
    pub projections: LayerProjections,
    pub relation: Relation,
    pub output: Linear,
    /// The first layer of an encoder whose norms stand first has none.
    pub attention_norm: Option<LayerNorm>,
    pub feed_forward: FeedForward,
    pub norm: LayerNorm,
    pub norms_first: bool,
}

/// What makes queries, keys and values.
#[derive(Debug)]
pub(super) enum LayerProjections {
    Separate([Linear; 3]),
    Fused(Linear),
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
        self.head.as_ref().map(|head| head.kind)
    }

    /// What its head's outputs are called.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Tokens that it reads at most; `None` where no table of positions ends.
    pub fn limit(&self) -> Option<usize> {
        match self.plan.counting {
            Counting::Nowhere => None,
            _ => Some(self.plan.longest()),
        }
    }

    /// Types of tokens that it tells apart; `None` where there is no table of them.
    pub fn token_types(&self) -> Option<usize> {
        (self.plan.token_types > 0).then_some(self.plan.token_types)
    }

    /// The last hidden states, `(1, tokens of all rows, hidden)`.
    pub fn hidden_states(&self, rows: &[Row]) -> Result<Tensor> {
        let mut passes = Vec::new();
        let mut rest = rows;
        let is_card = serves_on(&self.device);
        while !rest.is_empty() {
            let (pass, others) = rest.split_at(self.rows_of_a_pass(rest, is_card));
            passes.push(self.pass(pass)?);
            rest = others;
        }
        match passes.len() {
            0 => self.pass(rows),
            1 => Ok(passes.swap_remove(0)),
            _ => Tensor::cat(&passes, 1),
        }
    }

    /// The same of rows that go through the layers together.
    fn pass(&self, rows: &[Row]) -> Result<Tensor> {
        let lengths: Arc<[usize]> = rows.iter().map(|row| row.ids.len()).collect();
        let attention = Attention {
            lengths: &lengths,
            heads: self.plan.heads,
            scale: self.scale(),
        };
        let inputs = self.embed(rows)?;
        let mut x = inputs.clone();
        for (step, &index) in self.order.iter().enumerate() {
            x = self.layers[index].forward(&x, &attention)?;
            if let (0, Some(convolution)) = (step, &self.convolution) {
                x = convolution.forward(&inputs, &x, &lengths)?;
            }
        }
        match &self.final_norm {
            Some(norm) => norm.forward(&x),
            None => Ok(x),
        }
    }

    /// How many of the first rows go through the layers together: at least one. A card pads them.
    fn rows_of_a_pass(&self, rows: &[Row], is_card: bool) -> usize {
        let (mut tokens, mut longest) = (0, 0);
        let fitting = rows.iter().zip(1..).take_while(|(row, count)| {
            tokens += row.ids.len();
            longest = row.ids.len().max(longest);
            if !is_card {
                return tokens <= TOKENS_OF_A_PASS;
            }
            let scores = count * self.plan.heads * longest * longest * size_of::<f32>();
            count * longest <= TOKENS_OF_A_CARD && scores <= SCORES_OF_A_CARD
        });
        fitting.count().max(1)
    }

    /// What multiplies the scores of attention.
    fn scale(&self) -> f32 {
        let head_dim = (self.plan.hidden / self.plan.heads) as f32;
        let summands = match self.plan.mixing {
            Mixing::Disentangled(plan) => {
                1 + u8::from(plan.content_to_position) + u8::from(plan.position_to_content)
            }
            _ => 1,
        };
        1.0 / (head_dim * f32::from(summands)).sqrt()
    }

    /// The states that a head for sequences looks at: from those of all rows' tokens
    /// `(1, tokens, hidden)` to one a row `(1, rows, hidden)`.
    pub fn pooled(&self, states: &Tensor, lengths: &[usize]) -> Result<Tensor> {
        self.plan.pooling.of_rows(states, lengths)
    }

    /// What the head makes of states `(1, states, hidden)`: `(1, states, outputs)`. Those of a head for
    /// sequences are what [`Encoder::pooled`] gives.
    pub fn logits(&self, states: &Tensor) -> Result<Tensor> {
        match &self.head {
            Some(head) => head.logits(states),
            None => bail!("the encoder has no head"),
        }
    }

    /// The same by the head of a kind.
    pub fn logits_of(&self, kind: HeadKind, states: &Tensor) -> Result<Tensor> {
        match self.heads().find(|head| head.kind == kind) {
            Some(head) => head.logits(states),
            None => bail!("the encoder has no head of a model `{}`", kind.class()),
        }
    }

    /// Whether it has a head of the kind.
    pub fn has_head(&self, kind: HeadKind) -> bool {
        self.heads().any(|head| head.kind == kind)
    }

    fn heads(&self) -> impl Iterator<Item = &Head> {
        self.head.iter().chain(&self.other_head)
    }

    /// The vectors that go into the first layer, `(1, tokens of all rows, hidden)`.
    fn embed(&self, rows: &[Row]) -> Result<Tensor> {
        let inputs = &self.inputs;
        let ids: Vec<u32> = rows.iter().flat_map(|row| row.ids).copied().collect();
        let mut x = inputs.words.forward(&ids)?;
        if let Some(table) = &inputs.token_types {
            let types: Vec<u32> = rows
                .iter()
                .flat_map(|row| row.token_types)
                .copied()
                .collect();
            x = sum(&x, &table.forward(&types)?)?;
        }
        if let Some(table) = &inputs.positions {
            let positions: Vec<u32> = rows
                .iter()
                .flat_map(|row| self.plan.counting.positions(row.ids))
                .collect();
            x = sum(&x, &table.forward(&positions)?)?;
        }
        let x = x.to_device(&self.device)?;
        match &inputs.projection {
            Some(projection) if self.plan.projects_first => {
                inputs.norm.forward(&projection.forward(&x)?)
            }
            Some(projection) => projection.forward(&inputs.norm.forward(&x)?),
            None => inputs.norm.forward(&x),
        }
    }
}

impl Counting {
    fn positions(self, ids: &[u32]) -> Vec<u32> {
        match self {
            Self::Nowhere => Vec::new(),
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

/// What attention is of the same in all layers of one step.
struct Attention<'a> {
    /// Tokens of each row.
    lengths: &'a Arc<[usize]>,
    heads: usize,
    scale: f32,
}

impl EncoderLayer {
    /// From `(1, tokens, hidden)` to the same shape.
    fn forward(&self, x: &Tensor, attention: &Attention) -> Result<Tensor> {
        if !self.norms_first {
            let mixed = self.mixed(x, attention)?;
            let x = match &self.attention_norm {
                Some(norm) => norm.forward_sum(x, &mixed)?,
                None => sum(x, &mixed)?,
            };
            let y = self.feed_forward.forward(&x, None)?;
            return self.norm.forward_sum(&x, &y);
        }
        let normed = match &self.attention_norm {
            Some(norm) => norm.forward(x)?,
            None => x.clone(),
        };
        let x = sum(x, &self.mixed(&normed, attention)?)?;
        self.feed_forward.forward(&self.norm.forward(&x)?, Some(&x))
    }

    /// What attention adds.
    fn mixed(&self, x: &Tensor, attention: &Attention) -> Result<Tensor> {
        let [query, key, value] = self.projections.forward(x)?;
        let Attention {
            lengths,
            heads,
            scale,
        } = *attention;
        let head_dim = query.dim(2)? / heads;
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let mixed = match self.relation.prepared(longest, heads, head_dim) {
            Prepared::Plain => {
                let attention = RaggedHeads {
                    lengths,
                    heads,
                    scale,
                    biases: &[],
                };
                attention.forward(&[query, key, value])?
            }
            relation => {
                let relation = &relation;
                let attention = RelatedAttention {
                    lengths,
                    heads,
                    scale,
                    relation,
                };
                let [query, key, value] = [query, key, value].map(|part| part.contiguous());
                attention.forward([&query?, &key?, &value?])?
            }
        };
        self.output.forward(&mixed)
    }
}

impl LayerProjections {
    /// Queries, keys and values, each `(1, tokens, hidden)`, a token's side by side in memory.
    fn forward(&self, x: &Tensor) -> Result<[Tensor; 3]> {
        let all = match self {
            Self::Separate([query, key, value]) => Linear::forward_all([query, key, value], x)?,
            Self::Fused(all) => all.forward(x)?,
        };
        let width = all.dim(2)? / 3;
        let part = |index: usize| all.narrow(2, index * width, width);
        Ok([part(0)?, part(1)?, part(2)?])
    }
}
