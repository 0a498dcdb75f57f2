//! What an encoder is made of, as its configuration says, and what its weights are called. The
//! architectures fill these in; `assemble` reads the weights by them.

use wire::Failure;

use super::heads::HeadKind;
use crate::{families::json::Json, families::plan::impossible, layers::Activation};

/// The sizes of an encoder, and what its parts do.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one property of an architecture, and no two exclude each other"
)]
pub struct Plan {
    /// `model_type`.
    pub architecture: &'static str,
    /// Tokens it knows.
    pub vocab_size: usize,
    /// Width of the hidden state.
    pub hidden: usize,
    /// Width of the token vectors, where a projection widens them.
    pub embedding: usize,
    pub layers: usize,
    pub heads: usize,
    /// Width inside a feed-forward layer.
    pub intermediate: usize,
    pub activation: Activation,
    pub epsilon: f64,
    /// Rows of the table of positions.
    pub positions: usize,
    /// How positions are counted.
    pub counting: Counting,
    /// Rows of the table of token types; 0 where there is none.
    pub token_types: usize,
    /// One layer's weights, run again and again.
    pub shares_layers: bool,
    /// Token vectors are projected before their norm, not after it.
    pub projects_first: bool,
    /// Norms stand before attention and feed-forward, and one at the end; else behind each sum.
    pub norms_first: bool,
    /// Norms have a bias.
    pub norm_bias: bool,
    /// Feed-forward layers have a gate.
    pub gated: bool,
    pub mixing: Mixing,
    /// A token sees itself and those before it.
    pub is_causal: bool,
    /// A convolution over the token vectors, added to what the first layer gives.
    pub convolution: Option<Convolution>,
    /// What a head for sequences looks at.
    pub pooling: Pooling,
}

/// What attention knows of the places of two tokens.
#[derive(Clone, Copy, Debug)]
pub enum Mixing {
    /// Nothing.
    Plain,
    /// A value for each distance, by buckets of T5's kind; rows of the table.
    Bucketed(usize),
    /// Vectors of distances.
    Disentangled(Disentangling),
    /// Queries and keys are turned, and some layers see a window only.
    Rotary(Windows),
}

/// `DeBERTa`'s attention.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own in the configuration"
)]
pub struct Disentangling {
    /// Whether there are vectors of distances at all.
    pub relative: bool,
    /// Queries meet the keys of distances.
    pub content_to_position: bool,
    /// Keys meet the queries of distances.
    pub position_to_content: bool,
    /// Distances go through the projections of tokens.
    pub shares_projections: bool,
    /// The vectors of distances have a norm.
    pub normed: bool,
    /// Distances to either side that have a vector of their own.
    pub span: usize,
    /// Far distances share vectors: so many to either side, up to this distance.
    pub buckets: Option<(usize, usize)>,
}

/// `ModernBERT`'s attention.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    /// Bases of the rotary embedding, of layers that see all and of those that do not.
    pub thetas: [f64; 2],
    /// Each so-manieth layer sees all.
    pub every: usize,
    /// Tokens to either side that the others see.
    pub reach: usize,
}

/// A convolution over tokens.
#[derive(Clone, Copy, Debug)]
pub struct Convolution {
    /// Tokens that it sees at once; odd.
    pub width: usize,
    pub groups: usize,
    pub activation: HeadActivation,
}

/// What a head for sequences looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The first token's state.
    First,
    /// The mean of all.
    Mean,
}

/// How positions are counted.
#[derive(Clone, Copy, Debug)]
pub enum Counting {
    /// Not at all: there is no table of them.
    Nowhere,
    /// From 0.
    FromZero,
    /// From one past this id, which is the padding token's; padding itself has its id as position.
    AfterPadding(u32),
}

impl Plan {
    /// By the keys that BERT and those after it share.
    pub fn read(json: Json, architecture: &'static str) -> Result<Self, Failure> {
        let hidden = json.any(&["hidden_size", "dim"])?;
        Ok(Self {
            architecture,
            vocab_size: json.count("vocab_size")?,
            hidden,
            embedding: json.number("embedding_size").unwrap_or(hidden),
            layers: json.any(&["num_hidden_layers", "n_layers"])?,
            heads: json.any(&["num_attention_heads", "n_heads"])?,
            intermediate: json.any(&["intermediate_size", "hidden_dim"])?,
            activation: json.activation(&["hidden_act", "activation"], "gelu")?,
            epsilon: json.float("layer_norm_eps").unwrap_or(1e-12),
            positions: json.number("max_position_embeddings").unwrap_or(512),
            counting: Counting::FromZero,
            token_types: json.number("type_vocab_size").unwrap_or(2),
            shares_layers: false,
            projects_first: false,
            norms_first: false,
            norm_bias: true,
            gated: false,
            mixing: Mixing::Plain,
            is_causal: false,
            convolution: None,
            pooling: Pooling::First,
        })
    }

    /// The plan, when its sizes can be a model's.
    pub fn checked(self) -> Result<Self, Failure> {
        let sizes = [
            ("vocab_size", self.vocab_size, 1 << 24),
            ("hidden_size", self.hidden, 1 << 20),
            ("embedding_size", self.embedding, 1 << 20),
            ("num_hidden_layers", self.layers, 1 << 12),
            ("num_attention_heads", self.heads, 1 << 12),
            ("intermediate_size", self.intermediate, 1 << 22),
            ("max_position_embeddings", self.positions, 1 << 24),
        ];
        for (key, size, most) in sizes {
            if size == 0 || size > most {
                return Err(impossible(key));
            }
        }
        if !self.hidden.is_multiple_of(self.heads) {
            return Err(impossible("num_attention_heads"));
        }
        Ok(self)
    }

    /// Tokens that it was made for.
    pub fn longest(&self) -> usize {
        match self.counting {
            Counting::Nowhere | Counting::FromZero => self.positions,
            Counting::AfterPadding(id) => self.positions.saturating_sub(id as usize + 1),
        }
    }
}

/// Names of an encoder's weights.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// What stands before them, in files with a head and in those without.
    pub bases: [&'static str; 2],
    pub words: &'static str,
    pub positions: &'static str,
    pub token_types: &'static str,
    pub norm: &'static str,
    /// Of an encoder whose norms stand first.
    pub final_norm: &'static str,
    /// The projection of token vectors, where they are narrower.
    pub projection: &'static str,
    pub layers: &'static str,
    pub layer: LayerNames,
    pub heads: HeadNames,
}

/// Names in one layer.
#[derive(Clone, Copy, Debug)]
pub struct LayerNames {
    pub projections: ProjectionNames,
    pub output: &'static str,
    pub attention_norm: &'static str,
    pub up: &'static str,
    pub down: &'static str,
    pub norm: &'static str,
}

/// Names of the layers that make queries, keys and values.
#[derive(Clone, Copy, Debug)]
pub enum ProjectionNames {
    Separate([&'static str; 3]),
    /// All three in one.
    Fused(&'static str),
}

/// Names of the heads.
#[derive(Clone, Copy, Debug)]
pub struct HeadNames {
    pub sequence: PartNames,
    pub token: PartNames,
    pub question: PartNames,
    /// Its output is the table of tokens, but where the configuration says that it is a layer of its own.
    pub masked: PartNames,
}

impl HeadNames {
    /// Those of a kind.
    pub fn of(&self, kind: HeadKind) -> &PartNames {
        match kind {
            HeadKind::Sequence => &self.sequence,
            HeadKind::Token => &self.token,
            HeadKind::Question => &self.question,
            HeadKind::Masked => &self.masked,
        }
    }
}

/// Names in one head.
#[derive(Clone, Copy, Debug)]
pub struct PartNames {
    pub transform: Option<TransformNames>,
    pub output: &'static str,
    /// The bias, where it does not stand beside the output's weight.
    pub bias: &'static str,
}

impl PartNames {
    /// A head that is one layer.
    pub const fn output(output: &'static str) -> Self {
        Self {
            transform: None,
            output,
            bias: "",
        }
    }
}

/// Names of what states go through before a head's output.
#[derive(Clone, Copy, Debug)]
pub struct TransformNames {
    /// The layer. A name that begins with a point belongs to the base.
    pub dense: &'static str,
    pub activation: HeadActivation,
    /// Empty where there is none.
    pub norm: &'static str,
}

/// Activations of heads, which have one more than the layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadActivation {
    Tanh,
    /// The encoder's own.
    Own,
    Other(Activation),
}

impl HeadActivation {
    /// The activation that the configuration names by this key.
    pub fn read(json: Json, key: &str, default: &str) -> Result<Self, Failure> {
        match json.text(key).unwrap_or(default) {
            "tanh" => Ok(Self::Tanh),
            _ => Ok(Self::Other(json.activation(&[key], default)?)),
        }
    }
}
