//! T5 (Raffel et al., 2019) with its second version, Flan-T5 and mT5: `modeling_t5.py` and `modeling_mt5.py`
//! of transformers. Relative positions, unscaled scores, norms without bias; the first version ties its
//! head, the second has one of its own and gates.

use serde_json::json;
use wire::Failure;

use super::{
    Blueprint,
    plan::{Half, LayerNames, Names, NormPlace, Plan, PositionPlan},
};
use crate::{
    failures,
    families::{json::Json, plan::NormKind},
    layers::Activation,
};

/// By `config.json` of T5.
pub fn from_json(json: Json) -> Result<Blueprint, Failure> {
    Ok((plan(json, "t5", "relu", true)?, NAMES))
}

/// The same of mT5, which leaves out other things.
pub fn from_mt5_json(json: Json) -> Result<Blueprint, Failure> {
    Ok((plan(json, "mt5", "gated-gelu", false)?, NAMES))
}

fn plan(
    json: Json,
    architecture: &'static str,
    feed_forward: &str,
    tied: bool,
) -> Result<Plan, Failure> {
    let hidden = json.number("d_model").unwrap_or(512);
    let half = |layers: usize| -> Result<Half, Failure> {
        Ok(Half {
            vocab_size: json.count("vocab_size")?,
            layers,
            heads: json.number("num_heads").unwrap_or(8),
            head_dim: json.number("d_kv").unwrap_or(64),
            intermediate: json.number("d_ff").unwrap_or(2048),
        })
    };
    let layers = json.number("num_layers").unwrap_or(6);
    let (gated, activation) =
        feed_forward_of(json.text("feed_forward_proj").unwrap_or(feed_forward))?;
    let tied = json.flag("tie_word_embeddings").unwrap_or(tied);
    Ok(Plan {
        architecture,
        encoder: half(layers)?,
        decoder: half(json.number("num_decoder_layers").unwrap_or(layers))?,
        hidden,
        activation,
        gated,
        norm: NormKind::Rms,
        epsilon: json.float("layer_norm_epsilon").unwrap_or(1e-6),
        norms: NormPlace::Before,
        embedding_norm: false,
        embedding_scale: None,
        positions: PositionPlan::Relative {
            buckets: json.number("relative_attention_num_buckets").unwrap_or(32),
            max_distance: json
                .number("relative_attention_max_distance")
                .unwrap_or(128),
        },
        tied: tied.then(|| (hidden as f64).powf(-0.5)),
        shares_words: true,
        special_ids: json!({"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}),
    })
}

/// `feed_forward_proj`: whether there is a gate, and the activation.
fn feed_forward_of(name: &str) -> Result<(bool, Activation), Failure> {
    let (gated, activation) = match name.split_once('-') {
        Some(("gated", "gelu")) => (true, "gelu_new"),
        Some(("gated", activation)) => (true, activation),
        _ => (false, name),
    };
    let activation = Activation::named(activation).ok_or_else(|| {
        failures::unsupported(format!("feed-forward layers of `{name}` are not supported")).hint(
            format!(
                "those that load: {}, and each of them with `gated-` before it",
                Activation::names().join(", ")
            ),
        )
    })?;
    Ok((gated, activation))
}

const ENCODER: LayerNames = LayerNames {
    attention: [
        "layer.0.SelfAttention.q",
        "layer.0.SelfAttention.k",
        "layer.0.SelfAttention.v",
        "layer.0.SelfAttention.o",
    ],
    attention_norm: "layer.0.layer_norm",
    cross: [
        "layer.1.EncDecAttention.q",
        "layer.1.EncDecAttention.k",
        "layer.1.EncDecAttention.v",
        "layer.1.EncDecAttention.o",
    ],
    cross_norm: "layer.1.layer_norm",
    gate: "layer.1.DenseReluDense.wi_0",
    up: ["layer.1.DenseReluDense.wi", "layer.1.DenseReluDense.wi_1"],
    down: "layer.1.DenseReluDense.wo",
    norm: "layer.1.layer_norm",
};

const NAMES: Names = Names {
    bases: ["", "transformer."],
    shared: "shared",
    layers: "block",
    last_norm: "final_layer_norm",
    encoder_layer: ENCODER,
    decoder_layer: LayerNames {
        gate: "layer.2.DenseReluDense.wi_0",
        up: ["layer.2.DenseReluDense.wi", "layer.2.DenseReluDense.wi_1"],
        down: "layer.2.DenseReluDense.wo",
        norm: "layer.2.layer_norm",
        ..ENCODER
    },
};
