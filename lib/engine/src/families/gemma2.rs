//! Gemma 2: Gemma with norms on both sides of attention and feed-forward, capped scores and logits,
//! and a window on every other layer; `modeling_gemma2.py` of transformers with its eager attention.
//! Its default attention (`sdpa`) silently leaves the scores uncapped, which the model was not
//! trained with.

use serde_json::{Value, json};
use wire::Failure;

use super::{
    Blueprint, gemma,
    gguf::Gguf,
    json::Json,
    names::{GGUF, LayerNames, Names, TRANSFORMERS},
};
use crate::weights::Loader;

/// `config.json`'s defaults.
pub fn defaults() -> Value {
    json!({
        "vocab_size": 256_000,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "head_dim": 256,
        "num_key_value_heads": 4,
        "max_position_embeddings": 8192,
        "sliding_window": 4096,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    })
}

/// By `config.json`.
pub fn from_json(json: Json) -> Result<Blueprint, Failure> {
    let mut plan = gemma::base_of_json(json, "gemma2")?;
    let scalar = json.float("query_pre_attn_scalar").unwrap_or(256.0);
    plan.scale = scalar.powf(-0.5) as f32;
    plan.score_cap = json.float("attn_logit_softcapping").map(|cap| cap as f32);
    plan.logit_cap = json.float("final_logit_softcapping").map(|cap| cap as f32);
    // transformers makes the mask of a window whether or not a layer has one.
    let window = json.count("sliding_window")?;
    plan.slide(window, |layer| {
        json.slides(layer, &|layer: usize| layer.is_multiple_of(2))
    });
    Ok((plan, NAMES))
}

/// By GGUF metadata.
pub fn from_gguf(gguf: Gguf, loader: &mut Loader) -> Result<Blueprint, Failure> {
    let mut plan = gemma::base_of_gguf(gguf, "gemma2", loader)?;
    // The scalar is not in the file: it is the head's width but in the model of 27 billion, which
    // llama.cpp too knows by its number of layers.
    if plan.sizes.layers == 46 {
        plan.scale = ((plan.sizes.hidden_size / plan.attention.heads) as f32).powf(-0.5);
    }
    plan.score_cap = gguf.float("attn_logit_softcapping").map(|cap| cap as f32);
    plan.logit_cap = gguf.float("final_logit_softcapping").map(|cap| cap as f32);
    let window = gguf.number("attention.sliding_window").unwrap_or(4096);
    plan.slide(window, |layer| layer.is_multiple_of(2));
    Ok((plan, GGUF_NAMES))
}

/// Names in checkpoints.
pub const NAMES: Names = TRANSFORMERS.with_layer(&LayerNames {
    post_attention_norm: Some("post_attention_layernorm"),
    feed_forward_norm: "pre_feedforward_layernorm",
    post_feed_forward_norm: Some("post_feedforward_layernorm"),
    ..TRANSFORMERS.layer
});

/// Names in GGUF.
pub const GGUF_NAMES: Names = GGUF.with_layer(&LayerNames {
    post_attention_norm: Some("post_attention_norm"),
    post_feed_forward_norm: Some("post_ffw_norm"),
    ..GGUF.layer
});
