//! BART (Lewis et al., 2019) and those that share its layers and names: mBART, Marian, M2M100 with NLLB,
//! Pegasus; `modeling_bart.py` and its siblings in transformers. They differ in where norms stand and in how
//! positions are told.

use serde_json::json;
use wire::Failure;

use super::{
    Blueprint,
    plan::{Half, LayerNames, Names, NormPlace, Plan, PositionPlan},
};
use crate::{failures, families::json::Json};

/// BART, by `config.json`.
pub fn from_json(json: Json) -> Result<Blueprint, Failure> {
    // transformers 4.57 looks at none of these, which first files of BART's siblings set.
    let odd = [
        "normalize_before",
        "static_position_embeddings",
        "add_final_layer_norm",
    ];
    if let Some(key) = odd.iter().find(|key| json.flag(key) == Some(true)) {
        return Err(failures::unsupported(format!(
            "a bart with `{key}` is not supported"
        )));
    }
    let mut special_ids = json!({
        "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2,
        "decoder_start_token_id": 2, "forced_eos_token_id": 2,
    });
    // What the first summarisers say in the place of `forced_bos_token_id`.
    if json.flag("force_bos_token_to_be_generated") == Some(true) {
        special_ids["forced_bos_token_id"] = json.number("bos_token_id").unwrap_or(0).into();
    }
    let plan = Plan {
        embedding_norm: true,
        special_ids,
        ..Plan::of_bart(json, "bart")?
    };
    Ok((plan, NAMES))
}

/// mBART and mBART-50 (Liu et al., 2020): norms first, and one over the vectors too.
pub fn from_mbart_json(json: Json) -> Result<Blueprint, Failure> {
    let plan = Plan {
        embedding_norm: true,
        norms: NormPlace::Before,
        special_ids: json!({
            "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "forced_eos_token_id": 2,
        }),
        ..Plan::of_bart(json, "mbart")?
    };
    Ok((plan, NAMES))
}

/// M2M100 (Fan et al., 2020) and NLLB: norms first, positions counted past the padding's id.
pub fn from_m2m100_json(json: Json) -> Result<Blueprint, Failure> {
    let base = Plan::of_bart(json, "m2m_100")?;
    let scaled = json.flag("scale_embedding").unwrap_or(true);
    let plan = Plan {
        norms: NormPlace::Before,
        activation: json.activation(&["activation_function"], "relu")?,
        embedding_scale: scaled.then(|| (base.hidden as f64).sqrt()),
        positions: PositionPlan::AfterPadding {
            count: json.number("max_position_embeddings").unwrap_or(1024),
            padding: json
                .id("pad_token_id", base.encoder.vocab_size)?
                .unwrap_or(1),
        },
        special_ids: json!({
            "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2,
        }),
        ..base
    };
    Ok((plan, NAMES))
}

/// Marian (Junczys-Dowmunt et al., 2018): BART without its norm over the vectors, and perhaps with a token
/// table for each language.
pub fn from_marian_json(json: Json) -> Result<Blueprint, Failure> {
    let base = Plan::of_bart(json, "marian")?;
    let target = json.number("decoder_vocab_size").filter(|&size| size > 0);
    let shares_words = json
        .flag("share_encoder_decoder_embeddings")
        .unwrap_or(true);
    let plan = Plan {
        positions: sinusoidal(json),
        shares_words,
        decoder: Half {
            vocab_size: target
                .filter(|_| !shares_words)
                .unwrap_or(base.decoder.vocab_size),
            ..base.decoder
        },
        special_ids: json!({
            "pad_token_id": 58100, "eos_token_id": 0,
            "decoder_start_token_id": 58100, "forced_eos_token_id": 0,
        }),
        ..base
    };
    Ok((plan, NAMES))
}

/// Pegasus (Zhang et al., 2019): norms first.
pub fn from_pegasus_json(json: Json) -> Result<Blueprint, Failure> {
    let plan = Plan {
        norms: NormPlace::Before,
        positions: sinusoidal(json),
        special_ids: json!({
            "pad_token_id": 0, "eos_token_id": 1,
            "decoder_start_token_id": 0, "forced_eos_token_id": 1,
        }),
        ..Plan::of_bart(json, "pegasus")?
    };
    Ok((plan, NAMES))
}

fn sinusoidal(json: Json) -> PositionPlan {
    PositionPlan::Sinusoidal {
        count: json.number("max_position_embeddings").unwrap_or(1024),
    }
}

const LAYER: LayerNames = LayerNames {
    attention: [
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.out_proj",
    ],
    attention_norm: "self_attn_layer_norm",
    cross: [
        "encoder_attn.q_proj",
        "encoder_attn.k_proj",
        "encoder_attn.v_proj",
        "encoder_attn.out_proj",
    ],
    cross_norm: "encoder_attn_layer_norm",
    gate: "",
    up: ["fc1", ""],
    down: "fc2",
    norm: "final_layer_norm",
};

const NAMES: Names = Names {
    bases: ["model.", ""],
    shared: "shared",
    layers: "layers",
    last_norm: "layer_norm",
    encoder_layer: LAYER,
    decoder_layer: LAYER,
};
