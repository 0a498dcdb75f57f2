//! Which layers of a model are quantised, and what transformers says that the result takes
//! (`replace_with_bnb_linear` and `get_memory_footprint` of 4.57).

use std::sync::Arc;

use serde_json::Value;
use wire::{
    Failure,
    model::{DType, GgmlType, ModelSpec, Quantization, QuantizationMethod},
};

use super::{
    read_config,
    source::{format_of, round},
};
use crate::{
    class::Class,
    failures,
    families::{self, HEAD},
    weights::{Description, Format, TensorEntry, Weights},
};

/// Tables of vectors, the only other matrices of a model.
const EMBEDDINGS: [&str; 11] = [
    "embed_tokens",
    "wte",
    "wpe",
    "word_embeddings",
    "position_embeddings",
    "token_type_embeddings",
    "tok_embeddings",
    "rel_embeddings",
    "relative_attention_bias",
    "embed_positions",
    "shared",
];

/// transformers' warning, `AutoHfQuantizer.merge_quantization_configs`.
const OVERRULED: &str = "you passed `quantization_config` or equivalent parameters, but the model you're \
    loading already has a `quantization_config` attribute: the one of the model is used";

/// What is made of a model's weights while they are loaded.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How they are quantised, and which not; `None` where they are only rounded.
    pub quantization: Option<Quantization>,
    /// The type that all values are rounded to first, and that the others stay in.
    pub dtype: DType,
    /// The files hold quantised weights already, and not only a configuration that says how.
    pub stored: bool,
    /// What to tell a user who asked for another quantisation than the files'.
    pub overruled: Option<String>,
    /// The class that transformers has for it.
    class: Arc<Class>,
    /// The files hold the weights of linear layers transposed.
    turned: bool,
}

impl Plan {
    /// The plan for a model as it was asked for.
    pub(crate) fn of(spec: &ModelSpec, weights: &Weights) -> Result<Option<Self>, Failure> {
        let otherwise = if spec.auto_dtype {
            stated_dtype(weights)
        } else {
            DType::F16
        };
        let wanted = spec.quantization.as_ref();
        Self::with_default(wanted, (spec.dtype, otherwise), weights)
    }

    /// The plan by which a model is counted and saved. One of f32 where that was asked for: in memory what is narrower
    /// stays so, since it holds the same numbers, and transformers widens it.
    pub(crate) fn told(plan: Option<Self>, spec: &ModelSpec, weights: &Weights) -> Option<Self> {
        let Description::Json(config) = &weights.description else {
            return plan;
        };
        let widened = || Self {
            quantization: None,
            dtype: DType::F32,
            stored: false,
            overruled: None,
            class: Arc::new(Class::of(weights)),
            turned: is_turned(config),
        };
        plan.or_else(|| (spec.dtype == Some(DType::F32)).then(widened))
    }

    /// The plan for a model that is to be quantised or rounded, or whose files say that they are quantised;
    /// `None` where they stay as they are. As in transformers, the files win, and what is quantised without
    /// a type is f16.
    pub fn new(
        wanted: Option<&Quantization>,
        dtype: Option<DType>,
        weights: &Weights,
    ) -> Result<Option<Self>, Failure> {
        Self::with_default(wanted, (dtype, DType::F16), weights)
    }

    fn with_default(
        wanted: Option<&Quantization>,
        (dtype, otherwise): (Option<DType>, DType),
        weights: &Weights,
    ) -> Result<Option<Self>, Failure> {
        let (stored, turned) = match &weights.description {
            Description::Json(config) => (read_config(config)?, is_turned(config)),
            Description::Gguf(_) if wanted.is_some() => {
                return Err(failures::unsupported(
                    "a GGUF file cannot be quantised: its weights are packed already",
                )
                .hint("leave the quantisation out, or load the model's safetensors"));
            }
            Description::Gguf(_) => (None, false),
        };
        let is_gguf = matches!(weights.description, Description::Gguf(_));
        let is_ggml = |quantization: &Quantization| {
            matches!(quantization.method, QuantizationMethod::Ggml(_))
        };
        if stored.is_some() && wanted.is_some_and(is_ggml) {
            return Err(failures::unsupported(
                "its weights are quantised already, by bitsandbytes",
            )
            .hint("leave `quantize` out, or load the model's original weights"));
        }
        let is_stored = stored.is_some() && holds_packed(weights);
        let overruled = match (&stored, wanted) {
            (Some(stored), Some(wanted)) if stored != wanted => Some(OVERRULED.to_owned()),
            _ => None,
        };
        let quantization = stored.or_else(|| wanted.cloned());
        let dtype = match (&quantization, dtype) {
            (None, Some(DType::F16 | DType::BF16)) if is_gguf => {
                return Err(failures::unsupported(
                    "the types of a GGUF file's weights cannot be changed: they are packed already",
                )
                .hint("leave `dtype` out, or load the model's safetensors"));
            }
            // Widened to f32 they would be the same numbers in more memory.
            (None, None | Some(DType::F32)) => return Ok(None),
            (_, Some(dtype)) => dtype,
            (Some(quantization), None) if is_ggml(quantization) => DType::F32,
            (Some(_), None) => otherwise,
        };
        Ok(Some(Self {
            quantization,
            dtype,
            stored: is_stored,
            overruled,
            class: Arc::new(Class::of(weights)),
            turned,
        }))
    }

    /// By what it quantises.
    pub(crate) fn method(&self) -> Option<&QuantizationMethod> {
        self.quantization
            .as_ref()
            .map(|quantization| &quantization.method)
    }

    /// Whether the linear layer of this name is quantised.
    pub fn converts(&self, module: &str) -> bool {
        let last = module.rsplit('.').next().unwrap_or(module);
        // Files leave out what stands before all names, or have more of it; keys name modules of the class.
        let module = match module {
            HEAD => module.to_owned(),
            _ => families::class_name(self.class.base, module),
        };
        let kept = |key: &str| key == module || key == last || module.contains(&format!("{key}."));
        let Some(quantization) = &self.quantization else {
            return false;
        };
        let keys = quantization.skip_modules.as_ref();
        let keys = keys.unwrap_or(&self.class.kept);
        !self.class.in_f32.contains(&last) && !keys.iter().any(|key| kept(key))
    }

    /// Names of output layers that have no weights of their own, but a table's, and that the quantisation's list
    /// does not skip. Here they stay as the table is; transformers reads such a model by a list that has them only.
    pub(super) fn tied_outputs(&self, weights: &Weights) -> Vec<&str> {
        let keys = self.quantization.as_ref();
        let Some(keys) = keys.and_then(|quantization| quantization.skip_modules.as_ref()) else {
            return Vec::new();
        };
        // A key keeps all that is below it, which may be quantised.
        let is_absent = |key: &str| {
            let own = weights.tensors.keys().filter(|name| self.has(name));
            let mut parts = own.filter_map(|name| name.strip_prefix(key)?.strip_prefix('.'));
            !parts.any(|part| part == "weight" || part.contains('.'))
        };
        let kept = self.class.kept.iter().map(String::as_str);
        // A pooler that is not there is tied to nothing.
        kept.filter(|key| !key.contains("pooler") && !keys.iter().any(|kept| kept == key))
            .filter(|key| self.converts(key) && is_absent(key))
            .collect()
    }

    /// Whether what becomes of a token depends on which others are in its pass: `LLM.int8()` takes a
    /// column apart for all when one has an outlier there.
    pub(crate) fn mixes_tokens(&self) -> bool {
        matches!(self.method(), Some(QuantizationMethod::EightBit { .. }))
    }

    /// How values that are not quantised are stored.
    pub(crate) fn format(&self) -> Format {
        format_of(self.dtype)
    }

    /// The type of a tensor that is not quantised: f32 of what the class keeps so in a model that is
    /// quantised or f16.
    pub(crate) fn dtype_of(&self, tensor: &str) -> DType {
        let is_narrow = self.dtype == DType::F16 || self.quantization.is_some();
        let mut parts = tensor.split('.');
        if is_narrow && parts.any(|part| self.class.in_f32.contains(&part)) {
            return DType::F32;
        }
        self.dtype
    }

    /// Whether a tensor of the files is one of the model's, as transformers has it.
    pub(crate) fn has(&self, tensor: &str) -> bool {
        self.class.has(tensor)
    }

    /// The form of a matrix that bitsandbytes does not quantise: blocks of ggml where those were asked
    /// for, otherwise the plan's type.
    pub(crate) fn form(&self, tensor: &str, columns: usize, stored: Format) -> Format {
        match self.method() {
            Some(&QuantizationMethod::Ggml(kind)) => {
                blocks(kind, tensor, columns).unwrap_or(stored)
            }
            _ => format_of(self.dtype_of(tensor)),
        }
    }

    /// Rounds values to the plan's type.
    pub(crate) fn round(&self, values: &mut [f32]) {
        round(values, self.dtype);
    }

    /// What a user calls it.
    pub fn name(&self) -> String {
        match self.method() {
            None => self.format().name().to_owned(),
            Some(QuantizationMethod::FourBit {
                kind, double_quant, ..
            }) => {
                let double = if *double_quant {
                    ", double quantised"
                } else {
                    ""
                };
                format!("{}{double}", kind.name())
            }
            Some(QuantizationMethod::EightBit { .. }) => "int8".to_owned(),
            Some(QuantizationMethod::Ggml(kind)) => kind.name().to_uppercase(),
        }
    }

    /// The module of a tensor that is quantised while it is loaded.
    pub(crate) fn module<'n>(&self, name: &'n str, entry: &TensorEntry) -> Option<&'n str> {
        if matches!(self.method(), None | Some(QuantizationMethod::Ggml(_))) {
            return None;
        }
        let module = name.strip_suffix(".weight")?;
        let is_linear = entry.shape.len() == 2 && !is_table(name);
        (is_linear && self.converts(module)).then_some(module)
    }

    /// Whether a tensor is the packed weight of a layer of 4 bits, whatever type its bytes are viewed as
    /// (`bnb_4bit_quant_storage`): a single column, as no matrix that is quantised has.
    pub(crate) fn is_packed(&self, name: &str, entry: &TensorEntry) -> bool {
        self.stored
            && matches!(self.method(), Some(QuantizationMethod::FourBit { .. }))
            && entry.shape.get(1) == Some(&1)
            && name
                .strip_suffix(".weight")
                .is_some_and(|module| !is_table(name) && self.converts(module))
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
        if self.is_packed(name, entry) {
            return entry.bytes;
        }
        match (self.method(), self.module(name, entry)) {
            (Some(QuantizationMethod::FourBit { .. }), Some(_)) => entry.values().div_ceil(2),
            (Some(QuantizationMethod::EightBit { .. }), Some(_)) => entry.values(),
            (Some(QuantizationMethod::Ggml(_)), _) => self.block_bytes(name, entry),
            _ => entry.values() * format_of(self.dtype_of(name)).block_bytes() as u64,
        }
    }

    /// Whether the files hold the matrix of this name transposed.
    pub(crate) fn turns(&self, name: &str) -> bool {
        self.turned && !name.starts_with(HEAD) && !is_table(name)
    }

    /// How a matrix is stored in memory that bitsandbytes does not quantise; `None` of what is none.
    pub(crate) fn form_of(&self, name: &str, entry: &TensorEntry) -> Option<Format> {
        let &[rows, columns] = &entry.shape[..] else {
            return None;
        };
        let columns = if self.turns(name) { rows } else { columns };
        Some(self.form(name, columns, entry.format))
    }

    fn block_bytes(&self, name: &str, entry: &TensorEntry) -> u64 {
        match self.form_of(name, entry) {
            Some(format) => format.bytes_of(entry.values()).unwrap_or(entry.bytes),
            None => entry.values() * format_of(self.dtype).block_bytes() as u64,
        }
    }

    /// Bytes that belong to a tensor's packed weights beside them: scales of blocks or of rows.
    fn scale_bytes(&self, name: &str, entry: &TensorEntry) -> u64 {
        if self.stored || self.module(name, entry).is_none() {
            return 0;
        }
        match self.method() {
            Some(QuantizationMethod::FourBit { double_quant, .. }) => {
                let blocks = entry.values().div_ceil(64);
                if *double_quant {
                    blocks + blocks.div_ceil(256) * 4 + 1028
                } else {
                    blocks * 4
                }
            }
            Some(QuantizationMethod::EightBit { .. }) => entry.shape[0] as u64 * 4,
            None | Some(QuantizationMethod::Ggml(_)) => 0,
        }
    }
}

/// Whether the files of a model of this configuration hold the weights of linear layers transposed.
fn is_turned(config: &Value) -> bool {
    config["model_type"] == "gpt2"
}

/// The type that the files state: `config.json`, or the first of their floats. By `_get_dtype` of
/// transformers.
fn stated_dtype(weights: &Weights) -> DType {
    let config = match &weights.description {
        Description::Json(config) => config,
        Description::Gguf(_) => &Value::Null,
    };
    let stated = ["dtype", "torch_dtype"].map(|key| config[key].as_str());
    match stated.into_iter().flatten().next() {
        Some("float16") => return DType::F16,
        Some("bfloat16") => return DType::BF16,
        Some(_) => return DType::F32,
        None => {}
    }
    let formats = weights.tensors.values().map(|entry| entry.format);
    let mut dtypes = formats.filter_map(|format| match format {
        Format::F32 => Some(DType::F32),
        Format::F16 => Some(DType::F16),
        Format::BF16 => Some(DType::BF16),
        _ => None,
    });
    dtypes.next().unwrap_or(DType::F32)
}

/// Whether a tensor is a table of vectors.
fn is_table(tensor: &str) -> bool {
    let module = tensor.strip_suffix(".weight").unwrap_or(tensor);
    EMBEDDINGS.contains(&module.rsplit('.').next().unwrap_or(module))
}

/// The blocks of a matrix of this name; `None` for one that stays as it is: positions, and the router
/// of experts, as in llama.cpp. The token table and the head, which decide the most, get `Q6_K` at
/// least. Rows that are no whole number of blocks get the type that llama.cpp falls back to.
fn blocks(kind: GgmlType, tensor: &str, columns: usize) -> Option<Format> {
    let module = tensor.strip_suffix(".weight")?;
    let kind = match module.rsplit('.').next()? {
        "wpe" | "gate" => return None,
        "embed_tokens" | "wte" | HEAD if kind != GgmlType::Q8_0 => GgmlType::Q6K,
        _ => kind,
    };
    let format = format_of_blocks(kind);
    if columns.is_multiple_of(format.block_values()) {
        return Some(format);
    }
    let smaller = match kind {
        GgmlType::Q2K | GgmlType::Q3K => Format::Q4_0,
        GgmlType::Q4K => Format::Q5_0,
        GgmlType::Q5K => Format::Q5_1,
        _ => Format::Q8_0,
    };
    columns
        .is_multiple_of(smaller.block_values())
        .then_some(smaller)
}

fn format_of_blocks(kind: GgmlType) -> Format {
    match kind {
        GgmlType::Q4_0 => Format::Q4_0,
        GgmlType::Q4_1 => Format::Q4_1,
        GgmlType::Q5_0 => Format::Q5_0,
        GgmlType::Q5_1 => Format::Q5_1,
        GgmlType::Q8_0 => Format::Q8_0,
        GgmlType::Q2K => Format::Q2K,
        GgmlType::Q3K => Format::Q3K,
        GgmlType::Q4K => Format::Q4K,
        GgmlType::Q5K => Format::Q5K,
        GgmlType::Q6K => Format::Q6K,
    }
}

/// Whether any weight of the files is packed. Where none is, what the configuration says of them is still to be done,
/// as transformers does it in 8 bits.
fn holds_packed(weights: &Weights) -> bool {
    let mut tensors = weights.tensors.iter();
    tensors.any(|(name, entry)| {
        let is_packed = entry.format == Format::Byte && name.ends_with(".weight");
        is_packed || name.rsplit('.').next() == Some("SCB") || name.contains(".weight.quant_state.")
    })
}

/// Whether a tensor only serves to unpack another.
fn is_state(name: &str) -> bool {
    let last = name.rsplit('.').next();
    matches!(last, Some("SCB" | "weight_format")) || name.contains(".weight.")
}

/// Bytes of parameters and buffers, as transformers counts them: what is tied once, no scales. Reads
/// no weights.
pub fn footprint(weights: &Weights, plan: Option<&Plan>) -> u64 {
    let class = plan.map_or_else(
        || Arc::new(Class::of(weights)),
        |plan| Arc::clone(&plan.class),
    );
    let tensors = weights.tensors.iter().filter(|(name, _)| class.has(name));
    let parameters: u64 = tensors
        .map(|(name, entry)| match plan {
            Some(plan) => plan.bytes_of(name, entry),
            None => entry.bytes,
        })
        .sum();
    let format = plan.map_or_else(|| weights.main_format(), Plan::format);
    parameters + class.bytes_beside(format.block_bytes())
}

/// Bytes that a tensor of a plan takes in memory, with the scales that belong to it; none where the model has no such.
pub(crate) fn tensor_bytes(plan: &Plan, name: &str, entry: &TensorEntry) -> u64 {
    if !plan.class.has(name) {
        return 0;
    }
    plan.bytes_of(name, entry) + plan.scale_bytes(name, entry)
}

/// Bytes that the weights of a plan will take in memory, and beside them for a while.
pub fn memory(weights: &Weights, plan: &Plan) -> u64 {
    let tensors = weights.tensors.iter();
    let scales: u64 = tensors
        .map(|(name, entry)| plan.scale_bytes(name, entry))
        .sum();
    // Only what the files hold transposed is in memory as a whole while it is computed.
    let whole = weights.tensors.values().map(|entry| entry.bytes * 2).max();
    let whole = whole.filter(|_| plan.turned).unwrap_or(0);
    footprint(weights, Some(plan)) + scales + whole
}

/// Number of parameters: packed ones count as what they were packed from.
pub fn parameters(weights: &Weights, plan: &Plan) -> u64 {
    let tensors = weights.tensors.iter();
    tensors
        .filter(|(name, _)| !(plan.stored && is_state(name)))
        .map(|(name, entry)| {
            if plan.is_packed(name, entry) {
                entry.bytes * 2
            } else {
                entry.values()
            }
        })
        .sum()
}
