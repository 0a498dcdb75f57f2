//! Qwen3 with experts; `modeling_qwen3_moe.py` of transformers.

use serde_json::{Value, json};
use wire::Failure;

use super::{
    Blueprint,
    gguf::Gguf,
    json::Json,
    names::{ExpertNames, LayerNames},
    plan::{Biases, ExpertsPlan},
    qwen3,
};
use crate::weights::Loader;

/// `config.json`'s defaults.
pub fn defaults() -> Value {
    json!({
        "vocab_size": 151_936,
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 24,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "max_position_embeddings": 32768,
        "sliding_window": 4096,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 768,
    })
}

/// By `config.json`.
pub fn from_json(json: Json) -> Result<Blueprint, Failure> {
    let mut plan = json.plan("qwen3_moe")?;
    plan.biases = Biases::of(json.is_set("attention_bias"), false);
    if json.flag("use_sliding_window") == Some(true) {
        json.slide_all(&mut plan);
    }
    let experts = ExpertsPlan {
        // Transformers 5 writes it under Mixtral's name.
        count: json.any(&["num_local_experts", "num_experts"])?,
        per_token: json.count("num_experts_per_tok")?,
        intermediate_size: json.count("moe_intermediate_size")?,
        normalize: json.flag("norm_topk_prob").unwrap_or(false),
    };
    let step = json.number("decoder_sparse_step").unwrap_or(1).max(1);
    let dense = json.list("mlp_only_layers").unwrap_or_default();
    for (index, layer) in plan.layers.iter_mut().enumerate() {
        let is_dense = dense
            .iter()
            .any(|value| value.as_u64() == Some(index as u64));
        if !is_dense && (index + 1).is_multiple_of(step) {
            layer.experts = Some(experts);
        }
    }
    let names = qwen3::NAMES.with_layer(&LayerNames {
        experts: Some(ExpertNames {
            router: "mlp.gate",
            each: Some("mlp.experts"),
            parts: ["gate_proj", "up_proj", "down_proj"],
            apart: None,
        }),
        ..qwen3::NAMES.layer
    });
    Ok((plan, names))
}

/// By GGUF metadata; llama.cpp, too, takes the weights of a token's experts to add up to one.
pub fn from_gguf(gguf: Gguf, loader: &mut Loader) -> Result<Blueprint, Failure> {
    let mut plan = gguf.plan("qwen3_moe", loader)?;
    let experts = gguf.experts(true)?;
    for layer in &mut plan.layers {
        layer.experts = experts;
    }
    Ok((plan, qwen3::GGUF_NAMES))
}
