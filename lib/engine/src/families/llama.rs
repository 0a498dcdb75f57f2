//! Llama 2 and 3, and what is built like them (`SmolLM2`, `TinyLlama`, the
//! distillations of DeepSeek-R1);
//! `modeling_llama.py` of transformers.

use serde_json::{Value, json};
use wire::Failure;

use super::{
    Blueprint,
    gguf::Gguf,
    json::Json,
    names::{GGUF, TRANSFORMERS},
    plan::Biases,
};
use crate::{layers::RotaryLayout, weights::Loader};

/// `config.json`'s defaults.
pub fn defaults() -> Value {
    json!({
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 2048,
    })
}

/// By `config.json`.
pub fn from_json(json: Json) -> Result<Blueprint, Failure> {
    let mut plan = json.plan("llama")?;
    plan.biases = Biases::of(json.is_set("attention_bias"), json.is_set("mlp_bias"));
    Ok((plan, TRANSFORMERS))
}

/// By GGUF metadata. What GGUF calls `llama` are Mistral and Mixtral, too.
pub fn from_gguf(gguf: Gguf, loader: &mut Loader) -> Result<Blueprint, Failure> {
    let mut plan = gguf.plan("llama", loader)?;
    plan.layout = RotaryLayout::Interleaved;
    let experts = gguf.experts(true)?;
    for layer in &mut plan.layers {
        layer.experts = experts;
    }
    Ok((plan, GGUF))
}
