//! BERT (Devlin et al., 2018): `modeling_bert.py` of transformers.

use wire::Failure;

use super::{
    Blueprint,
    plan::{
        HeadActivation, HeadNames, Keyed, LayerNames, Mixing, Names, PartNames, Plan, Pooling,
        ProjectionNames, TransformNames,
    },
    roberta,
};
use crate::{failures, families::json::Json};

/// By `config.json`.
pub fn from_json(json: Json) -> Result<Blueprint, Failure> {
    Ok((plan(json, "bert")?, NAMES))
}

/// The embedded sentiment model's own type: the head of `RoBERTa`'s shape looks at the mean of all states.
pub fn mean_pooled(json: Json) -> Result<Blueprint, Failure> {
    let plan = Plan {
        pooling: Pooling::Mean,
        ..plan(json, "mean-pooled-bert")?
    };
    let heads = HeadNames {
        sequence: roberta::SEQUENCE,
        ..NAMES.heads
    };
    Ok((plan, Names { heads, ..NAMES }))
}

/// The plan of an architecture with BERT's layers, which attend as a decoder's where the configuration says so. With
/// relative positions, token vectors have none of their own. Fails on others, with which transformers has none at all.
pub fn plan(json: Json, architecture: &'static str) -> Result<Plan, Failure> {
    let mut plan = Plan {
        is_causal: json.flag("is_decoder").unwrap_or(false),
        ..Plan::read(json, architecture)?
    };
    let kind = json.text("position_embedding_type").unwrap_or("absolute");
    if kind != "absolute" {
        let by_keys = match kind {
            "relative_key" => false,
            "relative_key_query" => true,
            _ => {
                return Err(failures::unsupported(format!(
                    "{architecture} with positions of type `{kind}` is not supported"
                ))
                .hint("types that load: absolute, relative_key, relative_key_query"));
            }
        };
        plan.mixing = Mixing::Keyed(Keyed {
            name: "attention.self.distance_embedding",
            by_keys,
            scaled: true,
        });
    }
    Ok(plan)
}

pub const NAMES: Names = Names {
    bases: ["bert.", ""],
    words: "embeddings.word_embeddings",
    positions: "embeddings.position_embeddings",
    token_types: "embeddings.token_type_embeddings",
    norm: "embeddings.LayerNorm",
    final_norm: "",
    projection: "embeddings_project",
    layers: "encoder.layer",
    layer: LAYER,
    heads: HeadNames {
        token: PartNames::output("classifier"),
        question: PartNames::output("qa_outputs"),
        sequence: PartNames {
            transform: Some(TransformNames {
                dense: ".pooler.dense",
                activation: HeadActivation::TANH,
                norm: "",
            }),
            output: "classifier",
            bias: "",
        },
        masked: PartNames {
            transform: Some(TransformNames {
                dense: "cls.predictions.transform.dense",
                activation: HeadActivation::Own,
                norm: "cls.predictions.transform.LayerNorm",
            }),
            output: "cls.predictions.decoder",
            bias: "cls.predictions.bias",
        },
    },
};

const LAYER: LayerNames = LayerNames {
    projections: ProjectionNames::Separate([
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
    ]),
    output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    norm: "output.LayerNorm",
};
