//! Panels: sixteen rows of a packed matrix side by side, so that a register takes one column of all of
//! them and no sum has to be gathered from its lanes. A panel has the bytes of its rows in another order:
//! of each block of 32 columns the sixteen scales (and minima), then codes four bytes a row by turns.
//!
//! What panels mean, and the loops where no faster ones are; who multiplies with them is `matrix`.

use super::portable::dot;
use crate::weights::Format;

/// Rows of a panel.
pub(crate) const PANEL: usize = 16;
/// Columns of a block, in every format that has panels.
pub(crate) const COLUMNS: usize = 32;
/// Activations that [`tile`] takes at once at most.
pub(crate) const WIDTH: usize = 16;

/// Products that are added up in a row before they go to the sum of all: the shorter, the less is rounded
/// away.
pub(crate) const DEPTH: usize = 64;

/// One value of each row of a panel.
pub(crate) type Lanes = [f32; PANEL];

/// Bytes of scales and minima of a block, where the format has panels.
pub(crate) fn heads(format: Format) -> Option<usize> {
    match format {
        Format::Q4_0 | Format::Q8_0 => Some(2),
        Format::Q4_1 => Some(4),
        _ => None,
    }
}

/// Makes a panel of sixteen rows.
pub(crate) fn pack(format: Format, rows: &[u8], panel: &mut [u8]) {
    let row_length = rows.len() / PANEL;
    for (lane, row) in rows.chunks_exact(row_length).enumerate() {
        for (from, to) in places(format, row_length, lane) {
            let (to, from) = (&mut panel[to..to + from.len()], &row[from]);
            to.copy_from_slice(from);
        }
    }
}

/// The bytes of one row of a panel.
pub(crate) fn row(format: Format, panel: &[u8], lane: usize) -> Vec<u8> {
    let mut row = vec![0; panel.len() / PANEL];
    for (to, from) in places(format, row.len(), lane) {
        let from = &panel[from..from + to.len()];
        row[to].copy_from_slice(from);
    }
    row
}

/// Where a row's bytes lie in the row, and where they begin in the panel.
fn places(
    format: Format,
    row_length: usize,
    lane: usize,
) -> impl Iterator<Item = (std::ops::Range<usize>, usize)> {
    let (block, heads) = (format.block_bytes(), heads(format).unwrap_or(0));
    (0..row_length).step_by(block).flat_map(move |start| {
        let halves = (0..heads).step_by(2).map(move |at| (at, 2));
        let codes = (heads..block).step_by(4).map(move |at| (at, 4));
        halves.chain(codes).map(move |(at, size)| {
            let from = start + at;
            (from..from + size, (start + at) * PANEL + size * lane)
        })
    })
}

/// Sums of each block of an input, which minima and offsets are multiplied with.
pub(crate) fn block_sums(input: &[f32]) -> Vec<f32> {
    input
        .chunks(COLUMNS)
        .map(|part| part.iter().sum())
        .collect()
}

/// Products of a panel's rows with a vector, whose [`block_sums`] are given.
pub(super) fn panel_dot(format: Format, panel: &[u8], input: &[f32], _sums: &[f32]) -> Lanes {
    let mut values = vec![0.0; input.len()];
    std::array::from_fn(|lane| {
        format.unpack(&row(format, panel, lane), &mut values);
        dot(&values, input)
    })
}

/// Unpacks a panel to `(columns, 16)`, value for value as [`Format::unpack`].
pub(super) fn panel_unpack(format: Format, panel: &[u8], out: &mut [f32]) {
    let mut values = vec![0.0; out.len() / PANEL];
    for lane in 0..PANEL {
        format.unpack(&row(format, panel, lane), &mut values);
        for (lanes, value) in out.chunks_exact_mut(PANEL).zip(&values) {
            lanes[lane] = *value;
        }
    }
}

/// Adds to `out[t]` the products of a panel `(depth, 16)` with the `t`-th column of `inputs`, whose rows
/// begin `stride` apart: `out[t][lane] += Σ panel[k][lane] · inputs[k · stride + t]`.
pub(super) fn tile(panel: &[f32], inputs: &[f32], stride: usize, out: &mut [Lanes]) {
    for (lanes, inputs) in panel.chunks_exact(PANEL).zip(inputs.chunks(stride)) {
        for (out, input) in out.iter_mut().zip(inputs) {
            for (out, weight) in out.iter_mut().zip(lanes) {
                *out += weight * input;
            }
        }
    }
}

/// Turns up to sixteen rows of `columns` values round: `out[column · stride + row]`.
pub(super) fn turn(rows: &[f32], columns: usize, stride: usize, out: &mut [f32]) {
    for (lane, row) in rows.chunks_exact(columns).enumerate() {
        for (lanes, value) in out.chunks_exact_mut(stride).zip(row) {
            lanes[lane] = *value;
        }
    }
}
