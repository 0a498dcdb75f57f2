//! `DistilBERT` (Sanh et al., 2019): `modeling_distilbert.py` of transformers. BERT without token types
//! and pooler, under names of its own.

use wire::Failure;

use super::{
    Blueprint,
    plan::{HeadNames, LayerNames, MaskedNames, Names, Plan, SequenceActivation, SequenceNames},
};
use crate::families::json::Json;

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
    projection: "",
    layers: "transformer.layer",
    layer: LayerNames {
        projections: ["attention.q_lin", "attention.k_lin", "attention.v_lin"],
        output: "attention.out_lin",
        attention_norm: "sa_layer_norm",
        up: "ffn.lin1",
        down: "ffn.lin2",
        norm: "output_layer_norm",
    },
    heads: HeadNames {
        sequence: SequenceNames {
            dense: "pre_classifier",
            activation: SequenceActivation::Relu,
            output: "classifier",
        },
        masked: MaskedNames {
            dense: "vocab_transform",
            activation: None,
            norm: "vocab_layer_norm",
            output: "vocab_projector",
            bias: "vocab_projector.bias",
        },
    },
};
