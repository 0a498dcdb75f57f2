//! Hidden states and embeddings: their shapes and lengths, and how alike those of several texts are.

use wire::array::Array;

use crate::{html, pipelines::text_cell, table::columns, units};

/// Texts whose likeness is shown: as many as have room beside each other on a narrow page, and on 80 columns
/// of a console.
const MOST_ALIKE: usize = 12;

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

/// What stands above the cosines of the first of `count` texts.
fn caption(found: &[Array], shown: usize, count: usize) -> String {
    let what = match found.first() {
        Some(array) if array.shape().len() == 1 => "Cosine",
        _ => "Cosine of the means",
    };
    if shown == count {
        return what.to_owned();
    }
    format!("{what}, of the first {shown} of {count} texts")
}

/// The cosines of the first texts, each with each; `None` of less than two.
fn cosines(found: &[Array]) -> Option<Vec<Vec<f32>>> {
    let shown = &found[..found.len().min(MOST_ALIKE)];
    let means: Vec<(Vec<f32>, f32)> = shown.iter().map(mean).collect();
    let row = |one| means.iter().map(|other| likeness(one, other)).collect();
    (means.len() > 1).then(|| means.iter().map(row).collect())
}

/// As text: a line a text, `count` of which there are.
pub fn cosines_text(found: &[Array], count: usize) -> Option<String> {
    let cosines = cosines(found)?;
    let numbers = (0..cosines.len()).map(|number| number.to_string());
    let header: Vec<String> = std::iter::once(String::new()).chain(numbers).collect();
    let rows = cosines.iter().enumerate().map(|(number, row)| {
        let cells = row.iter().map(|cosine| format!("{cosine:.2}"));
        std::iter::once(number.to_string()).chain(cells).collect()
    });
    let lines: Vec<Vec<String>> = std::iter::once(header).chain(rows).collect();
    let caption = caption(found, cosines.len(), count);
    Some(format!("{caption}\n{}", columns(&lines)))
}

/// As HTML: a row a text, `count` of which there are, and the cosines.
pub fn html(inputs: &[String], found: &[Array], count: usize) -> String {
    let rows: Vec<Vec<String>> = found
        .iter()
        .enumerate()
        .map(|(index, array)| {
            let text = inputs.get(index).map_or("", String::as_str);
            vec![
                index.to_string(),
                text_cell(text),
                html::figures(&shape(array)),
                format!("{:.4}", mean(array).1),
            ]
        })
        .collect();
    let kind = match found.first() {
        Some(array) if array.shape().len() == 1 => "vector",
        _ => "hidden states",
    };
    let norm = found.first().map_or("norm", norm_of);
    let table = html::table("", &["#", "text", kind, norm], &rows);
    match cosines(found) {
        Some(cosines) => table + &matrix(&caption(found, cosines.len(), count), &cosines),
        None => table,
    }
}

fn matrix(caption: &str, cosines: &[Vec<f32>]) -> String {
    let numbers: Vec<String> = (0..cosines.len())
        .map(|number| number.to_string())
        .collect();
    let header: Vec<&str> = std::iter::once("")
        .chain(numbers.iter().map(String::as_str))
        .collect();
    let cell = |cosine: &f32| {
        let depth = cosine.clamp(0.0, 1.0) * 0.6;
        format!(
            "<span style=\"background: rgba(66, 133, 244, {depth:.2}); padding: 1px 3px;\">{cosine:.2}</span>"
        )
    };
    let rows: Vec<Vec<String>> = cosines
        .iter()
        .zip(&numbers)
        .map(|(row, number)| {
            let cells = row.iter().map(cell);
            std::iter::once(format!("<b>{number}</b>"))
                .chain(cells)
                .collect()
        })
        .collect();
    html::matrix(caption, &header, &rows)
}
