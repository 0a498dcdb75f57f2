//! Mixtral: Mistral with experts; `modeling_mixtral.py` of transformers. In GGUF it is a llama.

use serde_json::{Value, json};
use wire::Failure;

use super::{
    Blueprint,
    json::Json,
    names::{ExpertNames, LayerNames, TRANSFORMERS},
    plan::ExpertsPlan,
};

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
        "rms_norm_eps": 1e-5,
        "rope_theta": 1e6,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
    })
}

/// By `config.json`.
pub fn from_json(json: Json) -> Result<Blueprint, Failure> {
    let mut plan = json.plan("mixtral")?;
    json.slide_all(&mut plan);
    let experts = ExpertsPlan {
        count: json.count("num_local_experts")?,
        per_token: json.count("num_experts_per_tok")?,
        intermediate_size: plan.intermediate_size,
        normalize: true,
    };
    for layer in &mut plan.layers {
        layer.experts = Some(experts);
    }
    let names = TRANSFORMERS.with_layer(&LayerNames {
        experts: Some(ExpertNames {
            router: "block_sparse_moe.gate",
            each: Some("block_sparse_moe.experts"),
            parts: ["w1", "w3", "w2"],
            apart: None,
        }),
        ..TRANSFORMERS.layer
    });
    Ok((plan, names))
}
