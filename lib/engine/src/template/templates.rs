//! Which templates a tokenizer has: one, or several by name, from the files of a repository or from a
//! GGUF's metadata; and which of them a call takes (`get_chat_template` of transformers'
//! `tokenization_utils_base.py`).

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;
use wire::Failure;

use crate::{failures, weights::Metadata};

/// The name of the template that is taken when none is named.
const DEFAULT: &str = "default";
/// The name of the one that is taken with tools.
const TOOL_USE: &str = "tool_use";
/// File of the default template, and folder of the others.
const FILE: &str = "chat_template.jinja";
const FOLDER: &str = "additional_chat_templates";

/// The templates of a tokenizer, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Templates(BTreeMap<String, String>);

impl Templates {
    /// The templates of a folder. Files go before what `tokenizer_config.json` has.
    pub fn read(folder: &Path, configured: &Value) -> Result<Self, Failure> {
        let mut templates = BTreeMap::new();
        let read =
            |path: &Path| std::fs::read_to_string(path).map_err(|error| failures::io(path, &error));
        let file = folder.join(FILE);
        if file.is_file() {
            templates.insert(DEFAULT.to_owned(), read(&file)?);
        }
        for entry in std::fs::read_dir(folder.join(FOLDER))
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = entry.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "jinja")
                && let Some(name) = path.file_stem().and_then(|name| name.to_str())
            {
                templates.insert(name.to_owned(), read(&path)?);
            }
        }
        if templates.is_empty() {
            return Ok(Self::configured(configured));
        }
        Ok(Self(templates))
    }

    /// A text, or a list of names and texts, as `tokenizer_config.json` has them.
    fn configured(value: &Value) -> Self {
        if let Some(text) = value.as_str() {
            return Self::from(text);
        }
        let named = value.as_array().into_iter().flatten().filter_map(|entry| {
            Some((
                entry["name"].as_str()?.to_owned(),
                entry["template"].as_str()?.to_owned(),
            ))
        });
        Self(named.collect())
    }

    /// The templates in a GGUF's metadata: `tokenizer.chat_template`, and `tokenizer.chat_template.NAME`
    /// for each of `tokenizer.chat_templates`.
    pub fn of_gguf(metadata: &Metadata) -> Self {
        let mut templates = BTreeMap::new();
        let default = metadata.text("tokenizer.chat_template");
        templates.extend(default.map(|text| (DEFAULT.to_owned(), text.to_owned())));
        for name in metadata
            .list("tokenizer.chat_templates")
            .into_iter()
            .flatten()
        {
            if let crate::weights::Value::Text(name) = name
                && let Some(text) = metadata.text(&format!("tokenizer.chat_template.{name}"))
            {
                templates.insert(name.clone(), text.to_owned());
            }
        }
        Self(templates)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Path in a repository and text of each.
    pub fn files(&self) -> impl Iterator<Item = (String, &str)> {
        self.0.iter().map(|(name, text)| match name.as_str() {
            DEFAULT => (FILE.to_owned(), text.as_str()),
            other => (format!("{FOLDER}/{other}.jinja"), text.as_str()),
        })
    }

    /// The template for a call: the one of this name, or this text; else the one for tools, if there are
    /// any; else the default. `tokenizer` is only named in the error.
    pub fn choose<'a>(
        &'a self,
        asked: Option<&'a str>,
        has_tools: bool,
        tokenizer: &str,
    ) -> Result<&'a str, Failure> {
        let named = |name: &str| self.0.get(name).map(String::as_str);
        if let Some(asked) = asked {
            // transformers takes `default` for a template's text where there is only the default.
            return Ok(named(asked).unwrap_or(asked));
        }
        let for_tools = has_tools.then(|| named(TOOL_USE)).flatten();
        if let Some(template) = for_tools.or_else(|| named(DEFAULT)) {
            return Ok(template);
        }
        if self.is_empty() {
            return Err(failures::invalid(format!(
                "cannot use chat template functions because the tokenizer of `{tokenizer}` has no \
                 chat template and no template argument was passed"
            ))
            .hint("base models have none: take the Instruct version of the model, or pass a template as `chat_template`"));
        }
        let all: Vec<&str> = self.0.keys().map(String::as_str).collect();
        Err(failures::invalid(format!(
            "the tokenizer of `{tokenizer}` has several chat templates and no default: {}",
            all.join(", ")
        ))
        .hint("pass one of these names, or a template, as `chat_template`"))
    }
}

impl From<&str> for Templates {
    fn from(text: &str) -> Self {
        Self(BTreeMap::from([(DEFAULT.to_owned(), text.to_owned())]))
    }
}
