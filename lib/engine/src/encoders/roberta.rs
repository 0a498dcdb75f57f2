//! `RoBERTa` (Liu et al., 2019) and XLM-R, which is the same with another vocabulary; also `CamemBERT` and
//! `DistilRoBERTa`, that share its code: `modeling_roberta.py` of transformers. BERT's layers, with
//! positions that count from past the padding token's id.

use wire::Failure;

use super::{
    Blueprint, bert,
    plan::{Counting, HeadActivation, HeadNames, Names, PartNames, TransformNames},
};
use crate::{families::json::Json, layers::Activation};

/// By `config.json`.
pub fn from_json(json: Json) -> Result<Blueprint, Failure> {
    let architecture = match json.model_type() {
        Some("xlm-roberta") => "xlm-roberta",
        Some("camembert") => "camembert",
        _ => "roberta",
    };
    let mut plan = bert::plan(json, architecture)?;
    // The class has a row of positions for it.
    let padding = json.id("pad_token_id", plan.positions)?;
    plan.counting = Counting::AfterPadding(padding.unwrap_or(1));
    Ok((plan, NAMES))
}

const NAMES: Names = Names {
    bases: ["roberta.", ""],
    heads: HeadNames {
        sequence: SEQUENCE,
        masked: MASKED,
        ..bert::NAMES.heads
    },
    ..bert::NAMES
};

/// The head that classifies sequences, which others have from it.
pub const SEQUENCE: PartNames = PartNames {
    transform: Some(TransformNames {
        dense: "classifier.dense",
        activation: HeadActivation::TANH,
        norm: "",
    }),
    output: "classifier.out_proj",
    bias: "",
};

/// The head that guesses masked tokens, which others have from it.
pub const MASKED: PartNames = PartNames {
    transform: Some(TransformNames {
        dense: "lm_head.dense",
        activation: HeadActivation::Other(Activation::Gelu),
        norm: "lm_head.layer_norm",
    }),
    output: "lm_head.decoder",
    bias: "lm_head.bias",
};
