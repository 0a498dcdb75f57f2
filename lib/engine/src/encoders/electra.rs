//! ELECTRA (Clark et al., 2020): `modeling_electra.py` of transformers. BERT's layers, token vectors
//! that a projection widens, heads of its own.

use wire::Failure;

use super::{
    Blueprint, bert,
    plan::{HeadActivation, HeadNames, Names, PartNames, TransformNames},
};
use crate::{families::json::Json, layers::Activation};

/// By `config.json`.
pub fn from_json(json: Json) -> Result<Blueprint, Failure> {
    let mut plan = bert::plan(json, "electra")?;
    plan.embedding = json.number("embedding_size").unwrap_or(128);
    Ok((plan, NAMES))
}

const NAMES: Names = Names {
    bases: ["electra.", ""],
    heads: HeadNames {
        sequence: PartNames {
            transform: Some(TransformNames {
                dense: "classifier.dense",
                activation: HeadActivation::Other(Activation::Gelu),
                norm: "",
            }),
            output: "classifier.out_proj",
            bias: "",
        },
        masked: PartNames {
            transform: Some(TransformNames {
                dense: "generator_predictions.dense",
                activation: HeadActivation::Other(Activation::Gelu),
                norm: "generator_predictions.LayerNorm",
            }),
            output: "generator_lm_head",
            bias: "generator_lm_head.bias",
        },
        ..bert::NAMES.heads
    },
    ..bert::NAMES
};
