//! Gemma 3's language model: Gemma 2 with norms on each head's query and key, five local layers to a
//! global one, each kind with a rotary embedding of its own; `modeling_gemma3.py` of transformers.

use serde_json::{Value, json};
use wire::Failure;

use super::{
    Blueprint, gemma, gemma2,
    gguf::Gguf,
    json::Json,
    names::{LayerNames, Names},
    plan::Plan,
};
use crate::{
    failures,
    layers::{RopeConfig, RopeScaling},
    weights::Loader,
};

/// Every so manieth layer is global.
const PATTERN: usize = 6;
/// Base of the local layers' rotary embedding, where a file does not say.
const LOCAL_THETA: f64 = 10_000.0;

/// `config.json`'s defaults. The files of the models that also see leave out most.
pub fn defaults() -> Value {
    json!({
        "vocab_size": 262_208,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "head_dim": 256,
        "num_key_value_heads": 4,
        "max_position_embeddings": 131_072,
        "rope_theta": 1e6,
        "sliding_window": 4096,
    })
}

/// By `config.json`.
pub fn from_json(json: Json) -> Result<Blueprint, Failure> {
    if json.flag("use_bidirectional_attention") == Some(true) {
        return Err(failures::unsupported(
            "a gemma3 that looks ahead is an encoder, which generates no text",
        ));
    }
    let mut plan = gemma::base_of_json(json, "gemma3")?;
    let scalar = json.float("query_pre_attn_scalar").unwrap_or(256.0);
    plan.scale = scalar.powf(-0.5) as f32;
    // `attn_logit_softcapping` is there too, and `Gemma3Attention` does not pass it on.
    plan.logit_cap = json.float("final_logit_softcapping").map(|cap| cap as f32);
    let (head_dim, context) = (plan.attention.head_dim, plan.sizes.context_length);
    let global = json.rope_values(Some("full_attention"));
    let local = &json.rope_values(Some("sliding_attention"))["rope_theta"];
    let local = json.float("rope_local_base_freq").or(local.as_f64());
    let global = json.rope(global, head_dim, context)?;
    use_ropes(&mut plan, global, local.unwrap_or(LOCAL_THETA));
    let pattern = json
        .number("sliding_window_pattern")
        .or(json.number("_sliding_window_pattern"))
        .unwrap_or(PATTERN)
        .max(1);
    let is_local = |layer| json.slides(layer, &|layer: usize| !(layer + 1).is_multiple_of(pattern));
    // transformers makes the mask of a window whether or not a layer has one.
    use_kinds(&mut plan, json.count("sliding_window")?, is_local);
    Ok((plan, NAMES))
}

/// By GGUF metadata.
pub fn from_gguf(gguf: Gguf, loader: &mut Loader) -> Result<Blueprint, Failure> {
    let mut plan = gemma::base_of_gguf(gguf, "gemma3", loader)?;
    // As in Gemma 2: only the largest model scales by something else than the head's width.
    if plan.sizes.layers == 62 {
        plan.scale = ((plan.sizes.hidden_size / plan.attention.heads) as f32).powf(-0.5);
    }
    plan.logit_cap = gguf.float("final_logit_softcapping").map(|cap| cap as f32);
    let global = plan.ropes.swap_remove(0);
    let local = gguf.float("rope.freq_base_swa").unwrap_or(LOCAL_THETA);
    use_ropes(&mut plan, global, local);
    let window = gguf.number("attention.sliding_window").unwrap_or(1024);
    use_kinds(&mut plan, window, |layer: usize| {
        !(layer + 1).is_multiple_of(PATTERN)
    });
    Ok((plan, GGUF_NAMES))
}

/// Sets the two rotary embeddings, the global one first.
fn use_ropes(plan: &mut Plan, global: RopeConfig, local_theta: f64) {
    let local = RopeConfig {
        theta: local_theta,
        dim: global.dim,
        scaling: RopeScaling::Plain,
    };
    plan.ropes = vec![global, local];
}

/// Local layers have a window, and turn by the local embedding.
fn use_kinds(plan: &mut Plan, window: usize, is_local: impl Fn(usize) -> bool) {
    for (index, layer) in plan.layers.iter_mut().enumerate() {
        layer.rope = Some(usize::from(is_local(index)));
    }
    plan.slide(window, is_local);
}

const NAMES: Names = gemma2::NAMES.with_layer(&LayerNames {
    head_norms: Some(["self_attn.q_norm", "self_attn.k_norm"]),
    ..gemma2::NAMES.layer
});

const GGUF_NAMES: Names = gemma2::GGUF_NAMES.with_layer(&LayerNames {
    head_norms: Some(["attn_q_norm", "attn_k_norm"]),
    ..gemma2::GGUF_NAMES.layer
});
