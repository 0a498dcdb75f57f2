//! What a model's files say of its generation: `generation_config.json`, the same keys of an old
//! `config.json`, or the token ids of a GGUF file. What of it is not heeded is `unheeded`'s.

use std::path::Path;

use serde_json::Value;
use wire::{Failure, generate::GenerationConfig};

use super::unheeded;
use crate::{
    failures,
    hub::Layout,
    seq2seq,
    weights::{Description, Metadata, Weights},
};

/// From this version of transformers on, what a model's files say goes for all that a user's own
/// configuration leaves open; of files of older ones only the special tokens.
const FALLS_BACK: (u32, u32) = (4, 50);

/// What a model's files say.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// What they say. What they do not say is `None`.
    pub config: GenerationConfig,
    /// Whether an older transformers has written them.
    is_old: bool,
}

impl From<GenerationConfig> for Defaults {
    fn from(config: GenerationConfig) -> Self {
        Self {
            config,
            is_old: false,
        }
    }
}

impl Defaults {
    /// Reads the files of a model; with a line to tell a user for what of them has no effect.
    pub fn read(layout: &Layout, weights: &Weights) -> Result<(Self, Vec<String>), Failure> {
        match (&weights.description, layout) {
            (Description::Gguf(metadata), _) => Ok((of_gguf(metadata).into(), Vec::new())),
            (Description::Json(config), Layout::Folder(folder)) => {
                of_folder(folder, &with_class_ids(config, weights))
            }
            (Description::Json(_), Layout::Gguf(_)) => Ok(Default::default()),
        }
    }

    /// What is taken for what a call does not say, with a user's own configuration: `generation/utils.py`,
    /// `_prepare_generation_config`. There a value that is the library's default counts as not set, since
    /// Python cannot tell; here what the user has set is set.
    #[must_use]
    pub fn under(&self, own: Option<&GenerationConfig>) -> Self {
        let Some(own) = own else {
            return self.clone();
        };
        let tokens = || GenerationConfig {
            bos_token_id: self.config.bos_token_id,
            eos_token_id: self.config.eos_token_id.clone(),
            pad_token_id: self.config.pad_token_id,
            decoder_start_token_id: self.config.decoder_start_token_id,
            ..GenerationConfig::default()
        };
        let own = own.clone();
        if self.is_old {
            own.or(&tokens()).into()
        } else {
            own.or(&self.config).into()
        }
    }
}

/// The configuration, with the ids that transformers' class has where it says none.
fn with_class_ids(config: &Value, weights: &Weights) -> Value {
    let mut config = config.clone();
    if let (Value::Object(values), Value::Object(own)) =
        (&mut config, seq2seq::special_ids(weights))
    {
        for (key, id) in own {
            // A `null` is none, but for the one id that an older key can give.
            if key == "forced_bos_token_id" && values.get(&key).is_some_and(Value::is_null) {
                values.insert(key, id);
            } else {
                values.entry(key).or_insert(id);
            }
        }
    }
    config
}

fn of_gguf(metadata: &Metadata) -> GenerationConfig {
    let id = |name: &str| {
        let id = metadata.count(&format!("tokenizer.ggml.{name}_token_id"))?;
        u32::try_from(id).ok()
    };
    let mut ends: Vec<u32> = ["eos", "eot"].into_iter().filter_map(id).collect();
    ends.dedup();
    GenerationConfig {
        eos_token_id: (!ends.is_empty()).then_some(ends),
        bos_token_id: id("bos"),
        pad_token_id: id("padding"),
        ..GenerationConfig::default()
    }
}

fn of_folder(folder: &Path, config: &Value) -> Result<(Defaults, Vec<String>), Failure> {
    let path = folder.join("generation_config.json");
    if !path.is_file() {
        let notices = unheeded::notices(config, "config.json");
        return Ok((of_model_config(config).into(), notices));
    }
    let text = std::fs::read(&path).map_err(|error| failures::io(&path, &error))?;
    let mut value: Value =
        serde_json::from_slice(&text).map_err(|error| failures::corrupt(&path, error))?;
    let notices = unheeded::notices(&value, "generation_config.json");
    // A `null` is no default but off, which is a number of its own here.
    if value.get("top_k").is_some_and(Value::is_null) {
        value["top_k"] = 0.into();
    }
    let version = value["transformers_version"].as_str().and_then(version);
    let is_old = version.is_some_and(|version| version < FALLS_BACK);
    let config = parsed(value).map_err(|error| failures::corrupt(&path, error))?;
    Ok((Defaults { config, is_old }, notices))
}

/// The first two numbers of a version.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('.').map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// `GenerationConfig.from_model_config`: without a file of its own the model's configuration speaks. Its
/// keys have other meanings in places, so what does not fit is taken as not said.
fn of_model_config(config: &Value) -> GenerationConfig {
    let ids = [
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "decoder_start_token_id",
    ];
    let only_ids: serde_json::Map<String, Value> = ids
        .into_iter()
        .filter_map(|key| Some((key.to_owned(), config.get(key)?.clone())))
        .collect();
    parsed(config.clone())
        .or_else(|_| parsed(Value::Object(only_ids)))
        .unwrap_or_default()
}

fn parsed(value: Value) -> serde_json::Result<GenerationConfig> {
    let config: GenerationConfig = serde_json::from_value(value)?;
    // No field of transformers': a file that has the key means something else by it.
    Ok(GenerationConfig {
        seed: None,
        ..config
    })
}
