//! `text-generation`: continues texts, and answers or continues conversations.

use std::fmt;

use ::display::{RichDisplay, generated_text};
use serde::{Serialize, Serializer, ser::SerializeMap};
use wire::{
    FailureKind,
    mime::Bundle,
    pipeline::PipelineCall,
    text_generation::{GeneratedText, GenerationInput},
};

use super::{Pipeline, PipelineInput, arguments::Arguments};
use crate::{Error, Messages, Model, Result, seed};

/// Arguments that exclude each other: each says what a result is.
const EXCLUSIVE: [(&str, &str); 3] = [
    ("return_text", "return_full_text"),
    ("return_full_text", "return_tensors"),
    ("return_text", "return_tensors"),
];

/// Fails on arguments that exclude each other.
fn check(arguments: &Arguments) -> Result<()> {
    let both = |(one, other): &&(&str, &str)| arguments.has(one) && arguments.has(other);
    match EXCLUSIVE.iter().find(both) {
        None => Ok(()),
        Some((one, other)) => Err(Error::new(
            FailureKind::InvalidArgument,
            format!("`{one}` is mutually exclusive with `{other}`"),
        )
        .with_hint("set one of the two")),
    }
}

/// The call on texts or conversations.
pub(super) fn call(input: PipelineInput, arguments: &Arguments) -> Result<PipelineCall> {
    check(arguments)?;
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

    /// transformers' argument beside it, which changes nothing: texts are given in any case. Of
    /// `text-generation`.
    #[must_use]
    pub fn return_text(mut self, _text: bool) -> Self {
        self.arguments.note("return_text");
        self
    }

    /// What goes before every text; what the model's configuration says when not set. Of `text-generation`.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.arguments.note("prefix");
        self.arguments.continuing.prefix = Some(prefix.into());
        self
    }

    /// What is done with a text that leaves no room for the tokens to add: `"hole"` cuts its beginning off.
    /// Of `text-generation`.
    #[must_use]
    pub fn handle_long_generation(mut self, how: &str) -> Self {
        self.arguments.note("handle_long_generation");
        self.arguments.continuing.cuts_beginning = true;
        if how != "hole" {
            self.arguments.refuse(
                Error::new(
                    FailureKind::InvalidArgument,
                    format!("\"{how}\" is not a valid value for `handle_long_generation`"),
                )
                .with_hint("its one value is \"hole\""),
            );
        }
        self
    }

    /// Whether the tokenizer puts its special tokens around a text, which it does when not told otherwise. Of
    /// `text-generation`, of no effect on conversations, and of `feature-extraction`.
    #[must_use]
    pub fn add_special_tokens(mut self, add: bool) -> Self {
        self.arguments.note("add_special_tokens");
        self.arguments.continuing.add_special_tokens = add;
        self.arguments.features.add_special_tokens = add;
        self
    }

    /// Whether special tokens are left out of the result, which they are when not told otherwise. Of
    /// `text-generation`.
    #[must_use]
    pub fn skip_special_tokens(mut self, skip: bool) -> Self {
        self.arguments.note("skip_special_tokens");
        self.arguments.continuing.skip_special_tokens = skip;
        self
    }

    /// Assisted decoding: a smaller model of the same vocabulary guesses tokens, which this one checks many at
    /// once. Of `text-generation`.
    #[must_use]
    pub fn assistant_model(mut self, assistant: &Model) -> Self {
        self.arguments.note("assistant_model");
        self.arguments.assistant = Some(assistant.spec().clone());
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
