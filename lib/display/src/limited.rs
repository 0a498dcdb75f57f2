//! The text of a value, of which a page shows so much: its beginning and its end. A browser stands still
//! over a line of megabytes, which a `collect()` at the end of a cell soon is, and nobody reads screens of
//! numbers.

use std::fmt::{self, Debug, Write};

use crate::units;

/// Bytes of the beginning that are kept.
const HEAD: usize = 64 << 10;
/// Bytes of the end.
const TAIL: usize = 4 << 10;

/// Most numbers that are shown where there is nothing else, as in `NumPy`.
const MOST_NUMBERS: usize = 1000;
/// Of more, so many of the beginning and of the end.
const ENDS: usize = 200;

/// The `Debug` form; of a long one the beginning, the end, and a line between them that says how long it is.
///
/// # Panics
/// The value's `Debug` returns an error of its own, as in `format!`.
pub fn debug_text(value: &dyn Debug) -> String {
    let mut limited = Limited::default();
    // It takes all that is written: only the value's own `Debug` can fail, as `format!` says by a panic.
    let written = write!(limited, "{value:?}");
    written.expect("a `Debug` returned an error unexpectedly");
    limited.into_numbers().unwrap_or_else(Limited::into_text)
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
    numbers: Numbers,
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
        self.numbers.take(text);
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

    /// The text of a list of so many numbers that only its ends are shown.
    fn into_numbers(self) -> Result<String, Self> {
        let count = self.numbers.count;
        let Some(first) = self.numbers.first_end.filter(|_| count > MOST_NUMBERS) else {
            return Err(self);
        };
        let end = if self.tail.is_empty() {
            &self.head
        } else {
            &self.tail
        };
        let kept = end.rmatch_indices(',').nth(ENDS - 1);
        // Where fewer are left of the end, the first of them may be half a number.
        let kept = kept.or_else(|| end.match_indices(',').next());
        let last = kept.map_or(0, |(at, _)| at + 1);
        Ok(format!(
            "{}\n… {count} numbers in all; `println!` prints all of it …\n{}",
            &self.head[..first],
            end[last..].trim_start()
        ))
    }

    fn into_text(self) -> String {
        let Self {
            head, tail, bytes, ..
        } = self;
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

/// What is known of the numbers in a text that is a list of them, or a list of such lists.
#[derive(Default)]
struct Numbers {
    count: usize,
    /// Whether something else was there.
    is_mixed: bool,
    is_within: bool,
    bytes: usize,
    /// The byte behind the last number of the beginning, and the comma that follows it.
    first_end: Option<usize>,
}

impl Numbers {
    fn take(&mut self, text: &str) {
        if self.is_mixed {
            return;
        }
        for byte in text.bytes() {
            self.bytes += 1;
            match byte {
                b'[' if !self.is_within => {}
                b']' | b' ' => self.is_within = false,
                b',' => {
                    self.is_within = false;
                    if self.count == ENDS {
                        self.first_end.get_or_insert(self.bytes);
                    }
                }
                b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'N' | b'a' | b'i' | b'n' | b'f' => {
                    self.count += usize::from(!self.is_within);
                    self.is_within = true;
                }
                _ => {
                    *self = Self {
                        is_mixed: true,
                        ..Self::default()
                    };
                    return;
                }
            }
        }
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
        let text = debug_text(&(0..3_000_000).map(Some).collect::<Vec<_>>());
        assert!(text.len() < HEAD + TAIL + 100, "{}", text.len());
        assert!(text.starts_with("[Some(0), Some(1), ") && text.ends_with(", Some(2999999)]"));
        assert!(text.contains("\n… 43.9 MB in all; `println!` prints all of it …\n"));
        // In one piece, and at no border of letters.
        let text = debug_text(&"한".repeat(1_000_000));
        assert!(text.starts_with("\"한") && text.ends_with("한\""));
        assert!(text.len() < HEAD + TAIL + 100 && !text.contains('\u{fffd}'));
    }

    /// The logits of one token filled six screens.
    #[test]
    fn of_many_numbers_a_few_of_both_ends_are_shown() {
        let text = debug_text(&(0..3_000_000).collect::<Vec<i32>>());
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("[0, 1, 2, ") && lines[0].ends_with(", 198, 199,"));
        assert_eq!(
            lines[1],
            "… 3000000 numbers in all; `println!` prints all of it …"
        );
        assert!(lines[2].starts_with("2999800, ") && lines[2].ends_with(", 2999999]"));
        let rows = vec![[-1.5e-7_f32, f32::NAN, f32::NEG_INFINITY]; 400];
        let text = debug_text(&rows);
        assert!(text.contains("\n… 1200 numbers in all;"), "{text}");
        assert!(text.starts_with("[[-1.5e-7, NaN, -inf], ") && text.len() < 6000);
        let thousand = vec![0.25; MOST_NUMBERS];
        assert_eq!(debug_text(&thousand), format!("{thousand:?}"));
        let long = debug_text(&vec![-1.234_567_890_123_456e-100; 20_000]);
        assert!(
            long.lines().all(|line| line
                .trim_matches(['[', ']', ' ', ','])
                .split(", ")
                .all(|number| number == "-1.234567890123456e-100" || number.contains(" numbers "))),
            "{long}"
        );
        let words = vec!["1"; 2000];
        assert_eq!(debug_text(&words), format!("{words:?}"));
    }

    #[test]
    fn a_value_that_fits_is_whole() {
        let value = "é".repeat((HEAD + TAIL - 2) / 2);
        assert_eq!(debug_text(&value), format!("{value:?}"));
        assert_eq!(debug_text(&[1, 2]), "[1, 2]");
        assert_eq!(plain_text("한\n"), "한\n");
    }
}
