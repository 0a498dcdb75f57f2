//! ALBERT (Lan et al., 2019): `modeling_albert.py` of transformers. One layer run again and again, and
//! token vectors that a projection widens.

use wire::Failure;

use super::{
    Blueprint, bert,
    plan::{
        HeadActivation, HeadNames, LayerNames, Names, PartNames, Plan, ProjectionNames,
        TransformNames,
    },
};
use crate::{failures, families::json::Json};

/// By `config.json`. Fails on several groups of layers, which no published checkpoint has.
pub fn from_json(json: Json) -> Result<Blueprint, Failure> {
    let groups = ["num_hidden_groups", "inner_group_num"].map(|key| json.number(key).unwrap_or(1));
    if groups != [1, 1] {
        return Err(failures::unsupported(
            "albert with several groups of layers is not supported",
        ));
    }
    let plan = Plan {
        shares_layers: true,
        embedding: json.number("embedding_size").unwrap_or(128),
        activation: json.activation(&["hidden_act"], "gelu_new")?,
        // `AlbertModel` does not look at `is_decoder`.
        is_causal: false,
        ..bert::absolute(json, "albert")?
    };
    Ok((plan, NAMES))
}

const NAMES: Names = Names {
    bases: ["albert.", ""],
    projection: "encoder.embedding_hidden_mapping_in",
    layers: "encoder.albert_layer_groups.0.albert_layers",
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
                activation: HeadActivation::Tanh,
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
