//! What transformers' classes of encoder-decoders have that their files do not tell.

use super::{
    Blueprint, Kind,
    assemble::{base, tables},
    plan::{Names, Plan, PositionPlan},
};
use crate::{
    class::Class,
    weights::{Loader, Weights},
};

/// Ends of the names of what the first files have and no class of 4.57 loads: tables of positions that are
/// computed since, one of T5's that nothing looked at, and numbers of versions.
const UNREAD: [&str; 4] = [
    "embed_positions.weights",
    "EncDecAttention.relative_attention_bias.weight",
    "encoder.version",
    "decoder.version",
];

/// Tensors of the files that transformers warns of as it loads a class: neither parameters of it, be they second
/// names of one, nor buffers, nor what it says to ignore. `loader` has handed the model out.
pub fn unused<'a>((plan, names): (&Plan, &Names), kind: Kind, loader: &Loader<'a>) -> Vec<&'a str> {
    let base = base(names, loader.weights());
    let second = second_names((plan, names), base);
    let is_ignored = |name: &str| match plan.architecture {
        "t5" if kind == Kind::Encoder => name.contains("decoder"),
        "t5" | "mt5" => name.ends_with(UNREAD[1]),
        "bart" => name.contains(UNREAD[2]) || name.contains(UNREAD[3]),
        "m2m_100" => name.ends_with(UNREAD[0]),
        _ => false,
    };
    let is_second = |name: &str| {
        let module = name.strip_suffix(".weight").unwrap_or_default();
        let own = name.strip_prefix(base).unwrap_or(name);
        second.iter().any(|second| second == module) && kind.has(own)
    };
    let rest = loader.rest();
    // What bitsandbytes keeps beside a weight of its own is no other.
    rest.filter(|name| !is_second(name) && !is_ignored(name) && !name.contains(".weight."))
        .collect()
}

/// Names that the token table has in the class, where it has several.
fn second_names((plan, names): (&Plan, &Names), base: &str) -> Vec<String> {
    if plan.shares_words {
        return tables((plan, names), base);
    }
    plan.tied
        .map(|_| "lm_head".to_owned())
        .into_iter()
        .collect()
}

/// The class of a kind of model, by its plan, its names and its files.
pub fn of((plan, names): &Blueprint, kind: Kind, weights: &Weights) -> Class {
    let base = base(names, weights);
    let has = |module: &str| weights.tensors.contains_key(&format!("{module}.weight"));
    let mut second = Vec::new();
    let tables = tables((plan, names), base);
    if plan.shares_words {
        second.extend(tables.into_iter().filter(|name| has(name)).skip(1));
    } else if plan.tied.is_some() {
        second.push("lm_head".to_owned());
    }
    let is_foreign = |name: &str| {
        let module = name.strip_suffix(".weight");
        UNREAD.iter().any(|end| name.ends_with(end))
            || module.is_some_and(|module| second.iter().any(|second| second == module))
            || !kind.has(name.strip_prefix(base).unwrap_or(name))
    };
    let tensors = weights.tensors.keys().filter(|name| is_foreign(name));
    Class {
        kept: kind.output().into_iter().map(str::to_owned).collect(),
        in_f32: match plan.architecture {
            "t5" | "mt5" => &["wo"],
            _ => &[],
        },
        foreign: tensors.cloned().collect(),
        computed: computed(plan, kind, (base, weights)),
        ..Class::default()
    }
}

impl Kind {
    /// The layer behind all others.
    fn output(self) -> Option<&'static str> {
        match self {
            Self::Writer => Some("lm_head"),
            Self::Classifier => Some("classification_head.out_proj"),
            Self::Encoder => None,
        }
    }

    /// Whether the class has a tensor of this name, the base left out.
    fn has(self, name: &str) -> bool {
        let is_logits = name == "final_logits_bias" || name.starts_with("lm_head.");
        match self {
            Self::Writer => !name.starts_with("classification_head."),
            Self::Classifier => !is_logits,
            Self::Encoder => name.starts_with("shared.") || name.starts_with("encoder."),
        }
    }
}

/// Values that are made with the model: tables of positions, and a bias of the logits.
fn computed(plan: &Plan, kind: Kind, (base, weights): (&str, &Weights)) -> usize {
    let is_stored = |name: &str| weights.tensors.contains_key(name);
    let positions = match plan.positions {
        PositionPlan::AfterPadding { count, .. } => 2 * (count + 2) * plan.hidden,
        PositionPlan::Sinusoidal { count } => {
            let halves = ["encoder", "decoder"].into_iter();
            let own =
                halves.filter(|half| !is_stored(&format!("{base}{half}.embed_positions.weight")));
            own.count() * count * plan.hidden
        }
        PositionPlan::Relative { .. } | PositionPlan::Learned { .. } => 0,
    };
    if plan.has_logits_bias() && kind == Kind::Writer && !is_stored("final_logits_bias") {
        return positions + plan.decoder.vocab_size;
    }
    positions
}
