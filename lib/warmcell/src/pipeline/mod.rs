//! `pipeline(task)`: a model and what goes before and after it, in one call. Now one task.

use std::{fmt, io::Write};

use ::display::{RichDisplay, html};
use serde::Serialize;
use wire::{
    FailureKind,
    generate::GenerationConfig,
    mime::Bundle,
    model::{EMBEDDED_FILE, EMBEDDED_REPO},
    text::ChatMessage,
};

use crate::{
    AutoModelForCausalLM, Error, IntoDevice, IntoPrompt, Messages, Model, ModelBuilder, Result,
};

/// The tasks there are.
const TASKS: [&str; 1] = ["text-generation"];
/// transformers 4.57.6: `TextGenerationPipeline._default_generation_config`.
const MAX_NEW_TOKENS: u32 = 256;
const TEMPERATURE: f64 = 0.7;

/// A pipeline for a task, with the default model.
///
/// # Errors
/// The task is unknown, or as [`ModelBuilder::load`].
pub fn pipeline(task: &str) -> Result<Pipeline> {
    pipeline_with(task).load()
}

/// A pipeline for a task, with options.
pub fn pipeline_with(task: &str) -> PipelineBuilder {
    PipelineBuilder {
        task: task.to_owned(),
        model: None,
        device: None,
    }
}

/// Which pipeline to make.
#[derive(Clone, Debug)]
#[must_use = "nothing is loaded before `load()`"]
pub struct PipelineBuilder {
    task: String,
    model: Option<ModelBuilder>,
    device: Option<String>,
}

impl PipelineBuilder {
    /// The model, by the name of its repository.
    pub fn model(mut self, name: impl Into<String>) -> Self {
        self.model = Some(AutoModelForCausalLM::from_pretrained(name));
        self
    }

    /// Where it is to live: `"auto"`, `"cpu"`, `"cuda"`, `"cuda:1"`.
    pub fn device(mut self, device: impl Into<String>) -> Self {
        self.device = Some(device.into());
        self
    }

    /// Loads the model, or finds it resident.
    ///
    /// # Errors
    /// The task is unknown, or as [`ModelBuilder::load`].
    pub fn load(self) -> Result<Pipeline> {
        check_task(&self.task)?;
        let mut model = self.model.unwrap_or_else(default_model);
        if let Some(device) = self.device {
            model = model.device_map(device.as_str().into_device()?);
        }
        let config = GenerationConfig {
            max_new_tokens: Some(MAX_NEW_TOKENS),
            do_sample: Some(true),
            temperature: Some(TEMPERATURE),
            ..GenerationConfig::default()
        };
        Ok(Pipeline {
            task: self.task,
            model: model.load()?,
            config,
            return_full_text: true,
        })
    }
}

fn default_model() -> ModelBuilder {
    let _ = writeln!(
        std::io::stderr(),
        "No model was supplied, defaulted to {EMBEDDED_REPO} ({EMBEDDED_FILE}), Warmcell's embedded model; \
         transformers' default would be openai-community/gpt2."
    );
    AutoModelForCausalLM::from_pretrained(EMBEDDED_REPO).gguf_file(EMBEDDED_FILE)
}

fn check_task(task: &str) -> Result<()> {
    if TASKS.contains(&task) {
        return Ok(());
    }
    let nearest = TASKS
        .iter()
        .min_by_key(|known| distance(task, known))
        .filter(|known| distance(task, known) <= 6);
    let hint = match nearest {
        Some(nearest) => format!(
            "did you mean \"{nearest}\"? Known tasks: {}",
            TASKS.join(", ")
        ),
        None => format!("known tasks: {}", TASKS.join(", ")),
    };
    Err(Error::new(
        FailureKind::InvalidArgument,
        format!("there is no pipeline for the task \"{task}\""),
    )
    .with_hint(hint))
}

/// Levenshtein's distance.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, character) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for column in 0..to.len() {
            let replaced = diagonal + usize::from(to[column] != character);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

/// A loaded pipeline for text generation.
#[derive(Clone, Debug)]
pub struct Pipeline {
    task: String,
    model: Model,
    config: GenerationConfig,
    return_full_text: bool,
}

impl Pipeline {
    /// Most tokens to add; 256 when not set.
    #[must_use]
    pub fn max_new_tokens(mut self, tokens: u32) -> Self {
        self.config.max_new_tokens = Some(tokens);
        self
    }

    /// Whether to draw from the distribution, which pipelines do when not told otherwise.
    #[must_use]
    pub fn do_sample(mut self, sample: bool) -> Self {
        self.config.do_sample = Some(sample);
        if !sample {
            self.config.temperature = None;
        }
        self
    }

    /// Divides the logits; 0.7 when not set.
    #[must_use]
    pub fn temperature(mut self, temperature: f64) -> Self {
        self.config.temperature = Some(temperature);
        self
    }

    /// Seed of the random draws.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.config.seed = Some(seed);
        self
    }

    /// Whether the result holds the prompt too, which it does when not told otherwise.
    #[must_use]
    pub fn return_full_text(mut self, full: bool) -> Self {
        self.return_full_text = full;
        self
    }

    /// Runs on a text or a conversation.
    ///
    /// # Errors
    /// As [`crate::Generate::run`].
    pub fn run<'a>(&self, input: impl Into<PipelineInput<'a>>) -> Result<TextGeneration> {
        let input = input.into();
        let prompt = match input {
            PipelineInput::Text(text) => text.into_prompts(),
            PipelineInput::Chat(messages) => messages.into_prompts(),
        };
        let generation = self
            .model
            .generate(prompt)
            .generation_config(self.config.clone())
            .run()?;
        let generated = generation.text();
        let text = match input {
            PipelineInput::Text(prompt) if self.return_full_text => format!("{prompt}{generated}"),
            _ => generated.to_owned(),
        };
        let messages = match input {
            PipelineInput::Text(_) => None,
            PipelineInput::Chat(messages) => {
                let before = if self.return_full_text {
                    messages.to_vec()
                } else {
                    Vec::new()
                };
                let answer = ChatMessage::new("assistant", generated);
                Some(Messages::from([before, vec![answer]].concat()))
            }
        };
        Ok(TextGeneration {
            generated_text: text,
            messages,
        })
    }

    /// The model behind it.
    pub fn model(&self) -> &Model {
        &self.model
    }
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {}", self.task, self.model)
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
        (&self.task, &self.model).serialize(serializer)
    }
}

/// What a text-generation pipeline runs on.
#[derive(Clone, Copy, Debug)]
pub enum PipelineInput<'a> {
    /// A text to continue.
    Text(&'a str),
    /// A conversation to answer.
    Chat(&'a Messages),
}

impl<'a> From<&'a str> for PipelineInput<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for PipelineInput<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a Messages> for PipelineInput<'a> {
    fn from(messages: &'a Messages) -> Self {
        Self::Chat(messages)
    }
}

/// What a text-generation pipeline gives. `Display` is the text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TextGeneration {
    /// The text, after the prompt unless `return_full_text` is off. Of a conversation, the answer.
    pub generated_text: String,
    /// The conversation with its answer, when it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<Messages>,
}

impl fmt::Display for TextGeneration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.generated_text)
    }
}

impl RichDisplay for TextGeneration {
    fn bundle(&self) -> Bundle {
        if let Some(messages) = &self.messages {
            return messages.bundle();
        }
        let text = html::escape(&self.generated_text);
        let html = format!("<div dir=\"auto\" style=\"white-space: pre-wrap;\">{text}</div>");
        Bundle::text(self.generated_text.as_str()).with("text/html", html)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_task_is_guessed() {
        let error = check_task("text-generatoin").expect_err("is unknown");
        assert!(
            error
                .hint()
                .is_some_and(|hint| hint.starts_with("did you mean \"text-generation\"?")),
            "{error}"
        );
        let error = check_task("sentiment-analysis").expect_err("is unknown");
        assert_eq!(error.hint(), Some("known tasks: text-generation"));
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
