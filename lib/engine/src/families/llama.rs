//! Llama 2 and 3, and what is built like them (`SmolLM2`, `TinyLlama`, the
//! distillations of DeepSeek-R1);
//! `modeling_llama.py` of transformers.

use wire::Failure;

use super::{
    Blueprint,
    gguf::Gguf,
    json::Json,
    names::{GGUF, TRANSFORMERS},
};
use crate::{layers::RotaryLayout, weights::Loader};

/// By `config.json`.
pub fn from_json(json: Json) -> Result<Blueprint, Failure> {
    Ok((json.plan("llama")?, TRANSFORMERS))
}

/// By GGUF metadata. What GGUF calls `llama` are Mistral and Mixtral, too.
pub fn from_gguf(gguf: Gguf, loader: &mut Loader) -> Result<Blueprint, Failure> {
    let mut plan = gguf.plan("llama", loader)?;
    plan.layout = RotaryLayout::Interleaved;
    let experts = gguf.experts(true)?;
    for layer in &mut plan.layers {
        layer.experts = experts;
    }
    Ok((plan, GGUF))
}
