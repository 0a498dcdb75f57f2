//! What an encoder is made of, as its configuration says, and what its weights are called. The
//! architectures fill these in; `assemble` reads the weights by them.

use wire::Failure;

use super::heads::HeadKind;
use crate::{
    failures,
    families::{
        json::Json,
        types::{check_size, unfit},
    },
    layers::Activation,
};

/// What configurations call the number of heads.
const HEADS: [&str; 2] = ["num_attention_heads", "n_heads"];

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
    /// Layers are run again and again; `None` where each is run once.
    pub groups: Option<Groups>,
    /// Token vectors are projected before their norm, not after it.
    pub projects_first: bool,
    /// Norms stand before attention and feed-forward, and one at the end; else behind each sum.
    pub norms_first: bool,
    /// Norms have a bias.
    pub norm_bias: bool,
    pub biases: Biases,
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

/// Which linear layers of the class have a bias.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own in the configuration"
)]
pub struct Biases {
    pub attention: bool,
    pub feed_forward: bool,
    /// What states go through before a head's output.
    pub transform: bool,
    /// The output of a head for masked tokens.
    pub masked: bool,
}

impl Biases {
    const ALL: Self = Self {
        attention: true,
        feed_forward: true,
        transform: true,
        masked: true,
    };
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
    /// The same, one to each distance, which all heads of a layer share.
    Keyed(Keyed),
    /// Queries and keys are turned, and some layers see a window only.
    Rotary(Windows),
}

/// `ALBERT`'s layers.
#[derive(Clone, Copy, Debug)]
pub struct Groups {
    /// How many there are; tokens go through one after the other, each so often that all steps are taken.
    pub count: usize,
    /// Layers of each, one behind the other at each step.
    pub layers: usize,
    /// What stands before a layer's number in its group.
    pub name: &'static str,
}

/// BERT's attention with positions of type `relative_key` or `relative_key_query`.
#[derive(Clone, Copy, Debug)]
pub struct Keyed {
    /// What the vectors are called in a layer.
    pub name: &'static str,
    /// Keys meet them, too, and not queries alone.
    pub by_keys: bool,
    /// What they give is scaled as the scores are.
    pub scaled: bool,
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
            heads: json.any(&HEADS)?,
            intermediate: json.any(&["intermediate_size", "hidden_dim"])?,
            activation: json.activation(&["hidden_act", "activation"], "gelu")?,
            epsilon: json.float("layer_norm_eps").unwrap_or(1e-12),
            positions: json.number("max_position_embeddings").unwrap_or(512),
            counting: Counting::FromZero,
            token_types: json.number("type_vocab_size").unwrap_or(2),
            groups: None,
            projects_first: false,
            norms_first: false,
            norm_bias: true,
            biases: Biases::ALL,
            gated: false,
            mixing: Mixing::Plain,
            is_causal: false,
            convolution: None,
            pooling: Pooling::First,
        })
    }

    /// The plan, when its sizes can be a model's.
    pub fn checked(self, json: Json) -> Result<Self, Failure> {
        let sizes = [
            (&["vocab_size"][..], self.vocab_size, 1 << 24),
            (&["hidden_size", "dim"], self.hidden, 1 << 20),
            (&["embedding_size"], self.embedding, 1 << 20),
            (&["num_hidden_layers", "n_layers"], self.layers, 1 << 12),
            (&HEADS, self.heads, 1 << 12),
            (
                &["intermediate_size", "hidden_dim"],
                self.intermediate,
                1 << 22,
            ),
            (&["max_position_embeddings"], self.positions, 1 << 24),
        ];
        for (keys, size, most) in sizes {
            check_size(json.key_of(keys), size, most)?;
        }
        if !self.hidden.is_multiple_of(self.heads) {
            let what = format!("a divisor of the hidden size, which is {}", self.hidden);
            return Err(unfit(json.key_of(&HEADS), self.heads, &what));
        }
        if !(self.epsilon.is_finite() && self.epsilon >= 0.0) {
            let key = json.key_of(&["layer_norm_eps", "norm_eps"]);
            return Err(unfit(key, self.epsilon, "a number of 0 or more"));
        }
        self.check_groups()?;
        if self.is_causal && matches!(self.mixing, Mixing::Keyed(_)) {
            return Err(failures::unsupported(format!(
                "`is_decoder` with relative positions is not supported in {}",
                self.architecture
            ))
            .hint(
                "transformers 4.57 counts all distances from the last token there; leave `is_decoder` out of \
                 `config.json` to read whole texts",
            ));
        }
        Ok(self)
    }

    /// transformers 4.57 fails on groups of more layers than there are steps for each.
    fn check_groups(&self) -> Result<(), Failure> {
        let Some(groups) = self.groups else {
            return Ok(());
        };
        let what = format!("from 1 to the number of layers, which is {}", self.layers);
        if !(1..=self.layers).contains(&groups.count) {
            return Err(unfit("num_hidden_groups", groups.count, &what));
        }
        let most = self.layers / groups.count;
        if !(1..=most).contains(&groups.layers) {
            let what = format!("from 1 to {most}, the steps of each group");
            return Err(unfit("inner_group_num", groups.layers, &what));
        }
        Ok(())
    }

    /// Layers that the files have.
    pub fn stored_layers(&self) -> usize {
        let groups = self.groups;
        groups.map_or(self.layers, |groups| groups.count * groups.layers)
    }

    /// These in the order in which tokens go through them.
    pub fn order(&self) -> Vec<usize> {
        let Some(groups) = self.groups else {
            return (0..self.layers).collect();
        };
        // As `AlbertTransformer` counts, in floats.
        let steps = self.layers as f64 / groups.count as f64;
        let group = |step: usize| ((step as f64 / steps) as usize).min(groups.count - 1);
        let of_step = |step| {
            let first = group(step) * groups.layers;
            first..first + groups.layers
        };
        (0..self.layers).flat_map(of_step).collect()
    }

    /// Tokens that it was made for.
    pub fn longest(&self) -> usize {
        match (self.counting, self.mixing) {
            (Counting::AfterPadding(id), mixing) if !matches!(mixing, Mixing::Keyed(_)) => {
                self.positions.saturating_sub(id as usize + 1)
            }
            _ => self.positions,
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

/// Activations of heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadActivation {
    /// The encoder's own.
    Own,
    Other(Activation),
}

impl HeadActivation {
    /// That of most poolers, whatever the encoder's own is.
    pub const TANH: Self = Self::Other(Activation::Tanh);

    /// The activation that the configuration names by this key.
    pub fn read(json: Json, key: &str, default: &str) -> Result<Self, Failure> {
        json.activation(&[key], default).map(Self::Other)
    }
}
