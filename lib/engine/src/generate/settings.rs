//! From what a request leaves open to what is done: the request, then the model's
//! `generation_config.json`, then transformers' defaults (`GenerationConfig` of 4.57).

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use wire::{Failure, generate::GenerationConfig};

use crate::{
    failures,
    families::ModelSizes,
    hub::Layout,
    weights::{Description, Weights},
};

/// Tokens that are added when nobody says how many: transformers' default `max_length`, which counts
/// new tokens when it is the default and all tokens when it is not.
const DEFAULT_MAX_LENGTH: u32 = 20;
/// transformers' default `top_k`.
const DEFAULT_TOP_K: u32 = 50;

/// What a model's files say of its generation.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Defaults {
    max_new_tokens: Option<u32>,
    max_length: Option<u32>,
    min_new_tokens: Option<u32>,
    do_sample: Option<bool>,
    temperature: Option<f64>,
    top_k: Option<u32>,
    top_p: Option<f64>,
    min_p: Option<f64>,
    repetition_penalty: Option<f64>,
    /// A number or a list.
    eos_token_id: Value,
}

impl Defaults {
    /// Reads `generation_config.json`, or the metadata of a GGUF file.
    pub fn read(layout: &Layout, weights: &Weights) -> Result<Self, Failure> {
        match (&weights.description, layout) {
            (Description::Gguf(metadata), _) => {
                let id = |name: &str| metadata.count(&format!("tokenizer.ggml.{name}_token_id"));
                let mut ids: Vec<usize> = ["eos", "eot"].into_iter().filter_map(id).collect();
                ids.dedup();
                Ok(Self {
                    eos_token_id: ids.into(),
                    ..Self::default()
                })
            }
            (Description::Json(config), Layout::Folder(folder)) => {
                Self::from_folder(folder, config)
            }
            (Description::Json(_), Layout::Gguf(_)) => Ok(Self::default()),
        }
    }

    fn from_folder(folder: &Path, config: &Value) -> Result<Self, Failure> {
        let path = folder.join("generation_config.json");
        if !path.is_file() {
            return Ok(Self {
                eos_token_id: config["eos_token_id"].clone(),
                ..Self::default()
            });
        }
        let text = std::fs::read(&path).map_err(|error| failures::io(&path, &error))?;
        serde_json::from_slice(&text).map_err(|error| failures::corrupt(&path, error))
    }

    fn eos(&self) -> Vec<u32> {
        match &self.eos_token_id {
            Value::Array(ids) => ids.iter().filter_map(token_id).collect(),
            id => token_id(id).into_iter().collect(),
        }
    }
}

fn token_id(value: &Value) -> Option<u32> {
    u32::try_from(value.as_u64()?).ok()
}

/// What is done.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Most tokens to add.
    pub max_new_tokens: usize,
    /// Fewest tokens before an end-of-sequence token may come.
    pub min_new_tokens: usize,
    /// Tokens that end the sequence.
    pub eos: Vec<u32>,
    /// Texts that end the sequence.
    pub stop_strings: Vec<String>,
    /// 1 is off.
    pub repetition_penalty: f32,
    /// Greedy when there is none.
    pub sampling: Option<Sampling>,
}

/// How a token is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; above 0.
    pub temperature: f32,
    /// 0 is off.
    pub top_k: usize,
    /// 1 is off.
    pub top_p: f32,
    /// 0 is off.
    pub min_p: f32,
    /// A fresh one when not given.
    pub seed: Option<u64>,
}

impl Settings {
    /// Resolves a request for a prompt of `prompt_length` tokens. Fails, in transformers' words, on
    /// what cannot be right.
    pub fn resolve(
        request: &GenerationConfig,
        defaults: &Defaults,
        prompt_length: usize,
        sizes: &ModelSizes,
    ) -> Result<Self, Failure> {
        if prompt_length == 0 {
            return Err(failures::invalid("the prompt has no tokens")
                .hint("a model continues at least one token; give it some text"));
        }
        if prompt_length >= sizes.context_length {
            return Err(failures::invalid(format!(
                "the prompt has {prompt_length} tokens, the model's context holds {}",
                sizes.context_length
            ))
            .hint("shorten the prompt, or take a model with a longer context"));
        }
        let room = sizes.context_length - prompt_length;
        let repetition_penalty = request
            .repetition_penalty
            .or(defaults.repetition_penalty)
            .unwrap_or(1.0);
        if repetition_penalty.is_nan() || repetition_penalty <= 0.0 {
            return Err(failures::invalid(format!(
                "`penalty` has to be a strictly positive float, but is {repetition_penalty}"
            ))
            .hint("`repetition_penalty` 1.0 is off"));
        }
        let do_sample = request.do_sample.or(defaults.do_sample).unwrap_or(false);
        Ok(Self {
            max_new_tokens: max_new_tokens(request, defaults, prompt_length)?.min(room),
            min_new_tokens: request
                .min_new_tokens
                .or(defaults.min_new_tokens)
                .unwrap_or(0) as usize,
            eos: request
                .eos_token_id
                .clone()
                .unwrap_or_else(|| defaults.eos()),
            stop_strings: request.stop_strings.clone().unwrap_or_default(),
            repetition_penalty: repetition_penalty as f32,
            sampling: if do_sample {
                Some(Sampling::resolve(request, defaults)?)
            } else {
                None
            },
        })
    }
}

fn max_new_tokens(
    request: &GenerationConfig,
    defaults: &Defaults,
    prompt_length: usize,
) -> Result<usize, Failure> {
    if let Some(count) = request.max_new_tokens.or(defaults.max_new_tokens) {
        if count == 0 {
            return Err(failures::invalid(
                "`max_new_tokens` must be greater than 0, but is 0",
            ));
        }
        return Ok(count as usize);
    }
    let from_file = defaults
        .max_length
        .filter(|&length| length != DEFAULT_MAX_LENGTH);
    let Some(max_length) = request.max_length.or(from_file) else {
        return Ok(DEFAULT_MAX_LENGTH as usize);
    };
    match (max_length as usize).checked_sub(prompt_length) {
        Some(room) if room > 0 => Ok(room),
        _ => Err(failures::invalid(format!(
            "the prompt has {prompt_length} tokens, but `max_length` is set to {max_length}"
        ))
        .hint("increase `max_length` or, better yet, set `max_new_tokens`")),
    }
}

impl Sampling {
    fn resolve(request: &GenerationConfig, defaults: &Defaults) -> Result<Self, Failure> {
        let temperature = request.temperature.or(defaults.temperature).unwrap_or(1.0);
        if temperature.is_nan() || temperature <= 0.0 {
            return Err(failures::invalid(format!(
                "`temperature` (={temperature}) has to be a strictly positive float, otherwise your \
                 next token scores will be invalid"
            ))
            .hint("for greedy decoding set `do_sample` to false"));
        }
        let top_p = request.top_p.or(defaults.top_p).unwrap_or(1.0);
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(failures::invalid(format!(
                "`top_p` has to be a float > 0 and < 1, but is {top_p}"
            )));
        }
        let min_p = request.min_p.or(defaults.min_p).unwrap_or(0.0);
        if !(0.0..=1.0).contains(&min_p) {
            return Err(failures::invalid(format!(
                "`min_p` has to be a float in the [0, 1] interval, but is {min_p}"
            )));
        }
        Ok(Self {
            temperature: temperature as f32,
            top_k: request.top_k.or(defaults.top_k).unwrap_or(DEFAULT_TOP_K) as usize,
            top_p: top_p as f32,
            min_p: min_p as f32,
            seed: request.seed,
        })
    }
}
