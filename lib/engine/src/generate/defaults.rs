//! What a model's files say of its generation: `generation_config.json`, the same keys of an old
//! `config.json`, or the token ids of a GGUF file. What of it is not heeded is `unheeded`'s.

use std::{collections::HashSet, path::Path};

use serde_json::Value;
use wire::{Failure, generate::GenerationConfig};

use super::unheeded;
use crate::{
    failures,
    hub::Layout,
    seq2seq,
    weights::{Description, Metadata, Value as GgufValue, Weights},
};

/// From this version of transformers on, what a model's files say goes for all that a user's own
/// configuration leaves open; of files of older ones only the special tokens.
const FALLS_BACK: (u32, u32) = (4, 50);

/// What tokens are called that end a turn or a text.
const ENDS: [&str; 8] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|eom_id|>",
    "<|endoftext|>",
    "<EOT>",
    "<|return|>",
];
/// Types of tokens in a GGUF file that a text does not spell by itself.
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

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
            return own.or(&tokens()).into();
        }
        let mut config = own.or(&self.config);
        // Greedy decoding, said by the temperature alone, of a model whose files say that it draws.
        if config.temperature == Some(0.0) {
            config.do_sample = Some(false);
        }
        config.into()
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
    ends.extend(ends_by_text(metadata));
    let mut seen = HashSet::new();
    ends.retain(|end| seen.insert(*end));
    GenerationConfig {
        eos_token_id: (!ends.is_empty()).then_some(ends),
        bos_token_id: id("bos"),
        pad_token_id: id("padding"),
        ..GenerationConfig::default()
    }
}

/// Special tokens that end a turn by what they are called. Files name one end, often the document's, and
/// models for chats end their turns by another, which only their repository's `generation_config.json`
/// would list. llama.cpp finds them by the same names (`src/llama-vocab.cpp`, `special_eog_ids`).
fn ends_by_text(metadata: &Metadata) -> impl Iterator<Item = u32> {
    let list = |key: &str| metadata.list(key).unwrap_or_default();
    let kinds = list("tokenizer.ggml.token_type");
    list("tokenizer.ggml.tokens")
        .iter()
        .zip(kinds)
        .zip(0..)
        .filter(|((token, kind), _)| {
            let is_special = matches!(kind, GgufValue::Integer(CONTROL | USER_DEFINED));
            is_special && matches!(token, GgufValue::Text(text) if ENDS.contains(&text.as_str()))
        })
        .map(|(_, id)| id)
}

fn of_folder(folder: &Path, config: &Value) -> Result<(Defaults, Vec<String>), Failure> {
    let path = folder.join("generation_config.json");
    if !path.is_file() {
        let notices = unheeded::notices(config, "config.json");
        return Ok((of_model_config(config).into(), notices));
    }
    let text = std::fs::read(&path).map_err(|error| failures::io(&path, &error))?;
    let mut value: Value = match serde_json::from_slice(&text) {
        Ok(value) => value,
        // As there: the configuration speaks in its place.
        Err(error) => {
            let notice = format!(
                "`generation_config.json` is no JSON ({error}): generation goes by `config.json`"
            );
            return Ok((of_model_config(config).into(), vec![notice]));
        }
    };
    let mut notices = unheeded::notices(&value, "generation_config.json");
    // A `null` is no default but off, which is a number of its own here.
    if value.get("top_k").is_some_and(Value::is_null) {
        value["top_k"] = 0.into();
    }
    let version = value["transformers_version"].as_str().and_then(version);
    let is_old = version.is_some_and(|version| version < FALLS_BACK);
    let (config, misfits) = parsed(&value);
    notices.extend(misfits.into_iter().map(|(key, error)| {
        format!(
            "`generation_config.json`: `{key}` ({}) is passed over: {error}",
            value[key.as_str()]
        )
    }));
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
    parsed(config).0
}

/// What a file's keys say, and those of them that say what cannot be, with the reason: one of them must not
/// keep a model from being used.
fn parsed(file: &Value) -> (GenerationConfig, Vec<(String, serde_json::Error)>) {
    let Value::Object(values) = file else {
        return Default::default();
    };
    let mut config = GenerationConfig::default();
    let mut misfits = Vec::new();
    for (key, value) in values {
        // No fields of transformers': a file that has the key means something else by it.
        if ["seed", "negative_prompts"].contains(&key.as_str()) {
            continue;
        }
        match serde_json::from_value(serde_json::json!({ key: value })) {
            Ok(one) => config = config.or(&one),
            Err(error) => misfits.push((key.clone(), error)),
        }
    }
    (config, misfits)
}
