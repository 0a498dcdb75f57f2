//! GPT-2: learned positions, layer norms, a fused projection with bias, a plain feed-forward layer;
//! `modeling_gpt2.py` of transformers, whose `Conv1D` holds weights as `(in_features, out_features)`.

use serde_json::{Value, json};
use wire::Failure;

use super::{
    Blueprint,
    gguf::Gguf,
    json::Json,
    names::{FeedForwardNames, GGUF, LayerNames, Names, ProjectionNames},
    plan::{Biases, NormKind, Plan},
};
use crate::{layers::Activation, weights::Loader};

/// `config.json`'s defaults.
pub fn defaults() -> Value {
    json!({
        "vocab_size": 50257,
        "n_embd": 768,
        "n_layer": 12,
        "n_head": 12,
        "n_positions": 1024,
    })
}

/// By `config.json`.
pub fn from_json(json: Json) -> Result<Blueprint, Failure> {
    let mut plan = json.plan("gpt2")?;
    plan.biases = Biases::of(true, true);
    plan.norm_epsilon = json.float("layer_norm_epsilon").unwrap_or(1e-5);
    plan.activation = json.activation(&["activation_function"], "gelu_new")?;
    plan.tied = json.flag("tie_word_embeddings").unwrap_or(true);
    without_rope(&mut plan);
    scale(json, &mut plan);
    Ok((plan, NAMES))
}

/// By GGUF metadata, whose conversion turns the weights round.
pub fn from_gguf(gguf: Gguf, loader: &mut Loader) -> Result<Blueprint, Failure> {
    let mut plan = gguf.plan("gpt2", loader)?;
    plan.activation = Activation::GeluTanh;
    without_rope(&mut plan);
    Ok((plan, GGUF_NAMES))
}

/// As transformers' attention `eager` does: its default, `sdpa`, looks at neither key. `reorder_and_upcast_attn` has
/// scores in f32, as they are here.
fn scale(json: Json, plan: &mut Plan) {
    if json.flag("scale_attn_weights") == Some(false) {
        plan.scale = 1.0;
    }
    if json.flag("scale_attn_by_inverse_layer_idx") == Some(true) {
        for (number, layer) in (1_u16..).zip(&mut plan.layers) {
            layer.scale = Some(plan.scale / f32::from(number));
        }
    }
}

fn without_rope(plan: &mut Plan) {
    plan.norm = NormKind::Layer;
    plan.ropes.clear();
    for layer in &mut plan.layers {
        layer.rope = None;
    }
}

const NAMES: Names = Names {
    bases: &["transformer.", ""],
    embed_tokens: "wte",
    embed_positions: Some("wpe"),
    layers: "h",
    norm: "ln_f",
    heads: &["lm_head"],
    layer: LayerNames {
        input_norm: "ln_1",
        projections: ProjectionNames::Fused("attn.c_attn"),
        head_norms: None,
        output: "attn.c_proj",
        post_attention_norm: None,
        feed_forward_norm: "ln_2",
        feed_forward: FeedForwardNames::Plain(["mlp.c_fc", "mlp.c_proj"]),
        experts: None,
        post_feed_forward_norm: None,
    },
    turned: true,
};

const GGUF_NAMES: Names = Names {
    embed_positions: Some("position_embd"),
    layer: LayerNames {
        projections: ProjectionNames::Fused("attn_qkv"),
        feed_forward: FeedForwardNames::Plain(["ffn_up", "ffn_down"]),
        ..GGUF.layer
    },
    ..GGUF
};
