//! `SmolLM3`: Llama in which every fourth layer knows no positions; `modeling_smollm3.py` of
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
use crate::{layers::RotaryLayout, weights::Loader};

/// Every so manieth layer is without positions, where a file does not say.
const INTERVAL: usize = 4;

/// `config.json`'s defaults.
pub fn defaults() -> Value {
    json!({
        "vocab_size": 128_256,
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "max_position_embeddings": 32768,
        "rope_theta": 2e6,
    })
}

/// By `config.json`.
pub fn from_json(json: Json) -> Result<Blueprint, Failure> {
    let mut plan = json.plan("smollm3")?;
    plan.biases = Biases::of(json.is_set("attention_bias"), json.is_set("mlp_bias"));
    plan.tied = json.flag("tie_word_embeddings").unwrap_or(true);
    let interval = json.number("no_rope_layer_interval").unwrap_or(INTERVAL);
    let listed = json.list("no_rope_layers");
    // Contrary to its name, the list has a 1 for layers that turn.
    let turns = |layer: usize| match listed {
        Some(list) => list.get(layer).and_then(Value::as_u64) != Some(0),
        None => !(layer + 1).is_multiple_of(interval.max(1)),
    };
    leave_unturned(&mut plan, turns);
    if json.flag("use_sliding_window") == Some(true) {
        json.slide(&mut plan, |layer| !turns(layer));
    }
    Ok((plan, TRANSFORMERS))
}

/// By GGUF metadata.
pub fn from_gguf(gguf: Gguf, loader: &mut Loader) -> Result<Blueprint, Failure> {
    let mut plan = gguf.plan("smollm3", loader)?;
    plan.layout = RotaryLayout::Interleaved;
    leave_unturned(&mut plan, |layer| !(layer + 1).is_multiple_of(INTERVAL));
    Ok((plan, GGUF))
}

fn leave_unturned(plan: &mut Plan, turns: impl Fn(usize) -> bool) {
    for (index, layer) in plan.layers.iter_mut().enumerate() {
        layer.rope = turns(index).then_some(0);
    }
}
