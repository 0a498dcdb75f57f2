//! Tokens and chat messages.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::{
    packed,
    tokenize::{EncodedRow, Padding, Side, Truncation},
};

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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoding {
    /// The text that was encoded.
    pub text: String,
    /// Its tokens, in order.
    pub tokens: Vec<Token>,
    /// Identity of the vocabulary the ids belong to.
    pub fingerprint: String,
}

/// An encoding where a person may read it.
#[derive(Serialize, Deserialize)]
struct Readable<T, E> {
    text: E,
    tokens: T,
    fingerprint: E,
}

/// An encoding between programs: columns, of which a long text has a few large instead of many small.
#[derive(Serialize, Deserialize)]
struct Columns {
    text: String,
    fingerprint: String,
    #[serde(with = "packed")]
    ids: Vec<u32>,
    #[serde(with = "packed")]
    starts: Vec<u32>,
    #[serde(with = "packed")]
    ends: Vec<u32>,
    /// Indices of the special ones.
    #[serde(with = "packed")]
    special: Vec<u32>,
    /// All spellings in a row, and where each ends.
    pieces: String,
    #[serde(with = "packed")]
    piece_ends: Vec<u32>,
}

impl Serialize for Encoding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return Readable {
                text: &self.text,
                tokens: &self.tokens,
                fingerprint: &self.fingerprint,
            }
            .serialize(serializer);
        }
        let mut pieces = String::new();
        let mut piece_ends = Vec::with_capacity(self.tokens.len());
        for token in &self.tokens {
            pieces += &token.piece;
            piece_ends.push(pieces.len() as u32);
        }
        let tokens = || self.tokens.iter();
        let special = tokens().enumerate().filter(|(_, token)| token.special);
        Columns {
            text: self.text.clone(),
            fingerprint: self.fingerprint.clone(),
            ids: tokens().map(|token| token.id).collect(),
            starts: tokens().map(|token| token.bytes.0).collect(),
            ends: tokens().map(|token| token.bytes.1).collect(),
            special: special.map(|(index, _)| index as u32).collect(),
            pieces,
            piece_ends,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Encoding {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let readable: Readable<Vec<Token>, String> = Readable::deserialize(deserializer)?;
            return Ok(Self {
                text: readable.text,
                tokens: readable.tokens,
                fingerprint: readable.fingerprint,
            });
        }
        let columns = Columns::deserialize(deserializer)?;
        let spans = columns.starts.into_iter().zip(columns.ends);
        let mut start = 0;
        let mut tokens = Vec::with_capacity(columns.ids.len());
        for ((id, end), bytes) in columns.ids.into_iter().zip(columns.piece_ends).zip(spans) {
            let piece = columns.pieces.get(start..end as usize);
            let piece = piece.ok_or_else(|| serde::de::Error::custom("pieces are cut wrongly"))?;
            start = end as usize;
            tokens.push(Token {
                id,
                piece: piece.to_owned(),
                bytes,
                special: false,
            });
        }
        for index in columns.special {
            if let Some(token) = tokens.get_mut(index as usize) {
                token.special = true;
            }
        }
        Ok(Self {
            text: columns.text,
            tokens,
            fingerprint: columns.fingerprint,
        })
    }
}

/// One message of a conversation. What a template may read beyond role and content (`name`,
/// `tool_calls`, …) is kept in `extra`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// `system`, `user`, `assistant`, `tool`, or what the template knows.
    pub role: String,
    /// Text, or a list of parts; `None` where the message has no such field, as one that only calls
    /// tools may. A null is a value of its own: templates tell them apart.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub content: Option<Value>,
    /// Further fields, as the template names them.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ChatMessage {
    /// A message of plain text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: Some(Value::String(content.into())),
            extra: Map::new(),
        }
    }

    /// A message without content, whose further fields say it all: `tool_calls`, say.
    pub fn without_content(role: impl Into<String>, extra: Map<String, Value>) -> Self {
        Self {
            role: role.into(),
            content: None,
            extra,
        }
    }

    /// The content as one text: none where it is absent, null or a list of parts.
    pub fn text(&self) -> Option<&str> {
        self.content.as_ref().and_then(Value::as_str)
    }
}

/// A field that is there, even as a null.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
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
    /// Where the padding goes; the tokenizer decides when not given.
    pub padding_side: Option<Side>,
    /// What to pad with; the tokenizer's own when not given.
    pub pad_token: Option<String>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame;

    #[test]
    fn a_message_tells_no_content_from_a_null_one() {
        for text in [
            r#"{"role":"assistant","tool_calls":[]}"#,
            r#"{"role":"assistant","content":null,"tool_calls":[]}"#,
            r#"{"role":"assistant","content":"","tool_calls":[]}"#,
        ] {
            let message: ChatMessage = serde_json::from_str(text).expect("decodes");
            assert_eq!(serde_json::to_string(&message).expect("encodes"), text);
            let mut decoder = frame::Decoder::default();
            decoder.push(&frame::encode(&message).expect("encodes"));
            let packed: Option<ChatMessage> = decoder.next().expect("decodes");
            assert_eq!(packed, Some(message));
        }
    }

    #[test]
    fn an_encoding_is_the_same_after_either_form() {
        let token = |id, piece: &str, bytes, special| Token {
            id,
            piece: piece.to_owned(),
            bytes,
            special,
        };
        let encoding = Encoding {
            text: "한 a".to_owned(),
            tokens: vec![
                token(1, "<s>", (0, 0), true),
                token(70_000, "한", (0, 3), false),
                token(2, "", (3, 3), false),
                token(3, "Ġa", (3, 5), false),
            ],
            fingerprint: "f".to_owned(),
        };
        let mut decoder = frame::Decoder::default();
        decoder.push(&frame::encode(&encoding).expect("encodes"));
        let packed: Option<Encoding> = decoder.next().expect("decodes");
        assert_eq!(packed.as_ref(), Some(&encoding));
        let json = serde_json::to_value(&encoding).expect("encodes");
        assert_eq!(json["tokens"][1]["id"], 70_000);
        let readable: Encoding = serde_json::from_value(json).expect("decodes");
        assert_eq!(readable, encoding);
    }
}
