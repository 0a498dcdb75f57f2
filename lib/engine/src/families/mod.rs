//! Model families, one file each: its configuration, its layers in the order data flows, and the
//! names of its weights. [`load`] picks the family that a file says it is of.

mod llama;

use candle_core::{Result, Tensor};
use wire::{Failure, host::Event};

use crate::{
    Cancel, failures,
    layers::KvCache,
    weights::{Description, Loader, Weights},
};

/// Architectures that load, by the names that files use.
const SUPPORTED: &[&str] = &["llama"];

/// Sizes of a loaded model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSizes {
    /// Tokens it knows.
    pub vocab_size: usize,
    /// Longest context, in tokens.
    pub context_length: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Width of the hidden state.
    pub hidden_size: usize,
}

/// A decoder that predicts the next token. It holds weights only: what belongs to a sequence is in
/// its [`KvCache`], so that several sequences can share one model.
pub trait CausalLm: Send + Sync {
    /// The family's name.
    fn architecture(&self) -> &'static str;

    /// Its sizes.
    fn sizes(&self) -> &ModelSizes;

    /// Bytes that the weights take.
    fn bytes(&self) -> u64;

    /// An empty cache that fits it.
    fn new_cache(&self) -> KvCache;

    /// Reads `ids` after what `cache` holds; gives their last hidden states `(1, tokens, hidden)`.
    fn hidden_states(&self, ids: &[u32], cache: &mut KvCache) -> Result<Tensor>;

    /// From hidden states `(1, tokens, hidden)` to logits `(1, tokens, vocabulary)`.
    fn logits(&self, hidden_states: &Tensor) -> Result<Tensor>;
}

/// Loads a model of any supported family. `name` is what progress and failures call it.
pub fn load(
    weights: &Weights,
    name: &str,
    cancel: &Cancel,
    sink: &mut dyn FnMut(Event),
) -> std::result::Result<Box<dyn CausalLm>, Failure> {
    let architecture = architecture(weights).ok_or_else(|| {
        failures::invalid(format!("cannot load `{name}`: it names no architecture"))
    })?;
    let loader = Loader::new(weights, name, cancel, sink);
    match architecture {
        "llama" => Ok(Box::new(llama::load(weights, loader, name)?)),
        other => Err(failures::unsupported(format!(
            "cannot load `{name}`: architecture `{other}` is not supported"
        ))
        .hint(format!("architectures that load: {}", SUPPORTED.join(", ")))),
    }
}

fn architecture(weights: &Weights) -> Option<&str> {
    match &weights.description {
        Description::Gguf(metadata) => metadata.text("general.architecture"),
        Description::Json(config) => config["model_type"].as_str(),
    }
}
