//! What an output widget shows: a list of outputs as notebooks store them.

use jupyter::CellError;
use serde_json::{Value, json};
use wire::mime::Bundle;

use crate::evaluate::Stream;

/// The outputs of one widget.
#[derive(Default)]
pub struct Outputs {
    shown: Vec<Value>,
    /// The name by which each can be updated.
    names: Vec<Option<String>>,
    /// The next output takes the place of all.
    clears: bool,
}

impl Outputs {
    /// The list, as the attribute `outputs` has it.
    pub fn value(&self) -> Value {
        Value::Array(self.shown.clone())
    }

    /// Plain text, which goes on where text of the same kind ended.
    pub fn stream(&mut self, stream: Stream, text: &str) {
        self.make_room();
        let name = match stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        if let Some(last) = self.shown.last_mut()
            && last["output_type"] == "stream"
            && last["name"] == name
            && let Some(Value::String(before)) = last.get_mut("text")
        {
            before.push_str(text);
            return;
        }
        self.shown
            .push(json!({ "output_type": "stream", "name": name, "text": text }));
        self.names.push(None);
    }

    /// A rich value.
    pub fn display(&mut self, bundle: Bundle, name: Option<&str>) {
        self.make_room();
        self.shown.push(display_data(bundle));
        self.names.push(name.map(str::to_owned));
    }

    /// How what printed here failed.
    pub fn error(&mut self, error: &CellError) {
        self.make_room();
        self.shown.push(json!({
            "output_type": "error", "ename": error.ename, "evalue": error.evalue,
            "traceback": error.traceback,
        }));
        self.names.push(None);
    }

    /// Replaces what was shown under a name; `false` when nothing was.
    pub fn update(&mut self, bundle: &Bundle, name: &str) -> bool {
        let mut found = false;
        for (output, known) in self.shown.iter_mut().zip(&self.names) {
            if known.as_deref() == Some(name) {
                *output = display_data(bundle.clone());
                found = true;
            }
        }
        found
    }

    /// Shows nothing any more, now or when the next output comes.
    pub fn clear(&mut self, wait: bool) {
        self.clears = wait;
        if !wait {
            self.shown.clear();
            self.names.clear();
        }
    }

    fn make_room(&mut self) {
        if self.clears {
            self.clear(false);
        }
    }
}

fn display_data(Bundle { data, metadata }: Bundle) -> Value {
    let parts = [
        ("output_type", "display_data".into()),
        ("data", data.into()),
        ("metadata", metadata.into()),
    ];
    parts
        .into_iter()
        .map(|(name, part): (&str, Value)| (name.to_owned(), part))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_joined_and_displays_are_replaced() {
        let mut outputs = Outputs::default();
        outputs.stream(Stream::Stdout, "a");
        outputs.stream(Stream::Stdout, "b");
        outputs.display(Bundle::text("old"), Some("x"));
        outputs.stream(Stream::Stderr, "c");
        assert!(outputs.update(&Bundle::text("new"), "x"));
        assert!(!outputs.update(&Bundle::text("new"), "y"));
        let value = outputs.value();
        assert_eq!(value[0]["text"], "ab");
        assert_eq!(value[1]["data"]["text/plain"], "new");
        assert_eq!(value[2]["name"], "stderr");
        outputs.clear(true);
        assert_eq!(outputs.value().as_array().map(Vec::len), Some(3));
        outputs.stream(Stream::Stdout, "d");
        assert_eq!(outputs.value().as_array().map(Vec::len), Some(1));
    }
}
