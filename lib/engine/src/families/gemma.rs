//! Gemma: Llama with scaled token vectors, norms whose weights are stored less one, and a gate
//! through GELU; `modeling_gemma.py` of transformers. The later Gemmas start from it.

use serde_json::{Value, json};
use wire::Failure;

use super::{
    Blueprint,
    gguf::Gguf,
    json::Json,
    names::{GGUF, TRANSFORMERS},
    plan::{Biases, NormKind, Plan},
};
use crate::{layers::Activation, weights::Loader};

/// `config.json`'s defaults.
pub fn defaults() -> Value {
    json!({
        "vocab_size": 256_000,
        "hidden_size": 3072,
        "intermediate_size": 24576,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "head_dim": 256,
        "num_key_value_heads": 16,
        "max_position_embeddings": 8192,
    })
}

/// By `config.json`.
pub fn from_json(json: Json) -> Result<Blueprint, Failure> {
    let mut plan = base_of_json(json, "gemma")?;
    // `hidden_activation` is there too, and `GemmaMLP` does not look at it.
    plan.activation = json.activation(&["hidden_act"], "gelu_pytorch_tanh")?;
    Ok((plan, TRANSFORMERS))
}

/// By GGUF metadata.
pub fn from_gguf(gguf: Gguf, loader: &mut Loader) -> Result<Blueprint, Failure> {
    Ok((base_of_gguf(gguf, "gemma", loader)?, GGUF))
}

/// What all Gemmas share.
pub fn base_of_json(json: Json, architecture: &'static str) -> Result<Plan, Failure> {
    let mut plan = json.plan(architecture)?;
    plan.norm = NormKind::RmsPlusOne;
    plan.biases = Biases::of(json.is_set("attention_bias"), false);
    // The exact root: transformers rounds it to the model's type, and ours computes in f32.
    plan.embedding_scale = Some((plan.sizes.hidden_size as f64).sqrt());
    plan.tied = json.flag("tie_word_embeddings").unwrap_or(true);
    plan.activation = json.activation(&["hidden_activation"], "gelu_pytorch_tanh")?;
    Ok(plan)
}

/// What all Gemmas share in GGUF, whose conversion adds the one to the norms' weights.
pub fn base_of_gguf(
    gguf: Gguf,
    architecture: &'static str,
    loader: &mut Loader,
) -> Result<Plan, Failure> {
    let mut plan = gguf.plan(architecture, loader)?;
    plan.embedding_scale = Some((plan.sizes.hidden_size as f64).sqrt());
    plan.activation = Activation::GeluTanh;
    Ok(plan)
}
