//! What a model's configuration says of pipelines, and what becomes of that and of a pipeline's own defaults:
//! `pipelines/base.py` of transformers.

use serde_json::Value;
use wire::generate::GenerationConfig;

use crate::weights::{Description, Weights};

/// transformers' default `max_length`.
pub const MAX_LENGTH: u32 = 20;

/// What a model's configuration says of pipelines.
#[derive(Clone, Debug, Default)]
pub struct TaskParams {
    /// What goes before every text.
    pub prefix: Option<String>,
    /// `task_specific_params`, in their order.
    pub tasks: Vec<(String, Value)>,
}

impl TaskParams {
    /// As `config.json` has it; nothing of other files.
    pub fn read(weights: &Weights) -> Self {
        let Description::Json(config) = &weights.description else {
            return Self::default();
        };
        let tasks = config["task_specific_params"].as_object();
        let tasks = tasks.into_iter().flatten();
        Self {
            prefix: config["prefix"].as_str().map(str::to_owned),
            tasks: tasks
                .map(|(name, values)| (name.clone(), values.clone()))
                .collect(),
        }
    }

    /// What it says of a task.
    pub fn of(&self, name: &str) -> Option<&Value> {
        let found = self.tasks.iter().find(|(task, _)| task == name);
        found.map(|(_, values)| values)
    }
}

/// What is taken for what a call does not say: the pipeline's defaults, the model's where those are silent, and
/// before both the task's own.
pub fn defaults(
    pipeline: GenerationConfig,
    model: &GenerationConfig,
    own: Option<&Value>,
) -> GenerationConfig {
    let mut defaults = pipeline.or(model);
    // A length that the model's files state goes before the pipeline's.
    if defaults
        .max_length
        .is_some_and(|length| length != MAX_LENGTH)
    {
        defaults.max_new_tokens = None;
    }
    let own = own.and_then(|own| serde_json::from_value::<GenerationConfig>(own.clone()).ok());
    own.unwrap_or_default().or(&defaults)
}
