//! What transformers' classes of encoders have that their files do not tell: the class is the one of the heads
//! that were found, whatever else a file holds.

use super::{
    Blueprint,
    kinds::{base, kinds, of_base},
    plan::{Names, PartNames, Plan, TransformNames},
};
use crate::{
    class::Class,
    families::json::Json,
    weights::{Loader, Weights},
};

/// The class of an encoder by its plan, its names and its files.
pub fn of((plan, names): &Blueprint, json: Json, weights: &Weights) -> Class {
    let view = View::new(names, json, weights);
    let tensors = weights.tensors.keys();
    let foreign = tensors.filter(|name| !view.has(name)).cloned();
    Class {
        kept: view.kept(),
        foreign: foreign.collect(),
        buffer_bytes: buffer_bytes(plan),
        ..Class::default()
    }
}

/// Tensors of the files that transformers warns of as it loads the class: neither parameters of it, be they second
/// names of one or looked at by nothing here, nor buffers. `loader` has handed the model out.
pub fn unused<'a>((plan, names): (&Plan, &Names), json: Json, loader: &Loader<'a>) -> Vec<&'a str> {
    let view = View::new(names, json, loader.weights());
    let is_second = |tensor: &str| {
        let module = tensor.rsplit_once('.').map(|(module, _)| module);
        let mut heads = view.heads.iter();
        heads.any(|names| module == Some(names.output))
    };
    let is_ignored = |tensor: &str| {
        let name = tensor.strip_prefix(view.base);
        name.is_some_and(|name| {
            BUFFERS.contains(&name) || name.starts_with("pooler.") && view.pools()
        })
            || plan.architecture == "deberta-v2"
                && (tensor.contains("position_embeddings") || tensor.contains("mask_predictions."))
            // What bitsandbytes keeps beside a weight of its own.
            || tensor.contains(".weight.")
    };
    let rest = loader.rest();
    rest.filter(|name| !is_second(name) && !is_ignored(name))
        .collect()
}

/// Numbers of positions and of types, which the first files have too.
const BUFFERS: [&str; 2] = ["embeddings.position_ids", "embeddings.token_type_ids"];

/// The table of positions' numbers and, where there are types, as many of these; or a layer's frequencies.
fn buffer_bytes(plan: &Plan) -> usize {
    let numbers = plan.positions * size_of::<i64>();
    match plan.architecture {
        "modernbert" => plan.layers * (plan.hidden / plan.heads / 2) * size_of::<f32>(),
        "distilbert" | "mpnet" | "deberta-v2" => numbers,
        _ => 2 * numbers,
    }
}

/// The names of an encoder's heads, and of what they stand on, as one class has them.
struct View<'a> {
    base: &'a str,
    heads: Vec<&'a PartNames>,
    /// Whether a head for masked tokens has the table of tokens.
    ties: bool,
}

impl<'a> View<'a> {
    fn new(names: &'a Names, json: Json, weights: &Weights) -> Self {
        let base = base(names, weights);
        let heads = kinds((names, base), json, weights).into_iter().flatten();
        Self {
            base,
            heads: heads.map(|kind| names.heads.of(kind)).collect(),
            ties: json.flag("tie_word_embeddings").unwrap_or(true),
        }
    }
}

impl View<'_> {
    /// The last layer of the class: a head's output, or what a bare encoder has for the first token. A head for
    /// masked tokens shares its bias with the output, so that all that stands beside the bias is kept too.
    fn kept(&self) -> Vec<String> {
        if self.heads.is_empty() {
            return vec![
                format!("{}pooler.dense", self.base),
                format!("{}pooler", self.base),
            ];
        }
        let kept = self.heads.iter().flat_map(|names| {
            let beside = names.bias.strip_suffix(".bias");
            [names.output, beside.unwrap_or_default()]
        });
        let kept = kept.filter(|name| !name.is_empty());
        kept.map(str::to_owned).collect()
    }

    /// Whether a tensor of a file is the class's.
    fn has(&self, tensor: &str) -> bool {
        match tensor.strip_prefix(self.base) {
            Some(name) if BUFFERS.contains(&name) => false,
            Some(name) if name.starts_with("pooler.") => self.pools(),
            Some(_) => true,
            None => {
                let mut heads = self.heads.iter();
                heads.any(|names| self.is_of_head(tensor, names))
            }
        }
    }

    /// Whether the class looks at the first token by a layer of the encoder's own.
    fn pools(&self) -> bool {
        let dense = |names: &PartNames| names.transform.map_or("", |transform| transform.dense);
        let mut heads = self.heads.iter();
        self.heads.is_empty() || heads.any(|names| dense(names).contains("pooler"))
    }

    fn is_of_head(&self, tensor: &str, names: &PartNames) -> bool {
        let Some((module, part)) = tensor.rsplit_once('.') else {
            return false;
        };
        if module == names.output {
            let is_second = match part {
                "weight" => self.ties,
                _ => names.bias != tensor,
            };
            // Of heads for masked tokens alone it is said where their bias is.
            return names.bias.is_empty() || !is_second;
        }
        let is_before = |transform: TransformNames| {
            module == of_base(self.base, transform.dense) || module == transform.norm
        };
        tensor == names.bias || names.transform.is_some_and(is_before)
    }
}
