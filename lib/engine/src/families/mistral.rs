//! Mistral: Llama with a window on every layer, where its configuration has one;
//! `modeling_mistral.py` of transformers. In GGUF it is a llama.

use wire::Failure;

use super::{Blueprint, json::Json, names::TRANSFORMERS};

/// By `config.json`.
pub fn from_json(json: Json) -> Result<Blueprint, Failure> {
    let mut plan = json.plan("mistral")?;
    json.slide(&mut plan, |_| true);
    Ok((plan, TRANSFORMERS))
}
