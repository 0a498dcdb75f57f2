//! The text of a value, of which a page shows so much: its beginning and its end. A browser stands still
//! over a line of megabytes, which a `collect()` at the end of a cell soon is.

use std::fmt::{self, Debug, Write};

use crate::units;

/// Bytes of the beginning that are kept.
const HEAD: usize = 64 << 10;
/// Bytes of the end.
const TAIL: usize = 4 << 10;

/// The `Debug` form; of a long one the beginning, the end, and a line between them that says how long it is.
///
/// # Panics
/// The value's `Debug` returns an error of its own, as in `format!`.
pub fn debug_text(value: &dyn Debug) -> String {
    let mut limited = Limited::default();
    // It takes all that is written: only the value's own `Debug` can fail, as `format!` says by a panic.
    let written = write!(limited, "{value:?}");
    written.expect("a `Debug` returned an error unexpectedly");
    limited.into_text()
}

/// The same of a text that shows as it reads.
pub fn plain_text(text: &str) -> String {
    let mut limited = Limited::default();
    limited.take(text);
    limited.into_text()
}

/// Takes text without end, and keeps little of it.
#[derive(Default)]
struct Limited {
    head: String,
    /// The last bytes behind the head, at most twice as many as are kept.
    tail: String,
    bytes: usize,
}

impl Write for Limited {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.take(text);
        Ok(())
    }
}

impl Limited {
    fn take(&mut self, text: &str) {
        self.bytes += text.len();
        let mut rest = text;
        if self.tail.is_empty() {
            let (first, second) = rest.split_at(rest.floor_char_boundary(HEAD - self.head.len()));
            self.head.push_str(first);
            rest = second;
        }
        if rest.len() > TAIL {
            self.tail.clear();
            rest = last(rest);
        }
        self.tail.push_str(rest);
        if self.tail.len() > 2 * TAIL {
            self.tail.drain(..self.tail.len() - last(&self.tail).len());
        }
    }

    fn into_text(self) -> String {
        let Self { head, tail, bytes } = self;
        if head.len() + tail.len() == bytes {
            return head + &tail;
        }
        format!(
            "{head}\n… {} in all; `println!` prints all of it …\n{}",
            units::bytes(bytes as u64),
            last(&tail)
        )
    }
}

/// The last bytes, from the start of a letter on.
fn last(text: &str) -> &str {
    &text[text.ceil_char_boundary(text.len().saturating_sub(TAIL))..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_keeps_its_beginning_and_its_end() {
        let text = debug_text(&(0..3_000_000).collect::<Vec<i32>>());
        assert!(text.len() < HEAD + TAIL + 100, "{}", text.len());
        assert!(text.starts_with("[0, 1, 2, ") && text.ends_with(", 2999998, 2999999]"));
        assert!(text.contains("\n… 25.9 MB in all; `println!` prints all of it …\n"));
        // In one piece, and at no border of letters.
        let text = debug_text(&"한".repeat(1_000_000));
        assert!(text.starts_with("\"한") && text.ends_with("한\""));
        assert!(text.len() < HEAD + TAIL + 100 && !text.contains('\u{fffd}'));
    }

    #[test]
    fn a_value_that_fits_is_whole() {
        let value = "é".repeat((HEAD + TAIL - 2) / 2);
        assert_eq!(debug_text(&value), format!("{value:?}"));
        assert_eq!(debug_text(&[1, 2]), "[1, 2]");
        assert_eq!(plain_text("한\n"), "한\n");
    }
}
