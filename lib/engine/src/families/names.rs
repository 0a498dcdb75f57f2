//! What files call the weights. Families name what they have beyond the two common sets.

/// Names of a decoder's weights, without `.weight` and `.bias`.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// What may stand before all names but the head's; the first under which the token table is
    /// found. A checkpoint of a bare model has none, one of a model that also sees has more.
    pub bases: &'static [&'static str],
    /// Token table.
    pub embed_tokens: &'static str,
    /// Table of learned positions.
    pub embed_positions: Option<&'static str>,
    /// What stands before a layer's number.
    pub layers: &'static str,
    /// Last norm.
    pub norm: &'static str,
    /// Head, with its base; the first that is there.
    pub heads: &'static [&'static str],
    /// Parts of a layer.
    pub layer: LayerNames,
    /// Linear weights of layers lie as `(in_features, out_features)`.
    pub turned: bool,
}

/// Names within a layer.
#[derive(Clone, Copy, Debug)]
pub struct LayerNames {
    /// Norm before attention.
    pub input_norm: &'static str,
    /// Queries, keys and values.
    pub projections: ProjectionNames,
    /// Norms of each head's query and key.
    pub head_norms: Option<[&'static str; 2]>,
    /// Attention's way out.
    pub output: &'static str,
    /// Norm after attention, before its sum with what went in.
    pub post_attention_norm: Option<&'static str>,
    /// Norm before the feed-forward layer.
    pub feed_forward_norm: &'static str,
    /// Feed-forward layer.
    pub feed_forward: FeedForwardNames,
    /// Experts.
    pub experts: Option<ExpertNames>,
    /// Norm after the feed-forward layer, before its sum with what went in.
    pub post_feed_forward_norm: Option<&'static str>,
}

/// Queries, keys and values.
#[derive(Clone, Copy, Debug)]
pub enum ProjectionNames {
    /// One each.
    Separate([&'static str; 3]),
    /// All in one.
    Fused(&'static str),
}

/// A feed-forward layer.
#[derive(Clone, Copy, Debug)]
pub enum FeedForwardNames {
    /// Gate, up and down.
    Gated([&'static str; 3]),
    /// Gate with up, and down.
    FusedGated([&'static str; 2]),
    /// Up and down.
    Plain([&'static str; 2]),
}

/// Experts.
#[derive(Clone, Copy, Debug)]
pub struct ExpertNames {
    /// The router.
    pub router: &'static str,
    /// What stands before an expert's number; `None` where all lie in one tensor.
    pub each: Option<&'static str>,
    /// Gate, up and down.
    pub parts: [&'static str; 3],
    /// The same before an expert's number, where each is a tensor of its own all the same: as llama.cpp wrote
    /// them before April 2024.
    pub apart: Option<[&'static str; 3]>,
}

/// Checkpoints of transformers, as most families write them.
pub const TRANSFORMERS: Names = Names {
    bases: &[
        "model.",
        "",
        "language_model.model.",
        "model.language_model.",
    ],
    embed_tokens: "embed_tokens",
    embed_positions: None,
    layers: "layers",
    norm: "norm",
    heads: &["lm_head", "language_model.lm_head"],
    layer: LayerNames {
        input_norm: "input_layernorm",
        projections: ProjectionNames::Separate([
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
        ]),
        head_norms: None,
        output: "self_attn.o_proj",
        post_attention_norm: None,
        feed_forward_norm: "post_attention_layernorm",
        feed_forward: FeedForwardNames::Gated(["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]),
        experts: None,
        post_feed_forward_norm: None,
    },
    turned: false,
};

/// GGUF files.
pub const GGUF: Names = Names {
    bases: &[""],
    embed_tokens: "token_embd",
    embed_positions: None,
    layers: "blk",
    norm: "output_norm",
    heads: &["output"],
    layer: LayerNames {
        input_norm: "attn_norm",
        projections: ProjectionNames::Separate(["attn_q", "attn_k", "attn_v"]),
        head_norms: None,
        output: "attn_output",
        post_attention_norm: None,
        feed_forward_norm: "ffn_norm",
        feed_forward: FeedForwardNames::Gated(["ffn_gate", "ffn_up", "ffn_down"]),
        experts: Some(ExpertNames {
            router: "ffn_gate_inp",
            each: None,
            parts: ["ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"],
            apart: Some(["ffn_gate", "ffn_up", "ffn_down"]),
        }),
        post_feed_forward_norm: None,
    },
    turned: false,
};

impl Names {
    /// The same with another layer.
    pub const fn with_layer(&self, layer: &LayerNames) -> Self {
        Self {
            layer: *layer,
            ..*self
        }
    }
}
