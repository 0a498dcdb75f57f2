//! What a family's configuration comes down to: sizes, kinds of layers, constants. Whatever file it
//! was read from, `assemble` builds the model by it.

use wire::{Failure, FailureKind};

use super::ModelSizes;
use crate::{
    failures,
    layers::{Activation, AttentionShape, RopeConfig, RotaryLayout},
};

/// Most layers that a file is believed to have; the largest models have some hundred.
const MOST_LAYERS: usize = 4096;
/// Largest head and most heads that are believed.
const MOST_WIDTH: usize = 1 << 16;

/// A decoder to be built.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The family's name.
    pub architecture: &'static str,
    /// Its sizes.
    pub sizes: ModelSizes,
    /// Width of the feed-forward layers.
    pub intermediate_size: usize,
    /// Heads.
    pub attention: AttentionShape,
    /// Kind of the norms.
    pub norm: NormKind,
    /// ε of the norms.
    pub norm_epsilon: f64,
    /// Activation of the feed-forward layers.
    pub activation: Activation,
    /// Multiplies attention scores.
    pub scale: f32,
    /// Bends scaled scores into ±cap.
    pub score_cap: Option<f32>,
    /// Bends logits into ±cap.
    pub logit_cap: Option<f32>,
    /// Multiplies token vectors.
    pub embedding_scale: Option<f64>,
    /// Rotary embeddings, which layers choose from.
    pub ropes: Vec<RopeConfig>,
    /// Which values of a head turn together.
    pub layout: RotaryLayout,
    /// Layers, in order.
    pub layers: Vec<LayerPlan>,
    /// The head is the token table, whether or not the file has one of its own.
    pub tied: bool,
    /// Which linear layers add a bias.
    pub biases: Biases,
}

/// Which linear layers add a bias, of those whose file has one. A router, experts and a head have none in any class
/// of transformers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Biases {
    /// All, as llama.cpp reads GGUF.
    Stored,
    /// Those that the class has.
    OfClass {
        /// Queries, keys and values.
        projections: bool,
        /// Attention's way out.
        output: bool,
        /// Feed-forward layers.
        feed_forward: bool,
    },
}

impl Biases {
    /// None.
    pub const NONE: Self = Self::of(false, false);

    /// All linear layers of attention, and all of the feed-forward layers.
    pub const fn of(attention: bool, feed_forward: bool) -> Self {
        Self::OfClass {
            projections: attention,
            output: attention,
            feed_forward,
        }
    }
}

/// What differs from layer to layer.
#[derive(Clone, Debug, Default)]
pub struct LayerPlan {
    /// Index into [`Plan::ropes`]; `None` for a layer without positions.
    pub rope: Option<usize>,
    /// Keys that a query sees at most.
    pub window: Option<usize>,
    /// Multiplies attention scores in the place of [`Plan::scale`].
    pub scale: Option<f32>,
    /// Experts in place of one feed-forward layer.
    pub experts: Option<ExpertsPlan>,
}

/// Experts of a layer.
#[derive(Clone, Copy, Debug)]
pub struct ExpertsPlan {
    /// How many there are.
    pub count: usize,
    /// How many each token goes to.
    pub per_token: usize,
    /// Width of one.
    pub intermediate_size: usize,
    /// Make the weights of a token's experts add up to one.
    pub normalize: bool,
}

/// Kinds of norms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// Root mean square.
    Rms,
    /// Root mean square, with weights stored less one.
    RmsPlusOne,
    /// Mean and variance.
    Layer,
}

impl Plan {
    /// Refuses sizes that no layer could have, so that a damaged file fails here and by name.
    pub fn checked(self) -> Result<Self, Failure> {
        let AttentionShape {
            heads,
            kv_heads,
            head_dim,
        } = self.attention;
        let sound = (1..=MOST_WIDTH).contains(&heads)
            && kv_heads > 0
            && heads.is_multiple_of(kv_heads)
            && (1..=MOST_WIDTH).contains(&head_dim);
        if !sound {
            return Err(impossible(&format!(
                "{heads} heads over {kv_heads} of {head_dim} values"
            )));
        }
        for rope in &self.ropes {
            if rope.dim == 0 || rope.dim > head_dim || !rope.dim.is_multiple_of(2) {
                return Err(impossible(&format!(
                    "a rotary embedding of {} out of {head_dim} values",
                    rope.dim
                )));
            }
        }
        for experts in self.layers.iter().filter_map(|layer| layer.experts) {
            if experts.per_token == 0 || experts.per_token > experts.count {
                return Err(impossible(&format!(
                    "{} of {} experts a token",
                    experts.per_token, experts.count
                )));
            }
        }
        if self.sizes.hidden_size == 0 || self.sizes.vocab_size == 0 {
            return Err(impossible("a width or a vocabulary of 0"));
        }
        Ok(self)
    }

    /// Layers that all turn by the first rotary embedding; fails on a count that no model has.
    pub fn plain_layers(count: usize) -> Result<Vec<LayerPlan>, Failure> {
        if count == 0 || count > MOST_LAYERS {
            return Err(impossible(&format!("{count} layers")));
        }
        let layer = LayerPlan {
            rope: Some(0),
            ..LayerPlan::default()
        };
        Ok(vec![layer; count])
    }

    /// Gives the layers that `slides` names a window of `window` keys.
    pub fn slide(&mut self, window: usize, slides: impl Fn(usize) -> bool) {
        for (index, layer) in self.layers.iter_mut().enumerate() {
            layer.window = slides(index).then_some(window);
        }
    }
}

/// The failure of a configuration that lacks a key.
pub fn missing(key: &str) -> Failure {
    Failure::new(
        FailureKind::Corrupt,
        format!("its configuration has no `{key}`"),
    )
}

/// The failure of a configuration that no model can have.
pub fn impossible(what: &str) -> Failure {
    Failure::new(FailureKind::Corrupt, format!("{what} are impossible"))
}

/// The failure of a scaling of rotary frequencies that is not known.
pub fn unknown_scaling(kind: &str) -> Failure {
    failures::unsupported(format!("rope scaling `{kind}` is not supported"))
        .hint("scalings that load: default, linear, dynamic, llama3, yarn, longrope")
}
