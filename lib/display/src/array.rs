//! Arrays, and what a model computed: shape and type, and the first and last numbers of the first rows.

use wire::{array::Array, generate::Forward, mime::Bundle};

use crate::{RichDisplay, Table};

/// Rows that are shown.
const ROWS: usize = 6;
/// Numbers at each end of a row that are shown.
const ENDS: usize = 4;

impl RichDisplay for Array {
    fn bundle(&self) -> Bundle {
        let width = self.shape().last().copied().unwrap_or(1).max(1);
        let rows = self.values().chunks(width).enumerate().take(ROWS);
        let shown = rows.map(|(row, values)| vec![place(row, self.shape()), ends(values)]);
        let left = (self.len() / width).saturating_sub(ROWS);
        let rest = (left > 0).then(|| vec!["…".to_owned(), format!("{left} more rows")]);
        Table {
            caption: described(self),
            header: vec!["row", "values"],
            rows: shown.chain(rest).collect(),
        }
        .bundle()
    }
}

impl RichDisplay for Forward {
    fn bundle(&self) -> Bundle {
        let states = self.hidden_states.iter().enumerate();
        let states = states.map(|(layer, state)| (format!("hidden_states[{layer}]"), state));
        let rows = std::iter::once(("logits".to_owned(), &self.logits)).chain(states);
        Table {
            caption: format!(
                "{} × {} tokens",
                self.input_ids.len(),
                self.input_ids.first().map_or(0, Vec::len)
            ),
            header: vec!["output", "shape", "values"],
            rows: rows
                .map(|(name, array)| vec![name, shape(array), ends(array.values())])
                .collect(),
        }
        .bundle()
    }
}

fn described(array: &Array) -> String {
    format!("Array {} float32", shape(array))
}

fn shape(array: &Array) -> String {
    let sizes: Vec<String> = array.shape().iter().map(usize::to_string).collect();
    format!("({})", sizes.join(", "))
}

/// The index of a row: its place along all axes but the last.
fn place(row: usize, shape: &[usize]) -> String {
    let outer = &shape[..shape.len().saturating_sub(1)];
    let mut left = row;
    let mut index: Vec<String> = outer
        .iter()
        .rev()
        .map(|&size| {
            let at = left % size.max(1);
            left /= size.max(1);
            at.to_string()
        })
        .collect();
    index.reverse();
    format!("[{}]", index.join(", "))
}

fn ends(values: &[f32]) -> String {
    let texts = |values: &[f32]| -> Vec<String> {
        let number = |value: &f32| match value {
            value if value.is_finite() => format!("{value:.4}"),
            value => value.to_string(),
        };
        values.iter().map(number).collect()
    };
    if values.len() <= 2 * ENDS {
        return texts(values).join("  ");
    }
    let (first, last) = (&values[..ENDS], &values[values.len() - ENDS..]);
    format!("{}  …  {}", texts(first).join("  "), texts(last).join("  "))
}
