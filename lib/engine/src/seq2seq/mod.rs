//! Encoder-decoders: models that read one text and write another. An architecture gives a [`plan::Plan`] and
//! [`plan::Names`], `assemble` reads the weights, `encoder` and `model` run; generation is `generate`'s.

mod assemble;
mod bart;
mod classifier;
mod embed;
mod encoder;
mod model;
mod plan;
mod start;
mod t5;

pub use classifier::Classifier;
pub use model::Seq2Seq;
use plan::{Names, Plan};
use serde_json::Value;
pub use start::Start;
use wire::Failure;

use crate::{
    failures,
    families::json::Json,
    weights::{Description, Loader, Weights},
};

/// What is known of a model before its weights are read.
type Blueprint = (Plan, Names);

/// `model_type` of `config.json`, and what reads the rest.
type Architecture = (&'static str, fn(Json) -> Result<Blueprint, Failure>);

const ARCHITECTURES: &[Architecture] = &[
    ("t5", t5::from_json),
    ("mt5", t5::from_mt5_json),
    ("bart", bart::from_json),
    ("mbart", bart::from_mbart_json),
    ("marian", bart::from_marian_json),
    ("m2m_100", bart::from_m2m100_json),
    ("pegasus", bart::from_pegasus_json),
];

/// The names of the architectures that load.
pub fn names() -> impl Iterator<Item = &'static str> {
    ARCHITECTURES.iter().map(|(name, _)| *name)
}

/// Whether the weights are of an encoder-decoder that loads, to write texts with.
pub fn knows(weights: &Weights) -> bool {
    reader(weights).is_some() && !classifies(weights)
}

/// Whether they are of one whose head labels texts: `BartForSequenceClassification`.
pub fn classifies(weights: &Weights) -> bool {
    reader(weights).is_some_and(|(json, (name, _))| {
        let mut classes = json.list("architectures").into_iter().flatten();
        matches!(name, "bart" | "mbart")
            && classes.any(|class| {
                class
                    .as_str()
                    .is_some_and(|class| class.ends_with("ForSequenceClassification"))
            })
    })
}

/// Ids that transformers' class takes where `config.json` leaves them out.
pub fn special_ids(weights: &Weights) -> Value {
    let found = reader(weights).and_then(|(json, (_, read))| read(json).ok());
    found.map_or(Value::Null, |(plan, _)| plan.special_ids)
}

fn reader(weights: &Weights) -> Option<(Json<'_>, Architecture)> {
    let Description::Json(json) = &weights.description else {
        return None;
    };
    let model_type = json["model_type"].as_str()?;
    let found = ARCHITECTURES.iter().find(|(name, _)| *name == model_type)?;
    Some((Json::new(json), *found))
}

/// Loads an encoder-decoder that [`knows`] or [`classifies`] says there is.
pub fn build(weights: &Weights, loader: &mut Loader) -> Result<Seq2Seq, Failure> {
    let Some((json, (_, read))) = reader(weights) else {
        let known: Vec<&str> = names().collect();
        return Err(
            failures::unsupported("it is no encoder-decoder that is known")
                .hint(format!("those that load: {}", known.join(", "))),
        );
    };
    let (plan, names) = read(json)?;
    loader.prefer_dense();
    assemble::assemble(&plan.checked()?, &names, json, loader)
}
