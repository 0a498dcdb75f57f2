//! What an encoder-decoder is made of, as its configuration says, and what its weights are called. The
//! architectures fill these in; `assemble` reads the weights by them.

use serde_json::Value;
use wire::Failure;

use crate::{
    families::{
        json::Json,
        plan::NormKind,
        types::{check_size, unfit},
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
                let what = format!("a divisor of `d_model`, which is {hidden}");
                return Err(unfit(&format!("{name}_attention_heads"), heads, &what));
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

    /// Whether it has T5's configuration, and linear layers without biases.
    pub fn is_t5(&self) -> bool {
        matches!(self.architecture, "t5" | "mt5")
    }

    /// Whether the class adds a bias to logits.
    pub fn has_logits_bias(&self) -> bool {
        matches!(self.architecture, "bart" | "mbart" | "marian" | "pegasus")
    }

    /// The plan, when its sizes can be a model's.
    pub fn checked(self) -> Result<Self, Failure> {
        check_size("d_model", self.hidden, 1 << 20)?;
        for (half, name) in [(self.encoder, "encoder"), (self.decoder, "decoder")] {
            for (key, size, most) in self.sizes_of(half, name) {
                check_size(&key, size, most)?;
            }
        }
        match self.positions {
            PositionPlan::Relative {
                buckets,
                max_distance,
            } => {
                let key = "relative_attention_num_buckets";
                if !(4..=1 << 16).contains(&buckets) {
                    return Err(unfit(key, buckets, "a whole number from 4 to 65536"));
                }
                if max_distance <= buckets / 2 {
                    let what = format!("more than half of `{key}`, which is {buckets}");
                    return Err(unfit(
                        "relative_attention_max_distance",
                        max_distance,
                        &what,
                    ));
                }
            }
            PositionPlan::Learned { count, .. }
            | PositionPlan::Sinusoidal { count }
            | PositionPlan::AfterPadding { count, .. } => {
                check_size("max_position_embeddings", count, 1 << 24)?;
            }
        }
        if matches!(self.positions, PositionPlan::AfterPadding { .. }) && self.hidden < 4 {
            return Err(unfit("d_model", self.hidden, "4 or more"));
        }
        if !(self.epsilon.is_finite() && self.epsilon >= 0.0) {
            return Err(unfit(
                "layer_norm_epsilon",
                self.epsilon,
                "a number of 0 or more",
            ));
        }
        Ok(self)
    }

    /// Keys of a half's sizes, the sizes, and the most that is believed.
    fn sizes_of(&self, half: Half, name: &str) -> [(String, usize, usize); 5] {
        let own = |key: &str| format!("{name}_{key}");
        let [layers, heads, head_dim, intermediate] = if self.is_t5() {
            let layers = match name {
                "encoder" => "num_layers",
                _ => "num_decoder_layers",
            };
            [layers, "num_heads", "d_kv", "d_ff"].map(str::to_owned)
        } else {
            let heads = own("attention_heads");
            [own("layers"), heads.clone(), heads, own("ffn_dim")]
        };
        [
            ("vocab_size".to_owned(), half.vocab_size, 1 << 24),
            (layers, half.layers, 1 << 12),
            (heads, half.heads, 1 << 12),
            (head_dim, half.head_dim, 1 << 16),
            (intermediate, half.intermediate, 1 << 22),
        ]
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
