//! Conversations: the messages, and the text a model reads for them.

use std::{
    fmt::{self, Write},
    ops::Deref,
};

use ::display::{RichDisplay, html, markdown_block};
use serde::Serialize;
use wire::{
    mime::Bundle,
    text::{ChatMessage, RenderedChat},
};

use crate::{IntoDevice, Result, Tokens, rich::shows_as};

/// Writes a conversation: `messages![system: "Be brief.", user: "Hello!"]`. The role is a bare word,
/// or an expression in parentheses.
#[macro_export]
macro_rules! messages {
    () => { $crate::Messages::default() };
    ($($role:tt : $content:expr),+ $(,)?) => {
        $crate::Messages::from(vec![$($crate::ChatMessage::new($crate::__role!($role), $content)),+])
    };
}

/// The role of a message in [`messages!`].
#[doc(hidden)]
#[macro_export]
macro_rules! __role {
    ($role:ident) => {
        stringify!($role)
    };
    ($role:expr) => {
        $role
    };
}

/// The messages of a conversation, in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Messages(Vec<ChatMessage>);

impl Messages {
    /// Adds a message.
    pub fn push(&mut self, role: impl Into<String>, content: impl Into<String>) {
        self.0.push(ChatMessage::new(role, content));
    }
}

impl From<Vec<ChatMessage>> for Messages {
    fn from(messages: Vec<ChatMessage>) -> Self {
        Self(messages)
    }
}

impl Deref for Messages {
    type Target = [ChatMessage];

    fn deref(&self) -> &[ChatMessage] {
        &self.0
    }
}

impl fmt::Display for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, message) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{}: {}", message.role, content(message))?;
        }
        Ok(())
    }
}

impl RichDisplay for Messages {
    fn bundle(&self) -> Bundle {
        let mut rows = String::new();
        for message in &self.0 {
            let (role, content) = (html::escape(&message.role), content(message));
            // What a model wrote, as where it is shown while it comes.
            let content = match message.role.as_str() {
                "assistant" | "model" => markdown_block(&content),
                _ => format!(
                    "<div style=\"white-space: pre-wrap;\">{}</div>",
                    html::escape(&content)
                ),
            };
            let _ = write!(
                rows,
                "<tr><th scope=\"row\" style=\"text-align: left; vertical-align: top;\">{role}</th>\
                 <td dir=\"auto\" style=\"text-align: left;\">{content}</td></tr>"
            );
        }
        Bundle::text(self.to_string())
            .with("text/html", format!("<table><tbody>{rows}</tbody></table>"))
    }
}

fn content(message: &ChatMessage) -> String {
    match (message.text(), &message.content) {
        (Some(text), _) => text.to_owned(),
        (None, Some(content)) => content.to_string(),
        (None, None) => String::new(),
    }
}

/// A conversation as the model reads it. `Display` is the exact text; shows as a preview.
#[derive(Clone, Debug, PartialEq)]
pub struct Chat {
    rendered: RenderedChat,
}

shows_as!(Chat, rendered);

impl Chat {
    pub(crate) fn new(rendered: RenderedChat) -> Self {
        Self { rendered }
    }

    /// The exact text.
    pub fn text(&self) -> &str {
        &self.rendered.text
    }

    /// The text's tokens. The template has written the special tokens, none are added.
    pub fn tokens(&self) -> Tokens {
        Tokens::new(self.rendered.encoding.clone())
    }

    pub(crate) fn into_rendered(self) -> RenderedChat {
        self.rendered
    }

    /// The ids that a model is given: those of [`Self::tokens`] after truncation and padding. With
    /// [`Self::attention_mask`] it is what `return_dict=True` gives.
    pub fn input_ids(&self) -> &[u32] {
        &self.rendered.inputs.input_ids
    }

    /// 1 for each of [`Self::input_ids`] that is to be read, 0 for padding.
    pub fn attention_mask(&self) -> &[u32] {
        &self.rendered.inputs.attention_mask
    }

    /// 1 for each of [`Self::input_ids`] that the assistant wrote; with `return_assistant_tokens_mask`.
    pub fn assistant_masks(&self) -> Option<&[u32]> {
        self.rendered.assistant_mask.as_deref()
    }

    /// The same inputs. Ids are a few kilobytes that go to the model's device with each request, so
    /// nothing moves here; a cell of the course reads as it does in Python.
    ///
    /// # Errors
    /// There is no device of this name.
    pub fn to(self, device: impl IntoDevice) -> Result<Self> {
        device.into_device()?;
        Ok(self)
    }

    /// Identity of the vocabulary of its ids.
    pub(crate) fn fingerprint(&self) -> &str {
        &self.rendered.encoding.fingerprint
    }

    /// The messages it was made from.
    pub fn messages(&self) -> Messages {
        Messages(self.rendered.messages.clone())
    }
}

impl fmt::Display for Chat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rendered.text)
    }
}
