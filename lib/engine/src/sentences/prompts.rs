//! What goes before texts: the prompts of `config_sentence_transformers.json`.

use std::collections::BTreeMap;

use serde_json::Value;
use wire::{Failure, pipeline::EmbeddingPrompt};

use crate::failures;

/// Prompts by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Prompts {
    named: BTreeMap<String, String>,
    /// The one that is taken where none is named.
    default: Option<String>,
}

impl Prompts {
    /// Fails on a default that there is no prompt of.
    pub fn read(config: &Value) -> Result<Self, Failure> {
        let listed = config["prompts"].as_object().into_iter().flatten();
        let listed =
            listed.filter_map(|(name, text)| Some((name.clone(), text.as_str()?.to_owned())));
        // sentence-transformers knows these two, empty, where nothing else is said of them.
        let known = ["query", "document"].map(|name| (name.to_owned(), String::new()));
        let prompts = Self {
            named: known.into_iter().chain(listed).collect(),
            default: config["default_prompt_name"].as_str().map(str::to_owned),
        };
        match &prompts.default {
            Some(name) if !prompts.named.contains_key(name) => Err(prompts.missing(name)),
            _ => Ok(prompts),
        }
    }

    pub fn of<'a>(&'a self, wanted: &'a EmbeddingPrompt) -> Result<&'a str, Failure> {
        let name = match wanted {
            EmbeddingPrompt::Text(text) => return Ok(text),
            EmbeddingPrompt::Named(name) => name,
            EmbeddingPrompt::Default => match &self.default {
                Some(name) => name,
                None => return Ok(""),
            },
        };
        let found = self.named.get(name).map(String::as_str);
        found.ok_or_else(|| self.missing(name))
    }

    fn missing(&self, name: &str) -> Failure {
        let known: Vec<&str> = self.named.keys().map(String::as_str).collect();
        let known = if known.is_empty() {
            "the model has none".to_owned()
        } else {
            format!("prompts that there are: {}", known.join(", "))
        };
        failures::invalid(format!("there is no prompt of the name `{name}`"))
            .hint(format!("{known}; or give its text by `prompt`"))
    }
}
