//! `save_pretrained`: a tokenizer as files that it, and transformers, load again.

use std::path::Path;

use serde_json::{Map, Value, json};
use wire::{Failure, FailureKind};

use super::{Tokenizer, special::NAMES};
use crate::failures::{self, unwritable};

impl Tokenizer {
    /// Writes `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json` and the template
    /// into a folder, and gives their paths. Those of the Python classes are the original files.
    pub fn save(&self, folder: &Path) -> Result<Vec<String>, Failure> {
        std::fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
        let mut written = Vec::new();
        let mut write = |name: &str, bytes: &[u8]| -> Result<(), Failure> {
            let path = folder.join(name);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).map_err(|error| unwritable(parent, &error))?;
            }
            std::fs::write(&path, bytes).map_err(|error| unwritable(&path, &error))?;
            written.push(path.display().to_string());
            Ok(())
        };
        if self.parts.python.is_some() {
            for path in &self.parts.files {
                let name = path
                    .file_name()
                    .and_then(|name| name.to_str())
                    .unwrap_or_default();
                if !matches!(name, "tokenizer_config.json" | "special_tokens_map.json") {
                    let bytes = std::fs::read(path).map_err(|error| failures::io(path, &error))?;
                    write(name, &bytes)?;
                }
            }
        } else {
            write("tokenizer.json", &self.tokenizer_json()?)?;
        }
        for (name, template) in self.parts.chat_templates.files() {
            write(&name, template.as_bytes())?;
        }
        write("tokenizer_config.json", &pretty(&self.config())?)?;
        write(
            "special_tokens_map.json",
            &pretty(&self.special_tokens_map())?,
        )?;
        Ok(written)
    }

    fn tokenizer_json(&self) -> Result<Vec<u8>, Failure> {
        let mut whole = self.inner.clone();
        whole.with_post_processor(self.post_processor.clone());
        let json = whole.to_string(false);
        let json = json.map_err(|error| self.failed("be written", error.as_ref()))?;
        Ok(json.into_bytes())
    }

    fn config(&self) -> Value {
        let mut config = self.parts.config.as_object().cloned().unwrap_or_default();
        config.remove("chat_template");
        let mut added: Vec<_> = self.added().collect();
        added.sort_unstable_by_key(|(id, _)| *id);
        let added: Map<String, Value> = added
            .into_iter()
            .map(|(id, token)| (id.to_string(), json!(token)))
            .collect();
        config.insert("added_tokens_decoder".into(), added.into());
        let special = self.special_tokens_map();
        config.extend(special.as_object().cloned().unwrap_or_default());
        config.insert(
            "clean_up_tokenization_spaces".into(),
            self.parts.clean_up_spaces.into(),
        );
        config.entry("tokenizer_class").or_insert_with(|| {
            self.parts
                .class
                .as_deref()
                .unwrap_or("PreTrainedTokenizerFast")
                .into()
        });
        config.into()
    }

    fn special_tokens_map(&self) -> Value {
        let special = &self.parts.special;
        let named = NAMES
            .iter()
            .filter_map(|name| Some((*name, special.get(name)?)));
        let named = named.chain(special.extra());
        let mut map: Map<String, Value> = named
            .map(|(name, token)| (name.to_owned(), token.into()))
            .collect();
        let additional: Vec<&str> = special.additional().collect();
        if !additional.is_empty() {
            map.insert("additional_special_tokens".into(), json!(additional));
        }
        map.into()
    }
}

fn pretty(value: &Value) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec_pretty(value)
        .map_err(|error| Failure::new(FailureKind::Internal, error.to_string()))
}
