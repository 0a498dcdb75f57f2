//! Which layers of a model are quantised, and what transformers says that the result takes
//! (`get_keys_to_not_convert`, `replace_with_bnb_linear` and `get_memory_footprint` of 4.57).

use wire::{
    Failure,
    model::{DType, Quantization, QuantizationMethod},
};

use super::{
    read_config,
    source::{format_of, round},
};
use crate::{
    failures, families,
    weights::{Description, Format, TensorEntry, Weights},
};

/// The layer that stays as it is when nothing else is asked for: the output layer, tied or not.
const KEPT: &str = "lm_head";
/// Tables of vectors, the only other matrices of a decoder.
const EMBEDDINGS: [&str; 3] = ["embed_tokens", "wte", "wpe"];

/// How a model is quantised.
#[derive(Clone, Debug)]
pub struct Plan {
    /// By what, and what not.
    pub quantization: Quantization,
    /// The type that all values are rounded to first, and that the others stay in.
    pub dtype: DType,
    /// The files hold quantised weights already.
    pub stored: bool,
}

impl Plan {
    /// The plan for a model that is to be quantised, or whose files say that they are; `None` where
    /// neither holds. As in transformers, the files win, and without a type it is f16.
    pub fn new(
        wanted: Option<&Quantization>,
        dtype: Option<DType>,
        weights: &Weights,
    ) -> Result<Option<Self>, Failure> {
        let stored = match &weights.description {
            Description::Json(config) => read_config(config)?,
            Description::Gguf(_) if wanted.is_some() => {
                return Err(failures::unsupported(
                    "bitsandbytes cannot quantise a GGUF file: its weights are packed already",
                )
                .hint("leave `quantization_config` out, or load the model's safetensors"));
            }
            Description::Gguf(_) => None,
        };
        let is_stored = stored.is_some();
        Ok(stored.or_else(|| wanted.cloned()).map(|quantization| Self {
            quantization,
            dtype: dtype.unwrap_or(DType::F16),
            stored: is_stored,
        }))
    }

    /// Whether the linear layer of this name is quantised.
    pub fn converts(&self, module: &str) -> bool {
        let last = module.rsplit('.').next().unwrap_or(module);
        let kept = |key: &str| key == module || key == last || module.contains(&format!("{key}."));
        match &self.quantization.skip_modules {
            Some(keys) => !keys.iter().any(|key| kept(key)),
            None => !kept(KEPT),
        }
    }

    /// How values that are not quantised are stored.
    pub(crate) fn format(&self) -> Format {
        format_of(self.dtype)
    }

    /// Rounds values to the plan's type.
    pub(crate) fn round(&self, values: &mut [f32]) {
        round(values, self.dtype);
    }

    /// What a user calls it.
    pub fn name(&self) -> String {
        match &self.quantization.method {
            QuantizationMethod::FourBit {
                kind, double_quant, ..
            } => {
                let double = if *double_quant {
                    ", double quantised"
                } else {
                    ""
                };
                format!("{}{double}", kind.name())
            }
            QuantizationMethod::EightBit { .. } => "int8".to_owned(),
        }
    }

    /// The module of a tensor that is quantised while it is loaded.
    pub(super) fn module<'n>(&self, name: &'n str, entry: &TensorEntry) -> Option<&'n str> {
        let module = name.strip_suffix(".weight")?;
        let last = module.rsplit('.').next()?;
        let is_linear = entry.shape.len() == 2 && !EMBEDDINGS.contains(&last);
        (is_linear && self.converts(module)).then_some(module)
    }

    fn bytes_of(&self, name: &str, entry: &TensorEntry) -> u64 {
        if entry.format == Format::Byte {
            // Packed weights count, what belongs to them does not.
            return if name.ends_with(".weight") {
                entry.bytes
            } else {
                0
            };
        }
        if self.stored && is_state(name) {
            return 0;
        }
        match (&self.quantization.method, self.module(name, entry)) {
            (QuantizationMethod::FourBit { .. }, Some(_)) => entry.values().div_ceil(2),
            (QuantizationMethod::EightBit { .. }, Some(_)) => entry.values(),
            (_, None) => entry.values() * format_of(self.dtype).block_bytes() as u64,
        }
    }
}

/// Whether a tensor only serves to unpack another.
fn is_state(name: &str) -> bool {
    name.rsplit('.').next() == Some("SCB") || name.contains(".weight.")
}

/// Bytes of parameters and buffers, as transformers counts them: a tied head once, no scales. Reads
/// no weights.
pub fn footprint(weights: &Weights, plan: Option<&Plan>) -> u64 {
    let tied = match &weights.description {
        Description::Json(_) => families::is_tied(weights),
        Description::Gguf(_) => false,
    };
    let tensors = weights
        .tensors
        .iter()
        .filter(|(name, _)| !(tied && name.as_str() == "lm_head.weight"));
    let parameters: u64 = tensors
        .map(|(name, entry)| match plan {
            Some(plan) => plan.bytes_of(name, entry),
            None => entry.bytes,
        })
        .sum();
    let format = plan.map_or_else(|| weights.main_format(), Plan::format);
    parameters + families::buffer_bytes(weights, format.block_bytes())
}

/// Number of parameters: packed ones count as what they were packed from.
pub fn parameters(weights: &Weights, plan: &Plan) -> u64 {
    let four = matches!(plan.quantization.method, QuantizationMethod::FourBit { .. });
    let tensors = weights.tensors.iter();
    tensors
        .filter(|(name, _)| !(plan.stored && is_state(name)))
        .map(|(_, entry)| match entry.format {
            Format::Byte if four => entry.values() * 2,
            _ => entry.values(),
        })
        .sum()
}
