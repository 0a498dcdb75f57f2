//! The tokenizer of a repository: `tokenizer.json`, with the special tokens of
//! `tokenizer_config.json` and the template of that file or of `chat_template.jinja`.

use std::path::Path;

use serde_json::Value;
use wire::{Failure, FailureKind};

use super::{Parts, SpecialTokens};
use crate::failures;

/// Reads a folder.
pub fn read(folder: &Path) -> Result<Parts, Failure> {
    let path = folder.join("tokenizer.json");
    if !path.is_file() {
        return Err(Failure::new(
            FailureKind::NotFound,
            format!("`{}` has no `tokenizer.json`", folder.display()),
        )
        .hint("save the tokenizer with transformers' `save_pretrained`, which writes one"));
    }
    let json = std::fs::read(&path).map_err(|error| failures::io(&path, &error))?;
    let config = optional_json(&folder.join("tokenizer_config.json"))?;
    let map = optional_json(&folder.join("special_tokens_map.json"))?;
    let token = |name: &str| token_text(&config[name]).or_else(|| token_text(&map[name]));
    let template_file = folder.join("chat_template.jinja");
    let chat_template = if template_file.is_file() {
        let text = std::fs::read_to_string(&template_file);
        Some(text.map_err(|error| failures::io(&template_file, &error))?)
    } else {
        default_template(&config["chat_template"])
    };
    Ok(Parts {
        json,
        special: SpecialTokens {
            bos: token("bos_token"),
            eos: token("eos_token"),
            pad: token("pad_token"),
            unk: token("unk_token"),
        },
        chat_template,
        clean_up_spaces: config["clean_up_tokenization_spaces"]
            .as_bool()
            .unwrap_or(false),
    })
}

/// A token is written as its text, or as an object with the text as `content`.
fn token_text(value: &Value) -> Option<String> {
    let text = value.as_str().or_else(|| value["content"].as_str())?;
    Some(text.to_owned())
}

/// The template, or the one called `default` where there are several.
fn default_template(value: &Value) -> Option<String> {
    if let Some(text) = value.as_str() {
        return Some(text.to_owned());
    }
    let named = value.as_array()?;
    let default = named.iter().find(|entry| entry["name"] == "default")?;
    Some(default["template"].as_str()?.to_owned())
}

fn optional_json(path: &Path) -> Result<Value, Failure> {
    if !path.is_file() {
        return Ok(Value::Null);
    }
    let text = std::fs::read(path).map_err(|error| failures::io(path, &error))?;
    serde_json::from_slice(&text).map_err(|error| failures::corrupt(path, error))
}
