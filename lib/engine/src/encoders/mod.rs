//! Encoders with their heads, one file an architecture: what its configuration means, and the names of
//! its weights. All are the same parts: an architecture gives a [`plan::Plan`] and [`plan::Names`],
//! `assemble` reads the weights, `encoder` runs, `heads` says what comes out.

mod assemble;
mod convolution;
mod encoder;
mod heads;
mod labels;
mod plan;
mod pooling;
mod related;
mod relation;

mod albert;
mod bert;
mod deberta;
mod distilbert;
mod electra;
mod modernbert;
mod mpnet;
mod roberta;

pub use encoder::{Encoder, Row};
pub use heads::HeadKind;
pub use labels::{Labels, ProblemType};
use plan::{Names, Plan};
pub use pooling::mean;
use wire::Failure;

use crate::{
    failures,
    families::json::Json,
    weights::{Description, Loader, Weights},
};

/// What is known of an encoder before its weights are read.
type Blueprint = (Plan, Names);

/// `model_type` of `config.json`, and what reads the rest.
type Architecture = (&'static str, fn(Json) -> Result<Blueprint, Failure>);

const ARCHITECTURES: &[Architecture] = &[
    ("bert", bert::from_json),
    ("distilbert", distilbert::from_json),
    ("roberta", roberta::from_json),
    ("xlm-roberta", roberta::from_json),
    ("camembert", roberta::from_json),
    ("albert", albert::from_json),
    ("electra", electra::from_json),
    ("mpnet", mpnet::from_json),
    ("deberta-v2", deberta::from_json),
    ("modernbert", modernbert::from_json),
    ("mean-pooled-bert", bert::mean_pooled),
];

/// The names of the architectures that load; this project's own is none that others would look for.
pub fn names() -> impl Iterator<Item = &'static str> {
    let names = ARCHITECTURES.iter().map(|(name, _)| *name);
    names.filter(|name| *name != "mean-pooled-bert")
}

/// Whether the weights are of an encoder that loads.
pub fn knows(weights: &Weights) -> bool {
    reader(weights).is_some()
}

fn reader(weights: &Weights) -> Option<(Json<'_>, Architecture)> {
    let Description::Json(json) = &weights.description else {
        return None;
    };
    let model_type = json["model_type"].as_str()?;
    let found = ARCHITECTURES.iter().find(|(name, _)| *name == model_type)?;
    Some((Json::new(json), *found))
}

/// Norms that the first checkpoints called so; transformers renames them as it loads.
const RENAMED: [(&str, &str); 2] = [(".gamma", ".weight"), (".beta", ".bias")];

/// Gives the tensors the names that transformers loads them by.
pub fn rename(weights: &mut Weights) {
    let tensors = std::mem::take(&mut weights.tensors).into_iter();
    weights.tensors = tensors
        .map(|(name, entry)| {
            let renamed = RENAMED.iter().find_map(|(old, new)| {
                let stem = name.strip_suffix(old)?;
                Some(format!("{stem}{new}"))
            });
            (renamed.unwrap_or(name), entry)
        })
        .collect();
}

/// Loads an encoder that [`knows`] says there is, from weights that [`rename`] has seen.
pub fn build(weights: &Weights, loader: &mut Loader) -> Result<Encoder, Failure> {
    let Some((json, (_, read))) = reader(weights) else {
        let known: Vec<&str> = names().collect();
        return Err(failures::unsupported("it is no encoder that is known")
            .hint(format!("encoders that load: {}", known.join(", "))));
    };
    let (plan, names) = read(json)?;
    assemble::assemble(plan.checked()?, &names, json, loader)
}
