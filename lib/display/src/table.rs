//! A table of text, for what is a list of short facts.

use std::fmt::Write;

use wire::mime::Bundle;

use crate::{RichDisplay, html, rendered};

/// A table. All of it is text, and escaped where it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// What stands above it; may be empty.
    pub caption: String,
    /// The columns' names.
    pub header: Vec<&'static str>,
    /// The rows, each as long as the header.
    pub rows: Vec<Vec<String>>,
}

impl RichDisplay for Table {
    fn bundle(&self) -> Bundle {
        let escaped: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| row.iter().map(|cell| html::breakable(cell)).collect())
            .collect();
        rendered(
            self.text(),
            html::table(&self.caption, &self.header, &escaped),
        )
    }
}

impl Table {
    /// As its bundle, where all of it is the program's own words: what stands in backticks is code.
    pub fn of_prose(&self) -> Bundle {
        rendered(
            self.text(),
            html::table_of_prose(&self.caption, &self.header, &self.rows),
        )
    }

    fn text(&self) -> String {
        let header: Vec<String> = self.header.iter().map(|&name| name.to_owned()).collect();
        let lines: Vec<Vec<String>> = std::iter::once(&header)
            .chain(&self.rows)
            .cloned()
            .collect();
        let text = format!("{}\n{}", self.caption, columns(&lines));
        text.trim_start_matches('\n').to_owned()
    }
}

/// Columns padded to their widest cell. A cell of several lines is cut into one by marks, or the
/// columns would be lost.
pub(crate) fn columns(lines: &[Vec<String>]) -> String {
    let lines: Vec<Vec<String>> = lines
        .iter()
        .map(|row| row.iter().map(|cell| cell.replace('\n', "↵")).collect())
        .collect();
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let padded = lines.iter().map(|row| {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let _ = write!(line, "  {cell:0$}", width(column));
        }
        line.trim_end().to_owned()
    });
    padded.collect::<Vec<_>>().join("\n")
}
