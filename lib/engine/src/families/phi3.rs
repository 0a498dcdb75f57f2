//! Phi-3, 3.5 and 4-mini: Llama with fused projections, part of each head turned, `LongRoPE`, and a
//! window where its configuration has one; `modeling_phi3.py` of transformers.

use serde_json::{Value, json};
use wire::Failure;

use super::{
    Blueprint,
    gguf::Gguf,
    json::Json,
    names::{FeedForwardNames, GGUF, LayerNames, Names, ProjectionNames, TRANSFORMERS},
};
use crate::weights::Loader;

/// `config.json`'s defaults.
pub fn defaults() -> Value {
    json!({
        "vocab_size": 32064,
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 4096,
        "original_max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
    })
}

/// By `config.json`.
pub fn from_json(json: Json) -> Result<Blueprint, Failure> {
    let mut plan = json.plan("phi3")?;
    json.slide_all(&mut plan);
    Ok((plan, NAMES))
}

/// By GGUF metadata.
pub fn from_gguf(gguf: Gguf, loader: &mut Loader) -> Result<Blueprint, Failure> {
    let mut plan = gguf.plan("phi3", loader)?;
    if let Some(window) = gguf.number("attention.sliding_window").filter(|&n| n > 0) {
        plan.slide(window, |_| true);
    }
    Ok((plan, GGUF_NAMES))
}

const NAMES: Names = TRANSFORMERS.with_layer(&LayerNames {
    projections: ProjectionNames::Fused("self_attn.qkv_proj"),
    feed_forward: FeedForwardNames::FusedGated(["mlp.gate_up_proj", "mlp.down_proj"]),
    ..TRANSFORMERS.layer
});

const GGUF_NAMES: Names = GGUF.with_layer(&LayerNames {
    projections: ProjectionNames::Fused("attn_qkv"),
    feed_forward: FeedForwardNames::FusedGated(["ffn_up", "ffn_down"]),
    ..GGUF.layer
});
