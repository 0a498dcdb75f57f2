//! Reads what a GGUF file says of its model: keys named as in ggml's `docs/gguf.md`, under the name
//! of the architecture, and factors of rotary frequencies, which are tensors there.

use wire::Failure;

use super::{
    ModelSizes,
    plan::{Biases, ExpertsPlan, NormKind, Plan, missing, unknown_scaling},
};
use crate::{
    layers::{
        Activation, AttentionShape, LongRopeScaling, RopeConfig, RopeScaling, RotaryLayout,
        YarnScaling,
    },
    weights::{Loader, Metadata, Weights},
};

/// Divisors of frequencies, which stand for Llama 3's scaling.
const ROPE_FACTORS: &str = "rope_freqs.weight";
/// Divisors of `LongRoPE`.
const SHORT_FACTORS: &str = "rope_factors_short.weight";
const LONG_FACTORS: &str = "rope_factors_long.weight";

/// The description of a GGUF file.
#[derive(Clone, Copy)]
pub struct Gguf<'a> {
    metadata: &'a Metadata,
    weights: &'a Weights,
    architecture: &'a str,
}

impl<'a> Gguf<'a> {
    /// The description of `weights`, whose metadata this is.
    pub fn new(metadata: &'a Metadata, weights: &'a Weights) -> Self {
        Self {
            metadata,
            weights,
            architecture: metadata.text("general.architecture").unwrap_or_default(),
        }
    }

    /// What the file calls the family.
    pub fn architecture(&self) -> &'a str {
        self.architecture
    }

    /// A number that is not negative.
    pub fn number(&self, key: &str) -> Option<usize> {
        self.metadata.count(&self.full(key))
    }

    /// A number that must be there.
    pub fn count(&self, key: &str) -> Result<usize, Failure> {
        self.number(key).ok_or_else(|| missing(&self.full(key)))
    }

    /// A number.
    pub fn float(&self, key: &str) -> Option<f64> {
        self.metadata.float(&self.full(key))
    }

    /// A text.
    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.metadata.text(&self.full(key))
    }

    fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    /// The plan of a decoder with RMS norms and rotary embeddings on every layer, as the keys that
    /// most families share describe it.
    pub fn plan(&self, architecture: &'static str, loader: &mut Loader) -> Result<Plan, Failure> {
        let (hidden_size, heads) = (
            self.count("embedding_length")?,
            self.count("attention.head_count")?,
        );
        let head_dim = self.number("attention.key_length");
        let head_dim = head_dim.unwrap_or(hidden_size / heads.max(1));
        let vocab_size = match self.weights.tensors.get("token_embd.weight") {
            Some(entry) => entry.shape[0],
            None => self.count("vocab_size")?,
        };
        let layers = self.count("block_count")?;
        let context_length = self.count("context_length")?;
        let epsilon = self.float("attention.layer_norm_rms_epsilon");
        let epsilon = epsilon.or(self.float("attention.layer_norm_epsilon"));
        let epsilon_key = "attention.layer_norm_rms_epsilon";
        let kv_heads = self.number("attention.head_count_kv").unwrap_or(heads);
        let plan = Plan {
            architecture,
            sizes: ModelSizes {
                vocab_size,
                context_length,
                layers,
                hidden_size,
            },
            intermediate_size: self.count("feed_forward_length")?,
            attention: AttentionShape {
                heads,
                kv_heads,
                head_dim,
            },
            norm: NormKind::Rms,
            norm_epsilon: epsilon.ok_or_else(|| missing(&self.full(epsilon_key)))?,
            activation: Activation::Silu,
            scale: 1.0 / (head_dim as f32).sqrt(),
            score_cap: None,
            logit_cap: None,
            embedding_scale: None,
            ropes: Vec::new(),
            layout: RotaryLayout::Halves,
            layers: Plan::plain_layers(layers)?,
            tied: false,
            biases: Biases::Stored,
        };
        // Before factors are read: their number is the head's width, which a damaged file may make up.
        let mut plan = plan.checked()?;
        plan.ropes = vec![self.rope(head_dim, context_length, loader)?];
        plan.checked()
    }

    /// Experts as the file describes them, where it has any.
    pub fn experts(&self, normalize: bool) -> Result<Option<ExpertsPlan>, Failure> {
        let count = self.number("expert_count").unwrap_or(0);
        if count == 0 {
            return Ok(None);
        }
        let width = self.number("expert_feed_forward_length");
        Ok(Some(ExpertsPlan {
            count,
            per_token: self.count("expert_used_count")?,
            intermediate_size: width.map_or_else(|| self.count("feed_forward_length"), Ok)?,
            normalize,
        }))
    }

    fn rope(
        &self,
        head_dim: usize,
        context_length: usize,
        loader: &mut Loader,
    ) -> Result<RopeConfig, Failure> {
        let dim = self.number("rope.dimension_count").unwrap_or(head_dim);
        Ok(RopeConfig {
            theta: self.float("rope.freq_base").unwrap_or(10_000.0),
            dim,
            scaling: self.scaling(dim.min(head_dim), context_length, loader)?,
        })
    }

    fn scaling(
        &self,
        dim: usize,
        context_length: usize,
        loader: &mut Loader,
    ) -> Result<RopeScaling, Failure> {
        let factor = self.float("rope.scaling.factor").unwrap_or(1.0);
        let original = self.number("rope.scaling.original_context_length");
        let original = original.unwrap_or(context_length);
        if loader.has(LONG_FACTORS) {
            let stretched = context_length as f64 / original as f64;
            let attention_factor = self.float("rope.scaling.attn_factor");
            return Ok(RopeScaling::LongRope(LongRopeScaling {
                short_factor: loader.values(SHORT_FACTORS, dim / 2)?,
                long_factor: loader.values(LONG_FACTORS, dim / 2)?,
                original_max_position_embeddings: original,
                attention_factor: attention_factor
                    .unwrap_or_else(|| LongRopeScaling::magnitude(stretched, original)),
            }));
        }
        if loader.has(ROPE_FACTORS) {
            return Ok(RopeScaling::Factors(loader.values(ROPE_FACTORS, dim / 2)?));
        }
        Ok(match self.text("rope.scaling.type") {
            None | Some("none") => RopeScaling::Plain,
            Some("linear") => RopeScaling::Linear(factor),
            Some("yarn") => RopeScaling::Yarn(YarnScaling {
                factor,
                original_max_position_embeddings: original as f64,
                beta_fast: self.float("rope.scaling.yarn_beta_fast").unwrap_or(32.0),
                beta_slow: self.float("rope.scaling.yarn_beta_slow").unwrap_or(1.0),
                truncate: true,
                attention_factor: YarnScaling::magnitude(factor, 1.0)
                    * self.float("rope.scaling.attn_factor").unwrap_or(1.0),
            }),
            Some(other) => return Err(unknown_scaling(other)),
        })
    }
}
