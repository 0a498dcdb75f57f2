//! What an encoder-decoder is made of, as its configuration says, and what its weights are called. The
//! architectures fill these in; `assemble` reads the weights by them.

use serde_json::Value;
use wire::Failure;

use crate::{
    families::{
        json::Json,
        plan::{NormKind, impossible},
    },
    layers::Activation,
};

/// Sizes of one half: of the encoder, or of the decoder.
#[derive(Clone, Copy, Debug)]
pub struct Half {
    /// Tokens it knows.
    pub vocab_size: usize,
    pub layers: usize,
    pub heads: usize,
    /// Values of a head.
    pub head_dim: usize,
    /// Width inside a feed-forward layer.
    pub intermediate: usize,
}

/// The sizes of an encoder-decoder, and what its parts do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `model_type`.
    pub architecture: &'static str,
    pub encoder: Half,
    pub decoder: Half,
    /// Width of the hidden state.
    pub hidden: usize,
    pub activation: Activation,
    /// Whether feed-forward layers have a gate.
    pub gated: bool,
    pub norm: NormKind,
    pub epsilon: f64,
    pub norms: NormPlace,
    /// A norm over the vectors that go into the first layer.
    pub embedding_norm: bool,
    /// Multiplies token vectors.
    pub embedding_scale: Option<f64>,
    pub positions: PositionPlan,
    /// The head is the token table; its states are multiplied by this first.
    pub tied: Option<f64>,
    /// Both halves have one token table.
    pub shares_words: bool,
    /// Ids that `config.json` may leave to the class of transformers.
    pub special_ids: Value,
}

/// Where a layer's norms stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormPlace {
    /// Before what they are of, and one at the end.
    Before,
    /// Behind its sum with what went in.
    Behind,
}

/// How tokens know where they are.
#[derive(Clone, Copy, Debug)]
pub enum PositionPlan {
    /// By what distances add to scores.
    Relative { buckets: usize, max_distance: usize },
    /// By a learned table, whose first rows nobody uses.
    Learned { count: usize, offset: usize },
    /// By sines and cosines of 10000^(-2i/width) in a table that a file may have too.
    Sinusoidal { count: usize },
    /// The same of 10000^(-i/(width/2-1)), counted from one past this id; padding itself has no position.
    AfterPadding { count: usize, padding: u32 },
}

impl PositionPlan {
    /// Positions that there are; `None` where any number is.
    pub fn limit(self) -> Option<usize> {
        match self {
            Self::Learned { count, .. } | Self::Sinusoidal { count } => Some(count),
            Self::Relative { .. } | Self::AfterPadding { .. } => None,
        }
    }

    /// Positions that the model was made for.
    pub fn trained(self, json: Json) -> usize {
        match self {
            Self::Relative { .. } => json.number("n_positions").unwrap_or(512),
            Self::Learned { count, .. }
            | Self::Sinusoidal { count }
            | Self::AfterPadding { count, .. } => count,
        }
    }
}

impl Plan {
    /// By the keys of BART and those after it.
    pub fn of_bart(json: Json, architecture: &'static str) -> Result<Self, Failure> {
        let hidden = json.number("d_model").unwrap_or(1024);
        let vocab_size = json.count("vocab_size")?;
        let half = |name: &str| -> Result<Half, Failure> {
            let number =
                |key: &str, default| json.number(&format!("{name}_{key}")).unwrap_or(default);
            let heads = number("attention_heads", 16);
            if heads == 0 || !hidden.is_multiple_of(heads) {
                return Err(impossible(&format!("{heads} heads of a width of {hidden}")));
            }
            Ok(Half {
                vocab_size,
                layers: number("layers", 12),
                heads,
                head_dim: hidden / heads,
                intermediate: number("ffn_dim", 4096),
            })
        };
        let scaled = json.flag("scale_embedding").unwrap_or(false);
        Ok(Self {
            architecture,
            encoder: half("encoder")?,
            decoder: half("decoder")?,
            hidden,
            activation: json.activation(&["activation_function"], "gelu")?,
            gated: false,
            norm: NormKind::Layer,
            epsilon: 1e-5,
            norms: NormPlace::Behind,
            embedding_norm: false,
            embedding_scale: scaled.then(|| (hidden as f64).sqrt()),
            positions: PositionPlan::Learned {
                count: json.number("max_position_embeddings").unwrap_or(1024),
                offset: 2,
            },
            tied: json
                .flag("tie_word_embeddings")
                .unwrap_or(true)
                .then_some(1.0),
            shares_words: true,
            special_ids: Value::Null,
        })
    }

    /// The plan, when its sizes can be a model's.
    pub fn checked(self) -> Result<Self, Failure> {
        for half in [self.encoder, self.decoder] {
            let sizes = [
                ("a vocabulary", half.vocab_size, 1 << 24),
                ("layers", half.layers, 1 << 12),
                ("heads", half.heads, 1 << 12),
                ("a head's width", half.head_dim, 1 << 16),
                ("a feed-forward width", half.intermediate, 1 << 22),
                ("a width", self.hidden, 1 << 20),
            ];
            for (what, size, most) in sizes {
                if size == 0 || size > most {
                    return Err(impossible(&format!("{what} of {size}")));
                }
            }
        }
        match self.positions {
            PositionPlan::Relative {
                buckets,
                max_distance,
            } if !(4..=1 << 16).contains(&buckets) || max_distance <= buckets / 2 => {
                Err(impossible(&format!(
                    "{buckets} buckets of distances up to {max_distance}"
                )))
            }
            PositionPlan::Learned { count, .. }
            | PositionPlan::Sinusoidal { count }
            | PositionPlan::AfterPadding { count, .. }
                if count == 0 || count > 1 << 24 =>
            {
                Err(impossible(&format!("{count} positions")))
            }
            PositionPlan::AfterPadding { .. } if self.hidden < 4 => {
                Err(impossible("positions in a width below 4"))
            }
            _ => Ok(self),
        }
    }
}

/// Names of an encoder-decoder's weights.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// What stands before them, in files with a head and in those without.
    pub bases: [&'static str; 2],
    /// The token table of both halves.
    pub shared: &'static str,
    /// Of each half: its layers, and the norm at the end.
    pub layers: &'static str,
    pub last_norm: &'static str,
    pub encoder_layer: LayerNames,
    pub decoder_layer: LayerNames,
}

/// Names in one layer.
#[derive(Clone, Copy, Debug)]
pub struct LayerNames {
    /// Query, key, value and output.
    pub attention: [&'static str; 4],
    pub attention_norm: &'static str,
    /// The same of the decoder's attention to the encoder.
    pub cross: [&'static str; 4],
    pub cross_norm: &'static str,
    pub gate: &'static str,
    /// The way in: without a gate, and with one.
    pub up: [&'static str; 2],
    pub down: &'static str,
    pub norm: &'static str,
}
