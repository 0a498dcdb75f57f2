//! ALBERT (Lan et al., 2019): `modeling_albert.py` of transformers. A few layers run again and again, in most one, and
//! token vectors that a projection widens.

use wire::Failure;

use super::{
    Blueprint, bert,
    plan::{
        Groups, HeadActivation, HeadNames, LayerNames, Mixing, Names, PartNames, Plan,
        ProjectionNames, TransformNames,
    },
};
use crate::families::json::Json;

/// By `config.json`.
pub fn from_json(json: Json) -> Result<Blueprint, Failure> {
    let mut plan = Plan {
        groups: Some(Groups {
            count: json.number("num_hidden_groups").unwrap_or(1),
            layers: json.number("inner_group_num").unwrap_or(1),
            name: "albert_layers",
        }),
        embedding: json.number("embedding_size").unwrap_or(128),
        activation: json.activation(&["hidden_act"], "gelu_new")?,
        // `AlbertModel` does not look at `is_decoder`.
        is_causal: false,
        ..bert::plan(json, "albert")?
    };
    if let Mixing::Keyed(keyed) = &mut plan.mixing {
        keyed.name = "attention.distance_embedding";
        // `AlbertAttention` adds what distances give to scores that are scaled already.
        keyed.scaled = false;
    }
    Ok((plan, NAMES))
}

const NAMES: Names = Names {
    bases: ["albert.", ""],
    projection: "encoder.embedding_hidden_mapping_in",
    layers: "encoder.albert_layer_groups",
    layer: LayerNames {
        projections: ProjectionNames::Separate([
            "attention.query",
            "attention.key",
            "attention.value",
        ]),
        output: "attention.dense",
        attention_norm: "attention.LayerNorm",
        up: "ffn",
        down: "ffn_output",
        norm: "full_layer_layer_norm",
    },
    heads: HeadNames {
        sequence: PartNames {
            transform: Some(TransformNames {
                dense: ".pooler",
                activation: HeadActivation::TANH,
                norm: "",
            }),
            output: "classifier",
            bias: "",
        },
        masked: PartNames {
            transform: Some(TransformNames {
                dense: "predictions.dense",
                activation: HeadActivation::Own,
                norm: "predictions.LayerNorm",
            }),
            output: "predictions.decoder",
            bias: "predictions.bias",
        },
        ..bert::NAMES.heads
    },
    ..bert::NAMES
};
