//! Encoder-decoders: models that read one text and write another. An architecture gives a [`plan::Plan`] and
//! [`plan::Names`], `assemble` reads the weights, `encoder` and `model` run; generation is `generate`'s.

mod assemble;
mod bart;
mod class;
mod classifier;
mod embed;
mod encoder;
mod model;
mod plan;
mod source_encoder;
mod start;
mod t5;

pub use classifier::Classifier;
pub use model::Seq2Seq;
use plan::{Names, Plan};
use serde_json::Value;
pub use source_encoder::{SourceEncoder, SourceHalf};
pub use start::Start;
use wire::{Failure, model::ModuleInfo};

use crate::{
    class::Class,
    failures,
    families::json::Json,
    modules,
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

/// Whether texts are embedded by the encoder alone of a model of the architecture that has both halves, as
/// sentence-transformers does it.
pub fn embeds_by_encoder(architecture: &str) -> bool {
    matches!(architecture, "t5" | "mt5")
}

/// Whether an architecture has a head for labels that loads.
pub fn has_classifier(architecture: &str) -> bool {
    matches!(architecture, "bart" | "mbart")
}

/// What a model of these architectures is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To write texts with.
    Writer,
    /// To label texts by its head: `BartForSequenceClassification`.
    Classifier,
    /// To read texts: an encoder alone, `T5EncoderModel`.
    Encoder,
}

/// What the weights are for; `None` where they are of no encoder-decoder that loads.
pub fn kind(weights: &Weights) -> Option<Kind> {
    let (json, (name, _)) = reader(weights)?;
    let classes = json.list("architectures").into_iter().flatten();
    let classes: Vec<&str> = classes.filter_map(Value::as_str).collect();
    let is_named = |end: &str| classes.iter().any(|class| class.ends_with(end));
    let has_decoder = || weights.tensors.keys().any(|name| name.contains("decoder."));
    Some(match name {
        _ if has_classifier(name) && is_named("ForSequenceClassification") => Kind::Classifier,
        "t5" | "mt5" if is_named("EncoderModel") || !has_decoder() => Kind::Encoder,
        _ => Kind::Writer,
    })
}

/// Whether the weights are of an encoder-decoder that loads, to write texts with.
pub fn knows(weights: &Weights) -> bool {
    kind(weights) == Some(Kind::Writer)
}

/// The class that transformers has for an encoder-decoder; `None` where the weights are of none that loads.
pub(crate) fn class(weights: &Weights) -> Option<Class> {
    let (json, (_, read)) = reader(weights)?;
    let (plan, names) = read(json).ok()?;
    let blueprint = (plan.checked().ok()?, names);
    Some(class::of(&blueprint, kind(weights)?, weights))
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

/// Loads an encoder-decoder of any [`Kind`] that has both halves, without a head for labels.
pub fn build(weights: &Weights, loader: &mut Loader) -> Result<Seq2Seq, Failure> {
    let (json, plan, names) = blueprint(weights, loader)?;
    let mut model = assemble::assemble((&plan, &names), Kind::Writer, json, loader)?;
    finish((&plan, &names), Kind::Writer, loader);
    model.modules = modules((&plan, &names), Kind::Writer, weights, loader);
    Ok(model)
}

/// Tells what of the files is in no part of a model of the kind that a loader has handed out.
fn finish(blueprint: (&Plan, &Names), kind: Kind, loader: &mut Loader) {
    let unused = class::unused(blueprint, kind, loader);
    loader.tell_unused(&unused);
}

/// The tree of the modules that a loader has handed out, for a model of the kind.
fn modules(
    (plan, names): (&Plan, &Names),
    kind: Kind,
    weights: &Weights,
    loader: &Loader,
) -> Option<ModuleInfo> {
    let class = match (kind, plan.architecture) {
        (Kind::Writer, "marian") => "MTModel",
        (Kind::Writer, _) => "ForConditionalGeneration",
        (Kind::Classifier, _) => "ForSequenceClassification",
        (Kind::Encoder, _) => "EncoderModel",
    };
    let kind = modules::Kind {
        architecture: plan.architecture,
        class,
        base: assemble::base(names, weights),
        attribute: names.bases[0],
        table: (plan.decoder.vocab_size, plan.hidden),
        epsilon: plan.epsilon,
    };
    modules::outlined(&kind, weights, loader.parts())
}

/// What the configuration says, for a loader that is to hand out plain f32 as it lies.
fn blueprint<'a>(
    weights: &'a Weights,
    loader: &mut Loader,
) -> Result<(Json<'a>, Plan, Names), Failure> {
    let Some((json, (_, read))) = reader(weights) else {
        let known: Vec<&str> = names().collect();
        return Err(
            failures::unsupported("it is no encoder-decoder that is known")
                .hint(format!("those that load: {}", known.join(", "))),
        );
    };
    let blueprint = json.check_reader().and_then(|()| {
        let (plan, names) = read(json)?;
        Ok((json, plan.checked()?, names))
    });
    loader.prefer_dense();
    blueprint.map_err(|failure| loader.named(failure))
}
