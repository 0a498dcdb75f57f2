//! What an output widget shows: a list of outputs as notebooks store them. It is sent whole with every
//! change, so that it has a limit: of what is longer the end is shown, and a line says what was cut.

use std::collections::VecDeque;

use display::units::bytes;
use jupyter::CellError;
use serde_json::{Value, json};
use wire::mime::Bundle;

use crate::evaluate::Stream;

/// So many bytes are kept at least, and at most twice as many: it is not cut with every line.
const LIMIT: usize = 256 << 10;

/// The outputs of one widget.
#[derive(Default)]
pub struct Outputs {
    shown: VecDeque<Output>,
    /// Bytes of what is shown.
    size: usize,
    /// Bytes of what was cut.
    cut: usize,
    /// The next output takes the place of all.
    clears: bool,
}

struct Output {
    value: Value,
    /// The name by which it can be updated.
    name: Option<String>,
    size: usize,
}

impl Outputs {
    /// The list, as the attribute `outputs` has it.
    pub fn value(&self) -> Value {
        let text = || format!("… {} were cut here\n", bytes(self.cut as u64));
        let cut = (self.cut > 0).then(|| stream_of(Stream::Stderr, &text()));
        let shown = self.shown.iter().map(|output| output.value.clone());
        Value::Array(cut.into_iter().chain(shown).collect())
    }

    /// Bytes of what is shown, about.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Plain text, which goes on where text of the same kind ended.
    pub fn stream(&mut self, stream: Stream, text: &str) {
        self.make_room();
        let new = stream_of(stream, text);
        match self.shown.back_mut() {
            Some(last) if last.value["name"] == new["name"] => {
                if let Some(Value::String(before)) = last.value.get_mut("text") {
                    before.push_str(text);
                    last.size += text.len();
                    self.size += text.len();
                }
            }
            _ => self.add(new, None, text.len()),
        }
        self.keep_to_limit();
    }

    /// A rich value.
    pub fn display(&mut self, bundle: Bundle, name: Option<&str>) {
        self.make_room();
        let value = display_data(bundle);
        let size = value.to_string().len();
        self.add(value, name.map(str::to_owned), size);
        self.keep_to_limit();
    }

    /// How what printed here failed.
    pub fn error(&mut self, error: &CellError) {
        self.make_room();
        let value = json!({
            "output_type": "error", "ename": error.ename, "evalue": error.evalue,
            "traceback": error.traceback,
        });
        let size = value.to_string().len();
        self.add(value, None, size);
    }

    /// Replaces what was shown under a name; `false` when nothing was.
    pub fn update(&mut self, bundle: &Bundle, name: &str) -> bool {
        let mut found = false;
        for output in &mut self.shown {
            if output.name.as_deref() == Some(name) {
                output.value = display_data(bundle.clone());
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
            (self.size, self.cut) = (0, 0);
        }
    }

    fn add(&mut self, value: Value, name: Option<String>, size: usize) {
        self.size += size;
        self.shown.push_back(Output { value, name, size });
    }

    fn make_room(&mut self) {
        if self.clears {
            self.clear(false);
        }
    }

    /// Cuts what came first; the last output stays, but for a text's beginning.
    fn keep_to_limit(&mut self) {
        if self.size <= 2 * LIMIT {
            return;
        }
        while self.size > LIMIT {
            let excess = self.size - LIMIT;
            let is_last = self.shown.len() == 1;
            let Some(first) = self.shown.front_mut() else {
                return;
            };
            let cut = match first.value.get_mut("text") {
                Some(Value::String(text)) if excess < text.len() => cut_lines(text, excess),
                _ if is_last => return,
                _ => first.size,
            };
            first.size -= cut;
            if first.size == 0 {
                self.shown.pop_front();
            }
            self.size -= cut;
            self.cut += cut;
        }
    }
}

/// Takes whole lines from the head of a text, so many bytes or some more; where there is no line's end, so
/// many. Gives how many those were.
fn cut_lines(text: &mut String, bytes: usize) -> usize {
    let at = text.ceil_char_boundary(bytes);
    let line = text[at..].find('\n').map(|end| at + end + 1);
    let at = line.filter(|line| *line < text.len()).unwrap_or(at);
    text.drain(..at);
    at
}

fn stream_of(stream: Stream, text: &str) -> Value {
    let name = match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    };
    json!({ "output_type": "stream", "name": name, "text": text })
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

    /// Ten megabytes were sent whole, fifteen times a second.
    #[test]
    fn of_what_is_long_the_end_is_kept() {
        let mut outputs = Outputs::default();
        outputs.display(Bundle::text("first"), None);
        for number in 0..200_000 {
            outputs.stream(
                Stream::Stdout,
                &format!("line {number} of what is long, 값\n"),
            );
        }
        assert!(outputs.size() <= 2 * LIMIT, "{}", outputs.size());
        let value = outputs.value();
        assert_eq!(value.as_array().map(Vec::len), Some(2));
        let told = value[0]["text"].as_str().expect("a line");
        assert!(
            told.starts_with("… ") && told.ends_with(" were cut here\n"),
            "{told}"
        );
        let text = value[1]["text"].as_str().expect("a text");
        assert!(text.starts_with("line ") && text.ends_with("line 199999 of what is long, 값\n"));
        assert!(text.len() >= LIMIT / 2);
        // One that is large alone stays.
        outputs.display(Bundle::text("x".repeat(3 * LIMIT)), None);
        assert_eq!(outputs.value().as_array().map(Vec::len), Some(2));
        outputs.clear(false);
        outputs.stream(Stream::Stderr, "new");
        assert_eq!(outputs.value()[0]["text"], "new");
    }
}
