//! Which heads a file has: the one that its configuration names, or those whose weights are there.

use super::{
    heads::HeadKind,
    labels::Labels,
    plan::{Names, PartNames},
};
use crate::{families::json::Json, weights::Weights};

/// What stands before the names of an encoder's weights in a file.
pub fn base(names: &Names, weights: &Weights) -> &'static str {
    let has = |base: &&&str| has(weights, &format!("{base}{}", names.words));
    names.bases.iter().find(has).unwrap_or(&names.bases[0])
}

/// The head that the configuration names. `…ForPreTraining` names one that not every file has, as ELECTRA's
/// discriminators do not. Where no head is named, those are there whose weights are: of labels it may be
/// two, as the classes of transformers for sequences and for tokens both take them.
pub fn kinds(
    (names, base): (&Names, &str),
    json: Json,
    weights: &Weights,
) -> [Option<HeadKind>; 2] {
    let mut classes = json.list("architectures").into_iter().flatten();
    let found = classes.find_map(|class| HeadKind::of_class(class.as_str()?));
    let heads = &names.heads;
    let first = |names: &PartNames| names.transform.map_or(names.output, |first| first.dense);
    let has = |name: &str| has(weights, &of_base(base, name));
    match found {
        Some(HeadKind::Masked) if !has(first(&heads.masked)) => [None, None],
        Some(_) => [found, None],
        None => {
            let labels = Labels::read(json).names.len();
            let has_all = |names: &PartNames| {
                let output = weights.tensors.get(&format!("{}.weight", names.output));
                let outputs = output.and_then(|entry| entry.shape.first());
                has(first(names)) && outputs == Some(&labels)
            };
            let sequence = has_all(&heads.sequence).then_some(HeadKind::Sequence);
            let token = has_all(&heads.token).then_some(HeadKind::Token);
            // Labels before words: ModernBERT's heads all begin with the same layer.
            let masked = has(first(&heads.masked)).then_some(HeadKind::Masked);
            let question = has(first(&heads.question)).then_some(HeadKind::Question);
            match (sequence, token) {
                (Some(_), _) => [sequence, token],
                (None, Some(_)) => [token, None],
                (None, None) => [masked.or(question), None],
            }
        }
    }
}

/// The name of a head's layer. One that begins with a point belongs to the base.
pub fn of_base(base: &str, name: &str) -> String {
    match name.strip_prefix('.') {
        Some(of_base) => format!("{base}{of_base}"),
        None => name.to_owned(),
    }
}

fn has(weights: &Weights, module: &str) -> bool {
    weights.tensors.contains_key(&format!("{module}.weight"))
}
