//! Mistral: Llama with a window on every layer, where its configuration has one;
//! `modeling_mistral.py` of transformers. In GGUF it is a llama.

use serde_json::{Value, json};
use wire::Failure;

use super::{Blueprint, json::Json, names::TRANSFORMERS};

/// `config.json`'s defaults.
pub fn defaults() -> Value {
    json!({
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131_072,
        "sliding_window": 4096,
    })
}

/// By `config.json`.
pub fn from_json(json: Json) -> Result<Blueprint, Failure> {
    let mut plan = json.plan("mistral")?;
    json.slide_all(&mut plan);
    Ok((plan, TRANSFORMERS))
}
