//! Qwen2 and 2.5, and DeepSeek-R1's distillations into them: Llama with biases on queries, keys and
//! values, and a window on the later layers where it is switched on; `modeling_qwen2.py` of
//! transformers.

use wire::Failure;

use super::{
    Blueprint,
    gguf::Gguf,
    json::Json,
    names::{GGUF, TRANSFORMERS},
    plan::Plan,
};
use crate::weights::Loader;

/// By `config.json`.
pub fn from_json(json: Json) -> Result<Blueprint, Failure> {
    let mut plan = json.plan("qwen2")?;
    slide_later_layers(json, &mut plan);
    Ok((plan, TRANSFORMERS))
}

/// By GGUF metadata.
pub fn from_gguf(gguf: Gguf, loader: &mut Loader) -> Result<Blueprint, Failure> {
    Ok((gguf.plan("qwen2", loader)?, GGUF))
}

/// The window of Qwen's dense families.
pub fn slide_later_layers(json: Json, plan: &mut Plan) {
    if json.flag("use_sliding_window") == Some(true) {
        let first = json.number("max_window_layers").unwrap_or(28);
        json.slide(plan, |layer| layer >= first);
    }
}
