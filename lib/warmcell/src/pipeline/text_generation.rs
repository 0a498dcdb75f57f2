//! `text-generation`: continues texts, and answers or continues conversations.

use std::fmt;

use ::display::{RichDisplay, generated_text};
use serde::{Serialize, Serializer, ser::SerializeMap};
use wire::{
    mime::Bundle,
    pipeline::PipelineCall,
    text_generation::{GeneratedText, GenerationInput},
};

use super::{Pipeline, PipelineInput, arguments::Arguments};
use crate::{Messages, Result, seed};

/// The call on texts or conversations.
pub(super) fn call(input: PipelineInput, arguments: &Arguments) -> Result<PipelineCall> {
    let text = GenerationInput::Text;
    let chat = |messages: Messages| GenerationInput::Chat(messages.to_vec());
    let inputs = match input {
        PipelineInput::Text(one) => vec![text(one)],
        PipelineInput::Texts(texts) => texts.into_iter().map(text).collect(),
        PipelineInput::Chat(one) => vec![chat(one)],
        PipelineInput::Chats(chats) => chats.into_iter().map(chat).collect(),
        other => {
            let takes = "a text or a conversation, or a list of them";
            return Err(other.does_not_fit("text-generation", takes));
        }
    };
    let mut options = arguments.continuing.clone();
    let writing = &arguments.writing;
    options.generation = seed::fill(writing.generation.clone());
    options.stop_sequence.clone_from(&writing.stop_sequence);
    options
        .generation_config
        .clone_from(&arguments.generation_config);
    Ok(PipelineCall::TextGeneration {
        inputs,
        options: Box::new(options),
    })
}

/// Of `text-generation`.
impl Pipeline {
    /// Whether the result holds the prompt too, which it does when not told otherwise. Of
    /// `text-generation`.
    #[must_use]
    pub fn return_full_text(mut self, full: bool) -> Self {
        self.arguments.note("return_full_text");
        self.arguments.continuing.return_full_text = full;
        self
    }

    /// Whether a conversation's last message is continued; where it is the assistant's when not set. Of
    /// `text-generation`.
    #[must_use]
    pub fn continue_final_message(mut self, continues: bool) -> Self {
        self.arguments.note("continue_final_message");
        self.arguments.continuing.continue_final_message = Some(continues);
        self
    }
}

/// What a text-generation pipeline gives. `Display` is the text.
#[derive(Clone, Debug, PartialEq)]
pub struct TextGeneration {
    /// The text, after the prompt unless `return_full_text` is off. Of a conversation, what was added to it.
    pub generated_text: String,
    /// The conversation with its answer, when it was one and `return_full_text` is not off.
    pub messages: Option<Messages>,
    /// The tokens of the prompt and those that were added.
    pub token_ids: Vec<u32>,
}

impl From<GeneratedText> for TextGeneration {
    fn from(one: GeneratedText) -> Self {
        Self {
            generated_text: one.text,
            messages: one.messages.map(Messages::from),
            token_ids: one.token_ids,
        }
    }
}

/// As transformers: `generated_text` is the text, or the messages of a conversation.
impl Serialize for TextGeneration {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match &self.messages {
            Some(messages) => map.serialize_entry("generated_text", messages)?,
            None => map.serialize_entry("generated_text", &self.generated_text)?,
        }
        map.end()
    }
}

/// The same with `return_tensors`.
pub(super) struct Tokens<'a>(pub &'a TextGeneration);

impl Serialize for Tokens<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("generated_token_ids", &self.0.token_ids)?;
        map.end()
    }
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
        generated_text(&self.generated_text)
    }
}
