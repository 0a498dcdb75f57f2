//! Hidden states and embeddings: their shapes and lengths, and how alike those of several texts are.

use wire::array::Array;

use crate::{html, pipelines::text_cell, units};

/// Texts whose likeness is shown.
const MOST_ALIKE: usize = 24;

/// The mean of the rows, and its length.
fn mean(array: &Array) -> (Vec<f32>, f32) {
    let width = array.shape().last().copied().unwrap_or(1).max(1);
    let mut mean = vec![0.0; width];
    let rows = array.values().chunks(width);
    let count = rows.len().max(1) as f32;
    for row in rows {
        for (sum, value) in mean.iter_mut().zip(row) {
            *sum += value / count;
        }
    }
    let norm = mean.iter().map(|value| value * value).sum::<f32>().sqrt();
    (mean, norm)
}

fn shape(array: &Array) -> String {
    match array.shape() {
        [tokens, width] => format!("{} × {width}", units::plural(*tokens, "token")),
        [width] => units::plural(*width, "value"),
        other => format!("{other:?}"),
    }
}

pub fn text(array: &Array) -> String {
    format!("{}, {} {:.4}", shape(array), norm_of(array), mean(array).1)
}

/// What the number beside a shape is: one vector is its own mean.
fn norm_of(array: &Array) -> &'static str {
    if array.shape().len() == 1 {
        "norm"
    } else {
        "mean's norm"
    }
}

/// The cosine of two vectors with their lengths.
fn likeness(a: &(Vec<f32>, f32), b: &(Vec<f32>, f32)) -> f32 {
    let product: f32 = a.0.iter().zip(&b.0).map(|(a, b)| a * b).sum();
    let lengths = a.1 * b.1;
    if lengths > 0.0 {
        product / lengths
    } else {
        0.0
    }
}

pub fn html(inputs: &[String], found: &[Array]) -> String {
    let means: Vec<(Vec<f32>, f32)> = found.iter().map(mean).collect();
    let rows: Vec<Vec<String>> = found
        .iter()
        .enumerate()
        .map(|(index, array)| {
            let text = inputs.get(index).map_or("", String::as_str);
            vec![
                (index + 1).to_string(),
                text_cell(text),
                shape(array),
                format!("{:.4}", means[index].1),
            ]
        })
        .collect();
    let single = found.first().is_some_and(|array| array.shape().len() == 1);
    let (kind, caption) = if single {
        ("vector", "Cosine")
    } else {
        ("hidden states", "Cosine of the means")
    };
    let norm = found.first().map_or("norm", norm_of);
    let mut html = html::table("", &["#", "text", kind, norm], &rows);
    if means.len() < 2 {
        return html;
    }
    let shown = &means[..means.len().min(MOST_ALIKE)];
    let numbers: Vec<String> = (1..=shown.len()).map(|number| number.to_string()).collect();
    let header: Vec<&str> = std::iter::once("")
        .chain(numbers.iter().map(String::as_str))
        .collect();
    let rows: Vec<Vec<String>> = shown
        .iter()
        .zip(&numbers)
        .map(|(row, number)| {
            let cells = shown.iter().map(|column| {
                let cosine = likeness(row, column);
                let depth = cosine.clamp(0.0, 1.0) * 0.6;
                format!(
                    "<span style=\"background: rgba(66, 133, 244, {depth:.2}); padding: 2px 4px;\">{cosine:.2}</span>"
                )
            });
            std::iter::once(format!("<b>{number}</b>")).chain(cells).collect()
        })
        .collect();
    html.push_str(&html::table(caption, &header, &rows));
    html
}
