//! Tokens and chat messages.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::tokenize::{EncodedRow, Padding, Truncation};

/// One token of an encoded text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Id in the vocabulary.
    pub id: u32,
    /// The vocabulary's own spelling (`ĠLL`, `##ing`, `<0x0A>`).
    pub piece: String,
    /// Byte range in the encoded text; empty for a token that stands for none of it.
    pub bytes: (u32, u32),
    /// Whether it is a special token.
    pub special: bool,
}

/// An encoded text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encoding {
    /// The text that was encoded.
    pub text: String,
    /// Its tokens, in order.
    pub tokens: Vec<Token>,
    /// Identity of the vocabulary the ids belong to.
    pub fingerprint: String,
}

/// One message of a conversation. What a template may read beyond role and content (`name`,
/// `tool_calls`, …) is kept in `extra`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// `system`, `user`, `assistant`, `tool`, or what the template knows.
    pub role: String,
    /// Text, or a list of parts.
    pub content: Value,
    /// Further fields, as the template names them.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ChatMessage {
    /// A message of plain text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: Value::String(content.into()),
            extra: Map::new(),
        }
    }
}

/// What `apply_chat_template` takes beyond the messages, under transformers' names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TemplateOptions {
    /// End with the header of the answer, so that the model answers rather than continues.
    pub add_generation_prompt: bool,
    /// Leave the last message open, so that the model continues it.
    pub continue_final_message: bool,
    /// Which template: the name of one of the tokenizer's, or a template's text.
    pub chat_template: Option<String>,
    /// Functions that the model may call, as JSON schemas.
    pub tools: Option<Vec<Value>>,
    /// Texts that the model may quote, objects with `title` and `text`.
    pub documents: Option<Vec<Value>>,
    /// Say which tokens the assistant wrote, by the template's `{% generation %}` blocks.
    pub return_assistant_tokens_mask: bool,
    /// How the sequences of several conversations are made equally long.
    pub padding: Padding,
    /// How a sequence that is too long is cut.
    pub truncation: Truncation,
    /// Longest sequence for padding and truncation; that of the model when not given.
    pub max_length: Option<u32>,
    /// Further variables for the template.
    pub variables: Map<String, Value>,
}

/// What a message contributed to a rendered text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentSpan {
    /// Index of the message.
    pub message: u32,
    /// Byte range in the text.
    pub bytes: (u32, u32),
}

/// A conversation as the model reads it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RenderedChat {
    /// The messages it was made from.
    pub messages: Vec<ChatMessage>,
    /// The exact text.
    pub text: String,
    /// The text's tokens; the template's special tokens are single tokens.
    pub encoding: Encoding,
    /// Whether it ends with the header of the answer.
    pub add_generation_prompt: bool,
    /// Whether its last message was left open.
    pub continue_final_message: bool,
    /// Where the messages' contents are in the text; empty where the template rewrites them.
    pub contents: Vec<ContentSpan>,
    /// Bytes of the header of the answer, if there is one.
    pub header: Option<(u32, u32)>,
    /// Bytes of the text that `{% generation %}` blocks wrote; `None` when not asked for.
    pub generation: Option<Vec<(u32, u32)>>,
    /// What the model is given: the tokens after truncation and padding.
    pub inputs: EncodedRow,
    /// Which tokens of `inputs` the assistant wrote; `None` when not asked for.
    pub assistant_mask: Option<Vec<u32>>,
}
