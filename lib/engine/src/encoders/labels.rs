//! What the outputs of a head are called, by `config.json`.

use serde_json::Value;

use crate::families::json::Json;

/// Most outputs of a head that are believed.
const MOST: usize = 1 << 20;

/// Labels of a head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// `id2label`, by id.
    pub names: Vec<String>,
    /// The label of entailment, in a head for natural-language inference: the first of `label2id` whose
    /// name begins so.
    pub entailment: Option<usize>,
    /// `return_all_scores`, of the first pipelines: a text gets all labels when no number is asked for.
    pub returns_all: bool,
    /// `problem_type`.
    pub problem: Option<ProblemType>,
}

/// What a head for sequences was trained for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemType {
    /// A number.
    Regression,
    /// One of the labels.
    SingleLabel,
    /// Any of them.
    MultiLabel,
}

impl Labels {
    /// As `PretrainedConfig` reads them: `LABEL_0`, `LABEL_1`, … where they have no names. Results there have
    /// a name that is no text as it is, a number or `None`; here it is what Python writes for it.
    pub fn read(json: Json) -> Self {
        let given = json.object("id2label");
        let count = match given {
            Some(given) => given.len(),
            None => json.number("num_labels").unwrap_or(2).min(MOST),
        };
        let name = |id: usize| match given.and_then(|given| given.get(&id.to_string())) {
            Some(Value::String(name)) => name.clone(),
            Some(Value::Number(name)) => name.to_string(),
            Some(Value::Bool(name)) => if *name { "True" } else { "False" }.to_owned(),
            Some(Value::Null) => "None".to_owned(),
            _ => format!("LABEL_{id}"),
        };
        let names: Vec<String> = (0..count).map(name).collect();
        let entails = |name: &str| name.to_lowercase().starts_with("entail");
        let entailment = match json.object("label2id") {
            Some(ids) => ids
                .iter()
                .find(|(name, _)| entails(name))
                .and_then(|(_, id)| id.as_u64())
                .map(|id| id as usize),
            None => names.iter().position(|name| entails(name)),
        };
        let problem = json.text("problem_type").and_then(|kind| match kind {
            "regression" => Some(ProblemType::Regression),
            "single_label_classification" => Some(ProblemType::SingleLabel),
            "multi_label_classification" => Some(ProblemType::MultiLabel),
            _ => None,
        });
        Self {
            entailment: entailment.filter(|id| *id < count),
            names,
            returns_all: json.flag("return_all_scores").unwrap_or(false),
            problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Labels that are no texts were called `LABEL_0`, `LABEL_1`, ….
    #[test]
    fn a_name_that_is_no_text() {
        let names = serde_json::json!({"0": 1, "1": 2.5, "2": "three", "3": null, "4": true});
        let config = serde_json::json!({"id2label": names});
        let labels = Labels::read(Json::new(&config));
        assert_eq!(labels.names, ["1", "2.5", "three", "None", "True"]);
    }
}
