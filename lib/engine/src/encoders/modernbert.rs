//! `ModernBERT` (Warner et al., 2024): `modeling_modernbert.py` of transformers. Norms first, rotary
//! positions, gated feed-forward layers, two of three layers with a window, few biases.

use wire::Failure;

use super::{
    Blueprint,
    plan::{
        Biases, Counting, HeadActivation, HeadNames, LayerNames, Mixing, Names, PartNames, Plan,
        Pooling, ProjectionNames, TransformNames, Windows,
    },
};
use crate::{
    failures,
    families::{
        json::Json,
        types::{check_size, unfit},
    },
};

/// By `config.json`.
pub fn from_json(json: Json) -> Result<Blueprint, Failure> {
    let scaling = json.rope_values(None)["rope_type"].as_str();
    if scaling.is_some_and(|kind| kind != "default") {
        return Err(failures::unsupported(
            "modernbert with stretched rotary positions is not supported",
        ));
    }
    let mut plan = Plan::read(json, "modernbert")?;
    plan.epsilon = json.float("norm_eps").unwrap_or(1e-5);
    plan.activation = json.activation(&["hidden_activation"], "gelu")?;
    plan.positions = json.number("max_position_embeddings").unwrap_or(8192);
    plan.counting = Counting::Nowhere;
    plan.token_types = 0;
    plan.norms_first = true;
    plan.norm_bias = json.flag("norm_bias").unwrap_or(false);
    let is_set = |key: &str| json.flag(key).unwrap_or(false);
    plan.biases = Biases {
        attention: is_set("attention_bias"),
        feed_forward: is_set("mlp_bias"),
        transform: is_set("classifier_bias"),
        masked: json.flag("decoder_bias").unwrap_or(true),
    };
    plan.gated = true;
    plan.pooling = match json.text("classifier_pooling") {
        Some("mean") => Pooling::Mean,
        _ => Pooling::First,
    };
    plan.mixing = Mixing::Rotary(windows(json)?);
    if !(plan.hidden / plan.heads.max(1)).is_multiple_of(2) {
        let what = format!(
            "so many that heads are of an even width, of a hidden size of {}",
            plan.hidden
        );
        return Err(unfit("num_attention_heads", plan.heads, &what));
    }
    let activation = HeadActivation::read(json, "classifier_activation", "gelu")?;
    Ok((plan, names(activation)))
}

fn windows(json: Json) -> Result<Windows, Failure> {
    let global = json.float("global_rope_theta").unwrap_or(160_000.0);
    let local = json.float("local_rope_theta");
    // transformers falls back on the global base where the key is there as `null`.
    let unset = if json.has("local_rope_theta") {
        global
    } else {
        10_000.0
    };
    let every = json.number("global_attn_every_n_layers").unwrap_or(3);
    check_size("global_attn_every_n_layers", every, 1 << 12)?;
    Ok(Windows {
        thetas: [global, local.unwrap_or(unset)],
        every,
        reach: json.number("local_attention").unwrap_or(128) / 2,
    })
}

const fn names(activation: HeadActivation) -> Names {
    let transform = Some(TransformNames {
        dense: "head.dense",
        activation,
        norm: "head.norm",
    });
    let head = PartNames {
        transform,
        output: "classifier",
        bias: "",
    };
    Names {
        bases: ["model.", ""],
        words: "embeddings.tok_embeddings",
        positions: "",
        token_types: "",
        norm: "embeddings.norm",
        final_norm: "final_norm",
        projection: "",
        layers: "layers",
        layer: LayerNames {
            projections: ProjectionNames::Fused("attn.Wqkv"),
            output: "attn.Wo",
            attention_norm: "attn_norm",
            up: "mlp.Wi",
            down: "mlp.Wo",
            norm: "mlp_norm",
        },
        heads: HeadNames {
            sequence: head,
            token: head,
            question: head,
            masked: PartNames {
                output: "decoder",
                bias: "decoder.bias",
                ..head
            },
        },
    }
}
