//! Pipelines that write one text about another: their call, their default models, and the arguments that no other
//! task has.

use wire::{
    FailureKind,
    model::ModelSource,
    pipeline::PipelineCall,
    text2text::{DEFAULT_PAIRS, Text2TextTask},
};

use super::{Pipeline, PipelineBuilder, PipelineInput, arguments::Arguments, default_source};
use crate::{Error, Result, seed};

/// Names of the arguments beside those of all tasks that write.
pub(super) const ARGUMENTS: &[&str] = &["src_lang", "tgt_lang", "decoder_start_token_id"];

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
    options.generation = seed::fill(options.generation);
    options
        .generation_config
        .clone_from(&arguments.generation_config);
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

/// Of `translation`.
impl Pipeline {
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
