//! What has been set up and not been done yet: a cell whose last line lacks its `.run()?`.

use serde_json::{Map, Value};
use wire::mime::Bundle;

use crate::{RichDisplay, html, rendered};

/// Letters of a setting's value that are shown.
const MOST_LETTERS: usize = 60;

/// Something that waits for its last call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pending {
    /// What it would do: `generate from 1 prompt with some/model`.
    pub task: String,
    /// What was set, by its name.
    pub settings: Vec<(String, String)>,
    /// What has not happened: `nothing was generated yet`.
    pub missing: String,
    /// The call that does it: `.run()?`.
    pub call: &'static str,
}

impl Pending {
    /// Notes a setting, if it was set.
    #[must_use]
    pub fn with(mut self, name: &str, value: Option<impl ToString>) -> Self {
        if let Some(value) = value {
            self.settings
                .push((name.to_owned(), shortened(&value.to_string())));
        }
        self
    }

    /// Notes the fields that were set of a configuration, whose others are null.
    #[must_use]
    pub fn with_fields(self, configuration: &Value) -> Self {
        let none = Map::new();
        let fields = configuration.as_object().unwrap_or(&none).iter();
        let set = fields.filter(|(_, value)| !value.is_null());
        set.fold(self, |pending, (name, value)| {
            pending.with(name, Some(value))
        })
    }
}

impl RichDisplay for Pending {
    fn bundle(&self) -> Bundle {
        let settings = self.settings.iter();
        let settings: Vec<String> = settings
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        let parts: Vec<&str> = std::iter::once(self.task.as_str())
            .chain(settings.iter().map(String::as_str))
            .collect();
        let first = format!("Would {}", parts.join(" · "));
        let text = format!("{first}\n{}: end with `{}`", self.missing, self.call);
        let html = format!(
            "<div><p>{}</p><p><b>{}</b>: end with <code>{}</code></p></div>",
            html::escape(&first),
            html::escape(&self.missing),
            html::escape(self.call)
        );
        rendered(text, html)
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MOST_LETTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// It was some 45 fields, nearly all of them `None`.
    #[test]
    fn what_was_set_and_what_is_missing_is_told() {
        let pending = Pending {
            task: "generate from 1 prompt with <a>/b".to_owned(),
            missing: "nothing was generated yet".to_owned(),
            call: ".run()?",
            ..Default::default()
        };
        let fields =
            json!({ "max_new_tokens": 5, "top_p": null, "stop_strings": ["x".repeat(99)] });
        let bundle = pending
            .with_fields(&fields)
            .with("dtype", None::<&str>)
            .bundle();
        let strings = format!("[\"{}…", "x".repeat(58));
        assert_eq!(
            bundle.get("text/plain"),
            Some(
                format!(
                    "Would generate from 1 prompt with <a>/b · max_new_tokens: 5 · stop_strings: {strings}\n\
                     nothing was generated yet: end with `.run()?`"
                )
                .as_str()
            )
        );
        let html = bundle.get("text/html").unwrap_or_default();
        assert!(html.contains("&lt;a&gt;/b · max_new_tokens: 5"), "{html}");
        assert!(html.contains("end with <code>.run()?</code>"), "{html}");
    }
}
