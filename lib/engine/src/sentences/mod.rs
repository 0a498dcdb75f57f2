//! What a repository of sentence-transformers says beside its encoder: `modules.json`, the folders that it
//! names, and how texts are prepared. From states to a text's vector is here; reading texts is
//! `pipelines`' matter.

mod pooling;
mod prompts;
mod steps;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use wire::{Failure, pipeline::EmbeddingPrompt};

pub use pooling::Pooling;
use prompts::Prompts;
use steps::Step;

use crate::{
    Cancel, failures,
    hub::safe_relative,
    tokenizer::{Tokenizer, optional_json},
};

/// Names of the file that says how long texts may be, the older ones with the encoder's kind in them.
pub(crate) const PREPARATION_FILES: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];

/// How texts become vectors.
pub struct Sentences {
    /// From the states of a text's tokens to one vector.
    pub pooling: Pooling,
    /// Whether a `modules.json` says all this; else it is what sentence-transformers makes of a bare model.
    pub is_stated: bool,
    /// Tokens that a text is cut to, in place of what the tokenizer says.
    pub longest: Option<u32>,
    steps: Vec<Step>,
    prompts: Prompts,
    /// Values that are kept of each vector.
    truncate_dim: Option<usize>,
    lowercases: bool,
    /// The tokenizer that lowers its texts, made when it is first asked for.
    lowercasing: Mutex<Option<Arc<Tokenizer>>>,
}

impl Sentences {
    /// Of a folder. Fails on a module that is not known, and names it.
    pub fn read(folder: &Path, cancel: &Cancel) -> Result<Self, Failure> {
        let modules = optional_json(&folder.join("modules.json"))?;
        let modules = match &modules {
            Value::Null => {
                let config = optional_json(&folder.join("config.json"))?;
                return Ok(Self::bare(is_causal(&config)));
            }
            Value::Array(modules) => modules,
            _ => {
                return Err(failures::unsupported(
                    "`modules.json` is no list of modules",
                ));
            }
        };
        let config = optional_json(&folder.join("config_sentence_transformers.json"))?;
        check_kind(&config)?;
        let mut modules = modules.iter().map(Module::read);
        let first = modules.next().transpose()?;
        check_first(first.as_ref())?;
        let mut pooling = None;
        let mut steps = Vec::new();
        for module in modules {
            let module = module?;
            let folder = folder.join(&module.path);
            match module.kind.as_str() {
                "Pooling" if pooling.is_none() && steps.is_empty() => {
                    pooling = Some(Pooling::read(&pooling_config(&folder)?)?);
                }
                _ if pooling.is_none() => return Err(unknown(&module, "before a `Pooling`")),
                kind => match Step::read(kind, &folder, cancel)? {
                    Some(step) => steps.push(step),
                    None => return Err(unknown(&module, "behind a `Pooling`")),
                },
            }
        }
        let pooling = pooling.ok_or_else(|| {
            failures::unsupported("`modules.json` has no `Pooling`, so that texts get no vector")
                .hint("use `run`, which gives the states of all tokens")
        })?;
        let preparation = preparation(folder)?;
        let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
        Ok(Self {
            pooling,
            is_stated: true,
            longest: number(&arguments(&preparation)["model_max_length"])
                .or(number(&preparation["max_seq_length"])),
            steps,
            prompts: Prompts::read(&config)?,
            truncate_dim: number(&config["truncate_dim"]).map(|dim| dim as usize),
            lowercases: preparation["do_lower_case"] == true,
            lowercasing: Mutex::default(),
        })
    }

    /// The mean of an encoder's states, or a decoder's last one.
    pub fn bare(is_causal: bool) -> Self {
        Self {
            pooling: if is_causal {
                Pooling::last()
            } else {
                Pooling::mean()
            },
            is_stated: false,
            longest: None,
            steps: Vec::new(),
            prompts: Prompts::default(),
            truncate_dim: None,
            lowercases: false,
            lowercasing: Mutex::default(),
        }
    }

    /// What goes before each text. Fails on a name that there is no prompt of.
    pub fn prompt<'a>(&'a self, wanted: &'a EmbeddingPrompt) -> Result<&'a str, Failure> {
        self.prompts.of(wanted)
    }

    /// The tokenizer that texts are cut by: this one, or where `do_lower_case` asks for it one that lowers
    /// them first.
    pub fn tokenizer(&self, own: &Arc<Tokenizer>) -> Result<Arc<Tokenizer>, Failure> {
        if !self.lowercases {
            return Ok(Arc::clone(own));
        }
        let mut known = self
            .lowercasing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known
            .as_ref()
            .filter(|known| known.fingerprint() == own.fingerprint())
        {
            return Ok(Arc::clone(known));
        }
        let lowercasing = Arc::new(own.lowercasing()?);
        *known = Some(Arc::clone(&lowercasing));
        Ok(lowercasing)
    }

    /// From pooled states, a row a text, to vectors.
    pub fn vectors(&self, pooled: Vec<Vec<f32>>) -> Result<Vec<Vec<f32>>, Failure> {
        let mut vectors = pooled;
        if !self.steps.is_empty() && !vectors.is_empty() {
            let width = vectors.iter().map(Vec::len).max().unwrap_or(0);
            let shape = (1, vectors.len(), width);
            let made = Tensor::from_vec(vectors.concat(), shape, &Device::Cpu)
                .and_then(|x| self.steps.iter().try_fold(x, |x, step| step.forward(&x)))
                .and_then(|x| x.squeeze(0)?.to_vec2());
            vectors = made.map_err(failures::internal)?;
        }
        if let Some(dim) = self.truncate_dim {
            for vector in &mut vectors {
                vector.truncate(dim);
            }
        }
        Ok(vectors)
    }
}

/// Whether a configuration is that of a model that was made to generate text, by the rule of
/// sentence-transformers.
fn is_causal(config: &Value) -> bool {
    let class = config["architectures"][0].as_str().unwrap_or_default();
    class.ends_with("ForCausalLM") && config["is_causal"] != false
}

/// What a `Pooling` is told. Without it nothing says what is pooled.
fn pooling_config(folder: &Path) -> Result<Value, Failure> {
    let path = folder.join("config.json");
    if path.is_file() {
        return optional_json(&path);
    }
    Err(failures::unsupported(format!(
        "`modules.json` names a `Pooling`, and `{}` is missing",
        path.display()
    ))
    .hint("download the repository again; or use `run`, which gives the states of all tokens"))
}

/// What the tokenizer is told as it is made, by the keys of newer and of older releases.
fn arguments(preparation: &Value) -> &Value {
    match &preparation["processor_kwargs"] {
        Value::Null => &preparation["tokenizer_args"],
        found => found,
    }
}

/// An entry of `modules.json`.
struct Module {
    /// The class as it is written there.
    class: String,
    /// Its name alone; empty of a class that is not sentence-transformers' own.
    kind: String,
    path: String,
}

impl Module {
    fn read(entry: &Value) -> Result<Self, Failure> {
        let class = entry["type"].as_str().unwrap_or_default().to_owned();
        let path = entry["path"].as_str().unwrap_or_default();
        if !path.is_empty() && safe_relative(path).is_none() {
            return Err(failures::unsupported(format!(
                "`modules.json` names the folder `{path}`, which lies outside the repository"
            )));
        }
        let kind = class
            .starts_with("sentence_transformers.")
            .then(|| class.rsplit('.').next().unwrap_or_default());
        Ok(Self {
            kind: kind.unwrap_or_default().to_owned(),
            path: path.to_owned(),
            class,
        })
    }
}

fn unknown(module: &Module, place: &str) -> Failure {
    failures::unsupported(format!(
        "`modules.json` has the module `{}` {place}, which is not known",
        module.class
    ))
    .hint("those that load: Transformer, Pooling, then any of Dense, LayerNorm, Normalize and Dropout")
}

/// The encoder itself is the first module, in the repository's own folder.
fn check_first(first: Option<&Module>) -> Result<(), Failure> {
    match first {
        Some(module) if module.kind == "Transformer" && module.path.is_empty() => Ok(()),
        Some(module) if module.kind == "Transformer" => Err(failures::unsupported(format!(
            "`modules.json` has the encoder in a folder of its own, `{}`",
            module.path
        ))
        .hint("load that folder as a model; or save the model with a newer sentence-transformers")),
        Some(module) => Err(unknown(module, "in the place of the encoder")),
        None => Err(failures::unsupported("`modules.json` names no module")),
    }
}

fn check_kind(config: &Value) -> Result<(), Failure> {
    match config["model_type"].as_str() {
        None | Some("SentenceTransformer") => Ok(()),
        Some(other) => Err(failures::unsupported(format!(
            "it is a `{other}`, and no model whose texts have one vector each"
        ))
        .hint("choose a model of the kind `SentenceTransformer`")),
    }
}

/// How texts are prepared. Fails where something else than the states of a text's tokens is pooled.
fn preparation(folder: &Path) -> Result<Value, Failure> {
    let paths = PREPARATION_FILES.iter().map(|name| folder.join(name));
    let Some(path) = paths.into_iter().find(|path| path.is_file()) else {
        return Ok(Value::Null);
    };
    let found = optional_json(&path)?;
    let differs = [
        ("transformer_task", "feature-extraction"),
        ("module_output_name", "token_embeddings"),
    ]
    .into_iter()
    .find_map(|(key, usual)| {
        let value = found[key].as_str().filter(|value| *value != usual)?;
        Some(format!("the `{key}` `{value}`"))
    });
    let differs = differs.or_else(|| {
        let talks = found["modality_config"].get("message").is_some();
        talks.then(|| "texts as messages of a chat template".to_owned())
    });
    let differs = differs.or_else(|| {
        let told = found["processing_kwargs"].as_object()?;
        let told = told.iter().find(|(_, value)| **value != json!({}))?;
        Some(format!("the `processing_kwargs` `{}`", told.0))
    });
    match differs {
        None => Ok(found),
        Some(what) => Err(failures::unsupported(format!(
            "`{}` asks for {what}, which is not known",
            path.display()
        ))
        .hint("use `run`, which gives the states of all tokens")),
    }
}
