//! A rendered value: one content for each MIME type, as Jupyter's `display_data` carries it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// MIME type to content. Text types hold a JSON string, JSON types hold the value itself, binary
/// types hold base64.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bundle {
    /// Contents by MIME type, in the order they were added.
    pub data: serde_json::Map<String, Value>,
    /// Jupyter's output metadata: by MIME type (`{"image/png": {"width": 64}}`).
    #[serde(default)]
    pub metadata: serde_json::Map<String, Value>,
}

impl Bundle {
    /// A bundle with only `text/plain`.
    pub fn text(text: impl Into<String>) -> Self {
        Self::default().with("text/plain", text.into())
    }

    /// Adds a content.
    #[must_use]
    pub fn with(mut self, mime: &str, content: impl Into<Value>) -> Self {
        self.data.insert(mime.to_owned(), content.into());
        self
    }

    /// The text of a content that is text.
    pub fn get(&self, mime: &str) -> Option<&str> {
        self.data.get(mime).and_then(Value::as_str)
    }
}
