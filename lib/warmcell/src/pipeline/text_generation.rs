//! `text-generation`: continues a text, or answers a conversation.

use std::fmt;

use ::display::{RichDisplay, html};
use serde::Serialize;
use wire::{generate::GenerationConfig, mime::Bundle, text::ChatMessage};

use super::PipelineInput;
use crate::{IntoPrompt, Messages, Model, Result};

/// transformers 4.57.6: `TextGenerationPipeline._default_generation_config`.
const MAX_NEW_TOKENS: u32 = 256;
const TEMPERATURE: f64 = 0.7;

/// What such pipelines take for arguments that are not given.
pub(super) fn defaults() -> GenerationConfig {
    GenerationConfig {
        max_new_tokens: Some(MAX_NEW_TOKENS),
        do_sample: Some(true),
        temperature: Some(TEMPERATURE),
        ..GenerationConfig::default()
    }
}

/// Continues one text, or answers one conversation.
pub(super) fn run(
    model: &Model,
    config: &GenerationConfig,
    (input, full): (&PipelineInput, bool),
) -> Result<TextGeneration> {
    let prompt = match input {
        PipelineInput::Chat(messages) => messages.into_prompts(),
        PipelineInput::Text(text) => text.as_str().into_prompts(),
        other => return Err(other.does_not_fit("text-generation", "a text or a conversation")),
    };
    let generation = model
        .generate(prompt)
        .generation_config(config.clone())
        .run()?;
    let generated = generation.text();
    let text = match input {
        PipelineInput::Text(prompt) if full => format!("{prompt}{generated}"),
        _ => generated.to_owned(),
    };
    let messages = match input {
        PipelineInput::Chat(messages) => {
            let before = if full { messages.to_vec() } else { Vec::new() };
            let answer = ChatMessage::new("assistant", generated);
            Some(Messages::from([before, vec![answer]].concat()))
        }
        _ => None,
    };
    Ok(TextGeneration {
        generated_text: text,
        messages,
    })
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
