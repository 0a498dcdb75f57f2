//! Qwen3: Qwen2 with norms on each head's query and key in place of biases; `modeling_qwen3.py` of
//! transformers.

use serde_json::{Value, json};
use wire::Failure;

use super::{
    Blueprint,
    gguf::Gguf,
    json::Json,
    names::{GGUF, LayerNames, Names, TRANSFORMERS},
    plan::Biases,
    qwen2,
};
use crate::weights::Loader;

/// `config.json`'s defaults.
pub fn defaults() -> Value {
    json!({
        "vocab_size": 151_936,
        "hidden_size": 4096,
        "intermediate_size": 22016,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "head_dim": 128,
        "max_position_embeddings": 32768,
        "sliding_window": 4096,
    })
}

/// By `config.json`.
pub fn from_json(json: Json) -> Result<Blueprint, Failure> {
    let mut plan = json.plan("qwen3")?;
    plan.biases = Biases::of(json.is_set("attention_bias"), false);
    qwen2::slide_later_layers(json, &mut plan);
    Ok((plan, NAMES))
}

/// By GGUF metadata.
pub fn from_gguf(gguf: Gguf, loader: &mut Loader) -> Result<Blueprint, Failure> {
    Ok((gguf.plan("qwen3", loader)?, GGUF_NAMES))
}

/// Names in checkpoints.
pub const NAMES: Names = TRANSFORMERS.with_layer(&LayerNames {
    head_norms: Some(["self_attn.q_norm", "self_attn.k_norm"]),
    ..TRANSFORMERS.layer
});

/// Names in GGUF.
pub const GGUF_NAMES: Names = GGUF.with_layer(&LayerNames {
    head_norms: Some(["attn_q_norm", "attn_k_norm"]),
    ..GGUF.layer
});
