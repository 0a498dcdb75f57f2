//! `StarCoder2`: rotary positions and grouped heads with layer norms, biases and a plain feed-forward
//! layer; `modeling_starcoder2.py` of transformers.

use serde_json::{Value, json};
use wire::Failure;

use super::{
    Blueprint,
    gguf::Gguf,
    json::Json,
    names::{FeedForwardNames, GGUF, LayerNames, Names, TRANSFORMERS},
    plan::{Biases, NormKind},
};
use crate::{layers::Activation, weights::Loader};

/// `config.json`'s defaults.
pub fn defaults() -> Value {
    json!({
        "vocab_size": 49152,
        "hidden_size": 3072,
        "intermediate_size": 12288,
        "num_hidden_layers": 30,
        "num_attention_heads": 24,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
    })
}

/// By `config.json`.
pub fn from_json(json: Json) -> Result<Blueprint, Failure> {
    let mut plan = json.plan("starcoder2")?;
    plan.norm = NormKind::Layer;
    plan.norm_epsilon = json.float("norm_epsilon").unwrap_or(1e-5);
    plan.activation = json.activation(&["hidden_act"], "gelu_pytorch_tanh")?;
    plan.tied = json.flag("tie_word_embeddings").unwrap_or(true);
    let biased = json.flag("use_bias").unwrap_or(true);
    plan.biases = Biases::of(biased, biased);
    json.slide_all(&mut plan);
    Ok((plan, NAMES))
}

/// By GGUF metadata.
pub fn from_gguf(gguf: Gguf, loader: &mut Loader) -> Result<Blueprint, Failure> {
    let mut plan = gguf.plan("starcoder2", loader)?;
    plan.norm = NormKind::Layer;
    plan.activation = Activation::GeluTanh;
    Ok((plan, GGUF_NAMES))
}

const NAMES: Names = TRANSFORMERS.with_layer(&LayerNames {
    feed_forward: FeedForwardNames::Plain(["mlp.c_fc", "mlp.c_proj"]),
    ..TRANSFORMERS.layer
});

const GGUF_NAMES: Names = GGUF.with_layer(&LayerNames {
    feed_forward: FeedForwardNames::Plain(["ffn_up", "ffn_down"]),
    ..GGUF.layer
});
