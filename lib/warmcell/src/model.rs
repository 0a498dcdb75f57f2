//! `AutoModelForCausalLM`, and the handle to a model that it gives. A handle holds no weights: it
//! says which model it stands for, so that it outlives the process that holds them.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use wire::{
    FailureKind,
    host::{Request, Response, UnloadTarget},
    model::{DType, Device, ModelInfo, ModelSource, ModelSpec},
};

use crate::{
    BitsAndBytesConfig, Error, Generate, IntoPrompt, Result, Tokenizer,
    backend::{run, unexpected},
    rich::shows_as,
};

/// Loads models that continue text, by the name of their repository.
#[derive(Debug)]
pub struct AutoModelForCausalLM;

impl AutoModelForCausalLM {
    /// A model of a repository on the hub, of a folder, or of a `.gguf` file. Nothing happens before
    /// [`ModelBuilder::load`].
    pub fn from_pretrained(name: impl Into<String>) -> ModelBuilder {
        let spec = ModelSpec {
            source: source(name),
            dtype: None,
            device: Device::Auto,
            quantization: None,
        };
        ModelBuilder {
            spec,
            device: Ok(()),
            quantization: None,
        }
    }
}

/// Where a name leads. What exists here, or is written as a path, becomes absolute: the model host
/// runs in another folder.
pub(crate) fn source(name: impl Into<String>) -> ModelSource {
    let name = name.into();
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let path = match (name.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(&name),
    };
    let is_local = name.starts_with(['.', '/', '~']) || path.exists();
    match std::path::absolute(&path) {
        Ok(absolute) if is_local => ModelSource::new(absolute.display().to_string()),
        _ => ModelSource::new(name),
    }
}

/// A folder to write to, as a path that holds in the model host's folder too.
pub(crate) fn absolute(folder: &Path) -> Result<String> {
    let absolute = std::path::absolute(folder).map_err(|error| {
        let message = format!("cannot write to `{}`: {error}", folder.display());
        Error::new(FailureKind::Io, message)
    })?;
    Ok(absolute.display().to_string())
}

/// Which model to load, and how.
#[derive(Clone, Debug)]
#[must_use = "nothing is loaded before `load()`"]
pub struct ModelBuilder {
    spec: ModelSpec,
    /// What is wrong with the device that was asked for; told at `load()`.
    device: Result<()>,
    quantization: Option<BitsAndBytesConfig>,
}

impl ModelBuilder {
    /// Branch, tag or commit; `main` when not given.
    pub fn revision(mut self, revision: impl Into<String>) -> Self {
        self.spec.source.revision = Some(revision.into());
        self
    }

    /// A GGUF file of the repository; chosen when there is only one.
    pub fn gguf_file(mut self, file: impl Into<String>) -> Self {
        self.spec.source.gguf_file = Some(file.into());
        self
    }

    /// Use only what is on this machine.
    pub fn local_files_only(mut self) -> Self {
        self.spec.source.local_files_only = true;
        self
    }

    /// Where it is to live: `"auto"`, `"cpu"`, `"cuda"`, `"cuda:1"`, or a [`Device`].
    pub fn device_map(mut self, device: impl IntoDevice) -> Self {
        match device.into_device() {
            Ok(device) => self.spec.device = device,
            Err(error) => self.device = Err(error),
        }
        self
    }

    /// Type of the activations, and of weights that are not quantised.
    pub fn dtype(mut self, dtype: DType) -> Self {
        self.spec.dtype = Some(dtype);
        self
    }

    /// How linear layers are quantised while they are loaded.
    pub fn quantization_config(mut self, config: BitsAndBytesConfig) -> Self {
        self.quantization = Some(config);
        self
    }

    /// Loads it, or finds it resident, which takes milliseconds.
    ///
    /// # Errors
    /// The repository is missing, gated or not reached, its model is of an unknown family, the
    /// device is missing, the quantisation contradicts itself, or memory does not suffice.
    pub fn load(mut self) -> Result<Model> {
        self.device?;
        if let Some(config) = self.quantization {
            config.tell_defaults();
            self.spec.quantization = Some(config.resolve()?);
        }
        Model::load(self.spec)
    }
}

/// How a device is named.
pub trait IntoDevice {
    /// The device.
    ///
    /// # Errors
    /// There is no device of this name.
    fn into_device(self) -> Result<Device>;
}

impl IntoDevice for Device {
    fn into_device(self) -> Result<Device> {
        Ok(self)
    }
}

impl IntoDevice for &str {
    fn into_device(self) -> Result<Device> {
        match self {
            "auto" => Ok(Device::Auto),
            "cpu" => Ok(Device::Cpu),
            "cuda" => Ok(Device::Cuda(0)),
            _ => match self
                .strip_prefix("cuda:")
                .and_then(|ordinal| ordinal.parse().ok())
            {
                Some(ordinal) => Ok(Device::Cuda(ordinal)),
                None => Err(Error::new(
                    FailureKind::InvalidArgument,
                    format!("there is no device `{self}`"),
                )
                .with_hint("use \"auto\", \"cpu\", \"cuda\" or \"cuda:0\"")),
            },
        }
    }
}

/// A model in memory.
#[derive(Clone, Debug)]
pub struct Model {
    spec: ModelSpec,
    info: ModelInfo,
}

shows_as!(Model, info);

impl Model {
    pub(crate) fn load(spec: ModelSpec) -> Result<Self> {
        match run(&Request::LoadModel(spec.clone()))? {
            Response::Model(info) => Ok(Self { spec, info }),
            other => Err(unexpected(&other)),
        }
    }

    /// Continues a prompt: `&messages!`, text, [`crate::Tokens`] or a [`crate::Chat`]. Set how, then
    /// `run()`.
    pub fn generate(&self, prompt: impl IntoPrompt) -> Generate {
        Generate::new(self.spec.clone(), prompt.into_prompt())
    }

    /// The model's own tokenizer.
    ///
    /// # Errors
    /// As [`crate::AutoTokenizer::from_pretrained`].
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        Tokenizer::load(self.spec.source.clone())
    }

    /// What is known of it.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Bytes of parameters and buffers by transformers' definition, which leaves the scales of
    /// quantised blocks out; `info().bytes` has them.
    pub fn get_memory_footprint(&self) -> u64 {
        self.info.memory_footprint
    }

    /// Writes its configuration and weights into a folder, quantised as it is, from which
    /// `from_pretrained` here and in transformers loads it; gives the paths. What is in the folder
    /// already is replaced once all is written. The tokenizer has a `save_pretrained` of its own.
    ///
    /// # Errors
    /// The folder cannot be written to or is the model's own, the files it was loaded from are gone,
    /// or they are a GGUF file.
    pub fn save_pretrained(&self, folder: impl AsRef<Path>) -> Result<Vec<String>> {
        let folder = absolute(folder.as_ref())?;
        let model = self.spec.clone();
        match run(&Request::SaveModel { model, folder })? {
            Response::Saved(paths) => Ok(paths),
            other => Err(unexpected(&other)),
        }
    }

    /// Frees its memory for all handles and notebooks. A later use loads it again.
    ///
    /// # Errors
    /// The model host ended.
    pub fn unload(&self) -> Result<()> {
        match run(&Request::Unload(UnloadTarget::Spec(self.spec.clone())))? {
            Response::Unloaded(_) => Ok(()),
            other => Err(unexpected(&other)),
        }
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ModelInfo {
            name,
            architecture,
            quantization,
            device,
            ..
        } = &self.info;
        write!(f, "{name} ({architecture}, {quantization}, {device})")
    }
}
