//! Pipelines that write one text about another, and their arguments: the names of transformers' `generate`
//! and of its `Text2TextGenerationPipeline`. Those that other tasks have too are in `arguments`.

use wire::{
    FailureKind,
    generate::{EarlyStopping, GenerationConfig},
    model::ModelSource,
    pipeline::PipelineCall,
    text2text::{DEFAULT_PAIRS, Text2TextTask},
};

use super::{Pipeline, PipelineBuilder, PipelineInput, arguments::Arguments, default_source};
use crate::{Error, Result, seed};

/// Names of the arguments that all three tasks have.
pub(super) const ARGUMENTS: &[&str] = &[
    "max_new_tokens",
    "max_length",
    "min_length",
    "num_beams",
    "num_return_sequences",
    "length_penalty",
    "early_stopping",
    "no_repeat_ngram_size",
    "repetition_penalty",
    "do_sample",
    "temperature",
    "top_k",
    "seed",
    "generation_config",
    "stop_sequence",
    "truncation",
    "clean_up_tokenization_spaces",
    "return_tensors",
    "src_lang",
    "tgt_lang",
    "batch_size",
];

/// The call of a task on texts.
pub(super) fn call(
    task: Text2TextTask,
    input: PipelineInput,
    (arguments, pair): (&Arguments, &Option<(String, String)>),
) -> Result<PipelineCall> {
    let inputs = match input {
        PipelineInput::Text(text) => vec![text],
        PipelineInput::Texts(texts) => texts,
        other => return Err(other.does_not_fit(task.name(), "a text, or a list of texts")),
    };
    let mut options = arguments.writing.clone();
    options.task = task;
    options.pair.clone_from(pair);
    // What single arguments say goes before the configuration.
    let generation = options.generation.or(&arguments.generation_config);
    options.generation = seed::fill(generation);
    Ok(PipelineCall::Text2Text {
        inputs,
        options: Box::new(options),
    })
}

impl PipelineBuilder {
    /// transformers' default model of a task; for translations only between some languages.
    pub(super) fn default_text2text(
        &self,
        task: Text2TextTask,
        pair: Option<&(String, String)>,
    ) -> Result<ModelSource> {
        let has_default = pair.is_some_and(|(from, to)| DEFAULT_PAIRS.contains(&(from, to)));
        if task != Text2TextTask::Translation || has_default {
            let revision = self.revision.as_deref();
            return Ok(default_source(task.default_model(), revision));
        }
        let pairs = DEFAULT_PAIRS.map(|(from, to)| format!("translation_{from}_to_{to}"));
        let message = match pair {
            Some((from, to)) => {
                format!("there is no default model that translates from {from} to {to}")
            }
            None => "the default model of `translation` depends on the languages".to_owned(),
        };
        Err(Error::new(FailureKind::InvalidArgument, message).with_hint(format!(
            "name a model: `pipeline_with(\"{}\").model(\"Helsinki-NLP/opus-mt-en-es\").load()?`; there are \
             defaults for {}",
            self.task,
            pairs.join(", ")
        )))
    }
}

/// One setter for each option of `generate`, named as transformers names it.
macro_rules! options {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)*) => {
        $($(#[$doc])*
        #[must_use]
        pub fn $name(mut self, $name: $type) -> Self {
            self.arguments.note(stringify!($name));
            self.arguments.writing.generation.$name = Some($name.into());
            self
        })*
    };
}

/// Of `summarization`, `translation` and `text2text-generation`.
impl Pipeline {
    options! {
        /// Most tokens of the result; `max_new_tokens`, which is 256 where a model states no length, goes
        /// before it. Of `summarization`, `translation` and `text2text-generation`.
        max_length: u32;
        /// Fewest tokens of the result. Of the same.
        min_length: u32;
        /// Sequences that are followed at once; 4 when not set. Of the same.
        num_beams: u32;
        /// Results for each text, the best first. Of the same.
        num_return_sequences: u32;
        /// Exponent of the length by which beam search divides a result's score: above 0 longer ones win.
        /// Of the same.
        length_penalty: f64;
        /// No run of this many tokens comes twice. Of the same.
        no_repeat_ngram_size: u32;
        /// Makes tokens that were written less likely; 1 is off. Of the same.
        repetition_penalty: f64;
    }

    /// When a beam search ends; see [`EarlyStopping`]. Of the same.
    #[must_use]
    pub fn early_stopping(mut self, early: impl Into<EarlyStopping>) -> Self {
        self.arguments.note("early_stopping");
        self.arguments.writing.generation.early_stopping = Some(early.into());
        self
    }

    /// A configuration of your own; what other arguments say goes before it. Of the same.
    #[must_use]
    pub fn generation_config(mut self, config: GenerationConfig) -> Self {
        self.arguments.note("generation_config");
        self.arguments.generation_config = config;
        self
    }

    /// A text whose first token ends the result. Of the same.
    #[must_use]
    pub fn stop_sequence(mut self, text: impl Into<String>) -> Self {
        self.arguments.note("stop_sequence");
        self.arguments.writing.stop_sequence = Some(text.into());
        self
    }

    /// Takes the blanks before punctuation away, which stay when not set. Of the same.
    #[must_use]
    pub fn clean_up_tokenization_spaces(mut self, clean_up: bool) -> Self {
        self.arguments.note("clean_up_tokenization_spaces");
        self.arguments.writing.clean_up_tokenization_spaces = clean_up;
        self
    }

    /// Writes tokens to JSON instead of the text, as `summary_token_ids`. Of the same.
    #[must_use]
    pub fn return_tensors(mut self, tensors: bool) -> Self {
        self.arguments.note("return_tensors");
        self.arguments.return_tensors = tensors;
        self
    }

    /// The language of the input, by the code of the model's tokenizer: `"eng_Latn"`, `"en_XX"`, `"en"`. Of
    /// `translation` by models of several languages.
    #[must_use]
    pub fn src_lang(mut self, language: impl Into<String>) -> Self {
        self.arguments.note("src_lang");
        self.arguments.writing.src_lang = Some(language.into());
        self
    }

    /// The language to write in. Of the same.
    #[must_use]
    pub fn tgt_lang(mut self, language: impl Into<String>) -> Self {
        self.arguments.note("tgt_lang");
        self.arguments.writing.tgt_lang = Some(language.into());
        self
    }
}
