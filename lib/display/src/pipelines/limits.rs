//! How much of a pipeline's results a notebook holds: the first of a batch, and the first rows and characters of
//! each. What is left out is counted.

use crate::html;

/// Results of a batch that are shown.
pub const RESULTS: usize = 100;

/// What is shown of one result.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rows of its table.
    pub rows: usize,
    /// Masks of its text, each with a table of its own.
    pub masks: usize,
    /// Characters of its text.
    pub characters: usize,
}

impl Limits {
    /// Of each where there are so many.
    pub fn of(results: usize) -> Self {
        if results < 2 {
            return Self {
                rows: 500,
                masks: 50,
                characters: 10_000,
            };
        }
        Self {
            rows: 50,
            masks: 10,
            characters: 1000,
        }
    }
}

/// The first of a list, and how many are left.
pub fn first<T>(all: &[T], most: usize) -> (&[T], usize) {
    let shown = &all[..all.len().min(most)];
    (shown, all.len() - shown.len())
}

/// A line for each of the first, and one for those that are left.
pub fn lines<T>(all: &[T], most: usize, line: impl Fn(&T) -> String) -> String {
    let (shown, left) = first(all, most);
    let lines = shown.iter().map(line);
    let more = (left > 0).then(|| more(left));
    lines.chain(more).collect::<Vec<_>>().join("\n")
}

/// A table with a row for each of the first, and a line for those that are left.
pub fn table<T>(
    (caption, header): (&str, &[&str]),
    (all, most): (&[T], usize),
    row: impl Fn(&T) -> Vec<String>,
) -> String {
    let (shown, left) = first(all, most);
    let rows: Vec<Vec<String>> = shown.iter().map(row).collect();
    html::table(caption, header, &rows) + &more_html(left)
}

/// What is said of those that are left.
pub fn more(left: usize) -> String {
    format!("… and {left} more")
}

/// The same as a paragraph; nothing where none is left.
pub fn more_html(left: usize) -> String {
    if left == 0 {
        return String::new();
    }
    format!("<p>{}</p>", more(left))
}
