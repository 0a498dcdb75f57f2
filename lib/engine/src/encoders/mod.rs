//! Encoders with their heads, one file an architecture: what its configuration means, and the names of
//! its weights. All are the same parts: an architecture gives a [`plan::Plan`] and [`plan::Names`],
//! `assemble` reads the weights, `encoder` runs, `heads` says what comes out.

mod assemble;
mod causal;
mod class;
mod convolution;
mod encoder;
mod heads;
mod kinds;
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

use candle_core::{Result as TensorResult, Tensor};
pub use causal::CausalReader;
pub use encoder::{Encoder, Row};
pub use heads::HeadKind;
pub use labels::{Labels, ProblemType};
use plan::{Names, Plan};
use wire::{Failure, model::ModuleInfo};

use crate::{
    class::Class,
    failures,
    families::{ModelSizes, json::Json},
    modules,
    weights::{Description, Loader, Weights},
};

/// What a pipeline needs of a model that reads texts: an [`Encoder`], or a decoder that labels as one.
pub trait TextEncoder: Send + Sync {
    /// The architecture's name.
    fn architecture(&self) -> &'static str;

    /// Its sizes.
    fn sizes(&self) -> ModelSizes;

    /// Bytes that the weights take.
    fn bytes(&self) -> u64;

    /// The kind of its head; `None` of a bare encoder.
    fn head(&self) -> Option<HeadKind>;

    /// What its head's outputs are called.
    fn labels(&self) -> &Labels;

    /// The tree of its modules; `None` where its classes are not known.
    fn modules(&self) -> Option<&ModuleInfo>;

    /// Tokens that it reads at most; `None` where no table of positions ends.
    fn limit(&self) -> Option<usize>;

    /// Types of tokens that it tells apart; `None` where it looks at none.
    fn token_types(&self) -> Option<usize> {
        None
    }

    /// The last hidden states, `(1, tokens of all rows, hidden)`.
    fn hidden_states(&self, rows: &[Row]) -> TensorResult<Tensor>;

    /// The states that a head for sequences looks at: from those of all rows' tokens
    /// `(1, tokens, hidden)` to one a row `(1, rows, hidden)`.
    fn pooled(&self, states: &Tensor, rows: &[Row]) -> TensorResult<Tensor>;

    /// What the head of a kind makes of states `(1, states, hidden)`: `(1, states, outputs)`. Those of a head
    /// for sequences are what [`Self::pooled`] gives. Fails where it has none of the kind.
    fn logits(&self, kind: HeadKind, states: &Tensor) -> TensorResult<Tensor>;

    /// Whether what it makes of a row depends on those that are read with it: where `LLM.int8()` has
    /// quantised it.
    fn mixes_tokens(&self) -> bool {
        false
    }

    /// Whether it has a head of the kind.
    fn has_head(&self, kind: HeadKind) -> bool {
        self.head() == Some(kind)
    }
}

impl TextEncoder for Encoder {
    fn architecture(&self) -> &'static str {
        self.architecture()
    }

    fn sizes(&self) -> ModelSizes {
        self.sizes()
    }

    fn bytes(&self) -> u64 {
        self.bytes()
    }

    fn head(&self) -> Option<HeadKind> {
        self.head()
    }

    fn labels(&self) -> &Labels {
        self.labels()
    }

    fn modules(&self) -> Option<&ModuleInfo> {
        self.modules.as_ref()
    }

    fn limit(&self) -> Option<usize> {
        self.limit()
    }

    fn token_types(&self) -> Option<usize> {
        self.token_types()
    }

    fn hidden_states(&self, rows: &[Row]) -> TensorResult<Tensor> {
        self.hidden_states(rows)
    }

    fn pooled(&self, states: &Tensor, rows: &[Row]) -> TensorResult<Tensor> {
        self.pooled(states, &lengths(rows))
    }

    fn logits(&self, kind: HeadKind, states: &Tensor) -> TensorResult<Tensor> {
        self.logits_of(kind, states)
    }

    fn mixes_tokens(&self) -> bool {
        self.mixes_tokens
    }

    fn has_head(&self, kind: HeadKind) -> bool {
        self.has_head(kind)
    }
}

/// Of each row its tokens.
pub fn lengths(rows: &[Row]) -> Vec<usize> {
    rows.iter().map(|row| row.ids.len()).collect()
}

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

/// The class that transformers has for an encoder; `None` where the weights are of none that loads.
pub(crate) fn class(weights: &Weights) -> Option<Class> {
    let (json, (_, read)) = reader(weights)?;
    let (plan, names) = read(json).ok()?;
    let blueprint = (plan.checked(json).ok()?, names);
    Some(class::of(&blueprint, json, weights))
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
    let blueprint = json.check_reader().and_then(|()| {
        let (plan, names) = read(json)?;
        Ok((plan.checked(json)?, names))
    });
    let (plan, names) = blueprint.map_err(|failure| loader.named(failure))?;
    loader.prefer_dense();
    let mut encoder = assemble::assemble(plan, &names, json, loader)?;
    let unused = class::unused((&encoder.plan, &names), json, loader);
    loader.tell_unused(&unused);
    encoder.modules = tree(&encoder, &names, weights, loader);
    Ok(encoder)
}

/// The tree of an encoder's modules.
fn tree(
    encoder: &Encoder,
    names: &Names,
    weights: &Weights,
    loader: &Loader,
) -> Option<ModuleInfo> {
    let plan = &encoder.plan;
    let class = match encoder.head() {
        Some(HeadKind::Sequence) if plan.architecture == "mean-pooled-bert" => "MeanClassifier",
        Some(kind) => kind.class(),
        None => "Model",
    };
    let kind = modules::Kind {
        architecture: plan.architecture,
        class,
        base: kinds::base(names, weights),
        attribute: names.bases[0],
        table: (plan.vocab_size, plan.embedding),
        epsilon: plan.epsilon,
    };
    modules::outlined(&kind, weights, loader.parts())
}
