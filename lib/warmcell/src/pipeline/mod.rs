//! `pipeline(task)`: a model and what goes before and after it, in one call. Names of tasks are in
//! `wire::task`, what goes in and comes out in `input` and `output`, arguments in `arguments`.

mod arguments;
mod conversions;
mod input;
mod named;
mod output;
mod streamed;
mod text2text;
mod text_generation;
mod writing;

use std::{fmt, io::Write};

use ::display::{Pending, RichDisplay, html};
use arguments::Arguments;
pub use input::PipelineInput;
use named::{IntoModel, IntoTokenizer, Named, TokenizerOf};
pub use output::PipelineOutput;
use output::{Output, generations};
use serde::Serialize;
pub use streamed::StreamedPipeline;
pub use text_generation::TextGeneration;
use wire::{
    FailureKind,
    embedded::SENTIMENT_REPO,
    host::{Request, Response},
    mime::Bundle,
    model::{Activations, DType, Device, EMBEDDED_FILE, EMBEDDED_REPO, ModelSource, ModelSpec},
    pipeline::{EncoderTask, PipelineCall, PipelineRun, PipelineTask as Task},
    task::{self, languages},
};

use crate::{
    AutoModelForCausalLM, BitsAndBytesConfig, Error, IntoDevice, Model, Result,
    backend::{run, unexpected},
    model::source,
    pending,
};

/// A pipeline for a task, with the default model.
///
/// # Errors
/// As [`PipelineBuilder::load`].
pub fn pipeline(task: &str) -> Result<Pipeline> {
    pipeline_with(task).load()
}

/// A pipeline for a task, with options.
pub fn pipeline_with(task: &str) -> PipelineBuilder {
    PipelineBuilder {
        task: task.to_owned(),
        model: None,
        revision: None,
        gguf_file: None,
        tokenizer: None,
        device: None,
        dtype: None,
        quantization: None,
        local_files_only: false,
    }
}

/// Which pipeline to make.
#[derive(Clone, Debug)]
#[must_use = "nothing is loaded before `load()`"]
pub struct PipelineBuilder {
    task: String,
    model: Option<Named>,
    revision: Option<String>,
    gguf_file: Option<String>,
    tokenizer: Option<TokenizerOf>,
    device: Option<Result<Device>>,
    dtype: Option<DType>,
    quantization: Option<BitsAndBytesConfig>,
    local_files_only: bool,
}

impl PipelineBuilder {
    /// The model, by the name of its repository or its folder; or a loaded one, `&model`, as it was loaded.
    pub fn model(mut self, model: impl IntoModel) -> Self {
        self.model = Some(model.into_model());
        self
    }

    /// The GGUF file of the repository; chosen when there is only one. Of `text-generation`.
    pub fn gguf_file(mut self, file: impl Into<String>) -> Self {
        self.gguf_file = Some(file.into());
        self
    }

    /// Branch, tag or commit of the model.
    pub fn revision(mut self, revision: impl Into<String>) -> Self {
        self.revision = Some(revision.into());
        self
    }

    /// A tokenizer that is not the model's own, by the name of its repository or its folder, of which the
    /// `revision` is too; or a loaded one, `&tokenizer`.
    pub fn tokenizer(mut self, tokenizer: impl IntoTokenizer) -> Self {
        self.tokenizer = Some(tokenizer.into_tokenizer());
        self
    }

    /// Where it is to live: `"auto"`, `"cpu"`, `"cuda"`, `"cuda:1"`, or the number of a GPU.
    pub fn device(mut self, device: impl IntoDevice) -> Self {
        self.device = Some(device.into_device());
        self
    }

    /// Type of the weights that are not quantised. As in transformers' pipelines it is the files' own where
    /// none is given.
    pub fn dtype(mut self, dtype: DType) -> Self {
        self.dtype = Some(dtype);
        self
    }

    /// How linear layers are quantised while they are loaded, of every task's model:
    /// `model_kwargs={"quantization_config": …}` of transformers.
    ///
    /// ```no_run
    /// # use warmcell::prelude::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let config = BitsAndBytesConfig { load_in_8bit: true, ..Default::default() };
    /// let classifier = pipeline_with("zero-shot-classification").quantization_config(config).load()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn quantization_config(mut self, config: BitsAndBytesConfig) -> Self {
        self.quantization = Some(config);
        self
    }

    /// Use only what is on this machine.
    pub fn local_files_only(mut self) -> Self {
        self.local_files_only = true;
        self
    }

    /// What it would do.
    pub(crate) fn pending(&self) -> Pending {
        let model = self.model.as_ref().map(|model| match model {
            Named::Name(name) => name,
            Named::Loaded(spec) => &spec.source.repo,
        });
        let tokenizer = self.tokenizer.as_ref().map(|tokenizer| match tokenizer {
            TokenizerOf::Name(name) => name,
            TokenizerOf::Loaded { source, .. } => &source.repo,
        });
        let device = self.device.as_ref().map(|device| match device {
            Ok(device) => device.to_string(),
            Err(error) => error.message().to_owned(),
        });
        let config = self.quantization.as_ref();
        pending::load(format!("load a pipeline for {}", self.task))
            .with("model", model)
            .with("revision", self.revision.as_ref())
            .with("gguf_file", self.gguf_file.as_ref())
            .with("tokenizer", tokenizer)
            .with("device", device)
            .with("dtype", self.dtype.map(|dtype| format!("{dtype:?}")))
            .with("quantization_config", config.map(BitsAndBytesConfig::short))
            .with("local_files_only", self.local_files_only.then_some(true))
    }

    /// Loads the model, or finds it resident.
    ///
    /// # Errors
    /// The task is unknown or not built, the model is missing, gated or not reached, it is of an
    /// architecture that does not load or without the task's head, the device is missing, or memory does
    /// not suffice.
    pub fn load(self) -> Result<Pipeline> {
        let task = Task::named(&self.task)?;
        self.check(task)?;
        let device = self.device.clone().unwrap_or(Ok(Device::Auto))?;
        let model = match task {
            Task::TextGeneration => self.generator(device)?,
            Task::Encoder(own) => {
                let default = || {
                    let revision = self.revision.as_deref();
                    Ok(default_source(own.default_model(), revision))
                };
                self.special(Task::Encoder(own), device, &default)?
            }
            Task::Text2Text(own) => {
                let pair = languages(&self.task);
                let default = || self.default_text2text(own, pair.as_ref());
                self.special(Task::Text2Text(own), device, &default)?
            }
        };
        Ok(Pipeline {
            task,
            languages: languages(&self.task),
            model,
            tokenizer: self.tokenizer_source()?,
            arguments: Arguments::default(),
        })
    }

    fn generator(&self, device: Device) -> Result<Model> {
        let mut model = match &self.model {
            // It is there also when its files are gone.
            Some(Named::Loaded(spec)) => return load(Task::TextGeneration, (**spec).clone()),
            Some(Named::Name(name)) => AutoModelForCausalLM::from_pretrained(name),
            None => {
                tell(&task::embedded_notice());
                AutoModelForCausalLM::from_pretrained(EMBEDDED_REPO).gguf_file(EMBEDDED_FILE)
            }
        };
        if let Some(revision) = &self.revision {
            model = model.revision(revision);
        }
        if let Some(file) = &self.gguf_file {
            model = model.gguf_file(file);
        }
        if let Some(dtype) = self.dtype {
            model = model.dtype(dtype);
        }
        if self.local_files_only {
            model = model.local_files_only();
        }
        if let Some(config) = &self.quantization {
            model = model.quantization_config(config.clone());
        }
        let spec = model.device_map(device).resolved()?;
        Model::load(spec.for_pipeline(Task::TextGeneration))
    }

    /// The model of a task that has models of its own.
    fn special(
        &self,
        task: Task,
        device: Device,
        default: &dyn Fn() -> Result<ModelSource>,
    ) -> Result<Model> {
        match &self.model {
            Some(Named::Loaded(spec)) => return load(task, (**spec).clone()),
            Some(Named::Name(name)) => {
                let mut source = source(name);
                source.revision.clone_from(&self.revision);
                return self.load_special(task, source, device);
            }
            None => {}
        }
        let default = default()?;
        let name = default.repo.clone();
        let failure = match self.load_special(task, default, device) {
            Err(failure) if failure.kind() == FailureKind::Offline => failure,
            loaded => return loaded,
        };
        // A revision was meant for the default; only one task has a stand-in.
        let has_stand_in = task == Task::Encoder(EncoderTask::TextClassification);
        if !has_stand_in || self.revision.is_some() {
            return Err(failure);
        }
        let embedded = ModelSource::new(SENTIMENT_REPO);
        let Ok(model) = self.load_special(task, embedded, device) else {
            return Err(failure);
        };
        tell(&task::stand_in_notice(&name, SENTIMENT_REPO));
        Ok(model)
    }

    fn load_special(&self, task: Task, mut source: ModelSource, device: Device) -> Result<Model> {
        source.local_files_only = self.local_files_only;
        let quantization = self.quantization.clone().map(|config| {
            config.tell_defaults();
            config.resolve()
        });
        let quantization = quantization.transpose()?;
        let spec = ModelSpec {
            source,
            dtype: self.dtype,
            auto_dtype: false,
            device_map: device.into(),
            quantization,
            activations: Activations::F32,
            cache_dtype: None,
        };
        load(task, spec.for_pipeline(task))
    }
}

/// A model of a task that has models of its own.
pub(crate) fn load(task: Task, spec: ModelSpec) -> Result<Model> {
    let model = spec.clone();
    match run(&Request::LoadPipeline { task, model })? {
        Response::Model(info) => Ok(Model::of(spec, info)),
        other => Err(unexpected(&other)),
    }
}

/// transformers' default model, announced as there.
fn default_source((name, default): (&str, &str), revision: Option<&str>) -> ModelSource {
    let revision = revision.unwrap_or(default);
    tell(&task::default_notice(name, revision));
    ModelSource {
        revision: Some(revision.to_owned()),
        ..ModelSource::new(name)
    }
}

fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A loaded pipeline. Set its arguments, then `run()`.
#[derive(Clone, Debug)]
pub struct Pipeline {
    task: Task,
    /// The languages in the name of a translation.
    languages: Option<(String, String)>,
    model: Model,
    tokenizer: Option<ModelSource>,
    arguments: Arguments,
}

impl Pipeline {
    /// Runs on a text, or on a list of texts; `text-generation` on conversations too,
    /// `question-answering` on `(question, context)`, `zero-shot-classification` on `(text, labels)`.
    ///
    /// # Errors
    /// The input or an argument is not one of the task's, a text is longer than the model reads, the
    /// model host ended, or the request was interrupted.
    pub fn run(&self, input: impl Into<PipelineInput>) -> Result<PipelineOutput> {
        let (call, single) = self.call(input.into())?;
        self.answer(call, single)
    }

    /// The call on an input, and whether that is one, not a list.
    fn call(&self, input: PipelineInput) -> Result<(PipelineCall, bool)> {
        self.arguments.check(self.task)?;
        let prompts = ["prompt_name", "prompt"];
        if let Some(name) = prompts.into_iter().find(|name| self.arguments.has(name)) {
            return Err(Error::new(
                FailureKind::InvalidArgument,
                format!("`{name}` goes with `embeddings`, not with `run`"),
            )
            .with_hint("put the prompt into the text, or call `embeddings`"));
        }
        let single = input.is_single();
        let call = match self.task {
            Task::TextGeneration => text_generation::call(input, &self.arguments)?,
            Task::Text2Text(task) => {
                text2text::call(task, input, (&self.arguments, &self.languages))?
            }
            Task::Encoder(_) => input.into_call(self.task, &self.arguments)?,
        };
        Ok((call, single))
    }

    /// One vector a text, of length 1, as sentence-transformers' `encode(…, normalize_embeddings=True)` gives:
    /// what the model's `modules.json` makes of the text's last hidden states, or their mean where there is
    /// none. Of `feature-extraction`, with a model that was trained for it, such as
    /// `sentence-transformers/all-MiniLM-L6-v2`. Texts longer than the model takes are cut; `prompt_name` or
    /// `prompt` says what goes before each.
    ///
    /// # Errors
    /// As [`Pipeline::run`]; and a module or a prompt is not known.
    pub fn embeddings(&self, input: impl Into<PipelineInput>) -> Result<PipelineOutput> {
        let input = input.into();
        if self.task != Task::Encoder(EncoderTask::FeatureExtraction) {
            return Err(Error::new(
                FailureKind::InvalidArgument,
                format!("`{}` gives no embeddings", self.task.name()),
            )
            .with_hint("make a pipeline for them: `pipeline_with(\"feature-extraction\")`"));
        }
        self.arguments.check(self.task)?;
        let others = ["truncation", "max_length", "add_special_tokens"];
        if let Some(name) = others.into_iter().find(|name| self.arguments.has(name)) {
            return Err(Error::new(
                FailureKind::InvalidArgument,
                format!("`{name}` goes with `run`, not with `embeddings`"),
            )
            .with_hint("leave it out: texts are cut to what the model's files say"));
        }
        let single = input.is_single();
        let inputs = input.texts(EncoderTask::FeatureExtraction)?;
        let call = PipelineCall::Embeddings {
            inputs,
            normalize: true,
            prompt: self.arguments.prompt.clone(),
        };
        self.answer(call, single)
    }

    /// What the model host makes of a call.
    fn answer(&self, call: PipelineCall, single: bool) -> Result<PipelineOutput> {
        let request = Request::RunPipeline(self.request(call.clone()));
        self.output(run(&request)?, call, single)
    }

    fn request(&self, call: PipelineCall) -> PipelineRun {
        PipelineRun {
            model: self.model.spec().clone(),
            tokenizer: self.tokenizer.clone(),
            call,
            batch_size: self.arguments.batch_size,
            stream: None,
            assistant: self.arguments.assistant.clone(),
        }
    }

    fn output(
        &self,
        response: Response,
        call: PipelineCall,
        single: bool,
    ) -> Result<PipelineOutput> {
        match response {
            Response::Pipeline(answer) => Ok(PipelineOutput(Output {
                generations: generations(&answer),
                call,
                answer,
                single,
                plain: !self.arguments.has("top_k"),
                tensors: self.arguments.return_tensors,
            })),
            other => Err(unexpected(&other)),
        }
    }

    /// Where the tokenizer that it reads and writes by is from.
    fn tokenizer_source(&self) -> &ModelSource {
        self.tokenizer.as_ref().unwrap_or(&self.model.spec().source)
    }

    /// transformers' name of its task.
    pub fn task(&self) -> &'static str {
        self.task.name()
    }

    /// The model behind it.
    pub fn model(&self) -> &Model {
        &self.model
    }
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {}", self.task(), self.model)
    }
}

impl RichDisplay for Pipeline {
    fn bundle(&self) -> Bundle {
        let html = format!("<p>{}</p>", html::escape(&self.to_string()));
        Bundle::text(self.to_string()).with("text/html", html)
    }
}

impl Serialize for Pipeline {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.task(), &self.model).serialize(serializer)
    }
}
