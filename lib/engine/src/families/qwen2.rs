//! Qwen2 and 2.5, and DeepSeek-R1's distillations into them: Llama with biases on queries, keys and
//! values, and a window on the later layers where it is switched on; `modeling_qwen2.py` of
//! transformers.

use serde_json::{Value, json};
use wire::Failure;

use super::{
    Blueprint,
    gguf::Gguf,
    json::Json,
    names::{GGUF, TRANSFORMERS},
    plan::{Biases, Plan},
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
        "max_position_embeddings": 32768,
        "sliding_window": 4096,
    })
}

/// By `config.json`.
pub fn from_json(json: Json) -> Result<Blueprint, Failure> {
    let mut plan = json.plan("qwen2")?;
    plan.biases = Biases::OfClass {
        projections: true,
        output: false,
        feed_forward: false,
    };
    slide_later_layers(json, &mut plan);
    Ok((plan, TRANSFORMERS))
}

/// By GGUF metadata.
pub fn from_gguf(gguf: Gguf, loader: &mut Loader) -> Result<Blueprint, Failure> {
    Ok((gguf.plan("qwen2", loader)?, GGUF))
}

/// The window of Qwen's dense families.
pub fn slide_later_layers(json: Json, plan: &mut Plan) {
    if json.flag("use_sliding_window") == Some(true) {
        let first = json.number("max_window_layers").unwrap_or(28);
        json.slide(plan, |layer| layer >= first);
    }
}
