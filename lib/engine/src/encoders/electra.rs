//! ELECTRA (Clark et al., 2020): `modeling_electra.py` of transformers. BERT's layers, token vectors
//! that a projection widens, heads of its own.

use wire::Failure;

use super::{
    Blueprint, bert,
    plan::{HeadNames, MaskedNames, Names, SequenceActivation, SequenceNames},
};
use crate::{families::json::Json, layers::Activation};

/// By `config.json`.
pub fn from_json(json: Json) -> Result<Blueprint, Failure> {
    let mut plan = bert::absolute(json, "electra")?;
    plan.embedding = json.number("embedding_size").unwrap_or(128);
    Ok((plan, NAMES))
}

const NAMES: Names = Names {
    bases: ["electra.", ""],
    heads: HeadNames {
        sequence: SequenceNames {
            dense: "classifier.dense",
            activation: SequenceActivation::Gelu,
            output: "classifier.out_proj",
        },
        masked: MaskedNames {
            dense: "generator_predictions.dense",
            activation: Some(Activation::Gelu),
            norm: "generator_predictions.LayerNorm",
            output: "generator_lm_head",
            bias: "generator_lm_head.bias",
        },
    },
    ..bert::NAMES
};
