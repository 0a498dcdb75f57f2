//! What an encoder is made of, as its configuration says, and what its weights are called. The
//! architectures fill these in; `assemble` reads the weights by them.

use wire::Failure;

use crate::{families::json::Json, families::plan::impossible, layers::Activation};

/// The sizes of an encoder, and what its parts do.
#[derive(Clone, Debug)]
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
}

/// How positions are counted.
#[derive(Clone, Copy, Debug)]
pub enum Counting {
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

    /// Tokens that it reads at most.
    pub fn longest(&self) -> usize {
        match self.counting {
            Counting::FromZero => self.positions,
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
    /// The projection of token vectors, where they are narrower.
    pub projection: &'static str,
    pub layers: &'static str,
    pub layer: LayerNames,
    pub heads: HeadNames,
}

/// Names in one layer.
#[derive(Clone, Copy, Debug)]
pub struct LayerNames {
    pub projections: [&'static str; 3],
    pub output: &'static str,
    pub attention_norm: &'static str,
    pub up: &'static str,
    pub down: &'static str,
    pub norm: &'static str,
}

/// Names of the heads.
#[derive(Clone, Copy, Debug)]
pub struct HeadNames {
    pub sequence: SequenceNames,
    pub masked: MaskedNames,
}

/// Names of the head that classifies sequences.
#[derive(Clone, Copy, Debug)]
pub struct SequenceNames {
    /// The layer over the first token's state, with what it goes through. A name that begins with a
    /// point belongs to the base.
    pub dense: &'static str,
    pub activation: SequenceActivation,
    pub output: &'static str,
}

/// What the first token's state goes through in a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceActivation {
    Tanh,
    Relu,
    Gelu,
}

/// Names of the head that guesses masked tokens.
#[derive(Clone, Copy, Debug)]
pub struct MaskedNames {
    pub dense: &'static str,
    /// What it goes through; the encoder's own activation when `None`.
    pub activation: Option<Activation>,
    pub norm: &'static str,
    /// The output layer, where it is not the table of tokens.
    pub output: &'static str,
    pub bias: &'static str,
}
