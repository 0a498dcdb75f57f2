//! `DistilBERT` (Sanh et al., 2019): `modeling_distilbert.py` of transformers. BERT without token types
//! and pooler, under names of its own.

use wire::Failure;

use super::{
    Blueprint,
    plan::{
        HeadActivation, HeadNames, LayerNames, Names, PartNames, Plan, ProjectionNames,
        TransformNames,
    },
};
use crate::{families::json::Json, layers::Activation};

/// By `config.json`.
pub fn from_json(json: Json) -> Result<Blueprint, Failure> {
    let plan = Plan {
        token_types: 0,
        epsilon: 1e-12,
        ..Plan::read(json, "distilbert")?
    };
    Ok((plan, NAMES))
}

const NAMES: Names = Names {
    bases: ["distilbert.", ""],
    words: "embeddings.word_embeddings",
    positions: "embeddings.position_embeddings",
    token_types: "",
    norm: "embeddings.LayerNorm",
    final_norm: "",
    projection: "",
    layers: "transformer.layer",
    layer: LayerNames {
        projections: ProjectionNames::Separate([
            "attention.q_lin",
            "attention.k_lin",
            "attention.v_lin",
        ]),
        output: "attention.out_lin",
        attention_norm: "sa_layer_norm",
        up: "ffn.lin1",
        down: "ffn.lin2",
        norm: "output_layer_norm",
    },
    heads: HeadNames {
        token: PartNames::output("classifier"),
        question: PartNames::output("qa_outputs"),
        sequence: PartNames {
            transform: Some(TransformNames {
                dense: "pre_classifier",
                activation: HeadActivation::Other(Activation::Relu),
                norm: "",
            }),
            output: "classifier",
            bias: "",
        },
        masked: PartNames {
            transform: Some(TransformNames {
                dense: "vocab_transform",
                activation: HeadActivation::Own,
                norm: "vocab_layer_norm",
            }),
            output: "vocab_projector",
            bias: "vocab_projector.bias",
        },
    },
};
