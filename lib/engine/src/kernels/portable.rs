//! The primitives in plain Rust: the meaning that the faster sets must have, and what runs where no
//! faster set exists. Sums are kept in eight lanes so that the compiler may use what the target has.

use super::{
    Book, Primitives, brain,
    bytes::by_pairs,
    exponential, given,
    pack::pack_block,
    panels::{self, Lanes},
    rounded::{self, RoundedBlock},
    rows::Input,
};
use crate::weights::Format;

/// The portable set.
pub const PRIMITIVES: Primitives = Primitives {
    unpack: Format::unpack,
    packed_dot,
    nibbles_unpack: Book::unpack,
    nibbles_dots,
    spreads: false,
    float_dots,
    pack_block,
    byte_products: |rows, inputs, columns, sums| by_pairs(bytes_dot, (rows, inputs), columns, sums),
    panel_dot: panels::panel_dot,
    panel_unpack: panels::panel_unpack,
    brain_dots: brain::dots,
    brain_unpack: brain::unpack,
    tile: panels::tile,
    tile_pair,
    tile_pair_brain: None,
    squares: None,
    tile_tokens: panels::WIDTH,
    turn: panels::turn,
    dots,
    dots_of_few: |vectors, rows, out| dots_of_few(dots, vectors, rows, out),
    weighted_sum,
    exponentials: exponential::exponentials,
    lane_exponentials: exponential::lane_exponentials,
    silu_gate: exponential::silu_gate,
    activate: exponential::activate,
    narrow: given::narrow,
    round: RoundedBlock::of,
    rounded: rounded::rounded,
};

pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 8];
    let (a_eights, b_eights) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a_eights
        .remainder()
        .iter()
        .zip(b_eights.remainder())
        .map(|(a, b)| a * b)
        .sum();
    for (a, b) in a_eights.zip(b_eights) {
        for lane in 0..8 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    lanes.iter().sum::<f32>() + rest
}

fn packed_dot(format: Format, row: &[u8], input: &[f32], scratch: &mut [f32]) -> f32 {
    format.unpack(row, scratch);
    dot(scratch, input)
}

fn dots(vector: &[f32], rows: &[f32], out: &mut [f32]) {
    for (row, out) in rows.chunks_exact(vector.len()).zip(out) {
        *out = dot(vector, row);
    }
}

/// Products of one vector after the other.
pub(super) fn dots_of_few(
    dots: impl Fn(&[f32], &[f32], &mut [f32]),
    vectors: &[&[f32]],
    rows: &[f32],
    out: &mut [Lanes],
) {
    for (vector, out) in vectors.iter().zip(out) {
        dots(vector, rows, &mut out[..rows.len() / vector.len()]);
    }
}

fn weighted_sum(weights: &[f32], rows: &[f32], out: &mut [f32]) {
    for (row, weight) in rows.chunks_exact(out.len()).zip(weights) {
        for (out, value) in out.iter_mut().zip(row) {
            *out += weight * value;
        }
    }
}

/// Products of rows of plain floats with a vector.
pub(super) fn float_dots(format: Format, rows: &[u8], input: &[f32], out: &mut [f32]) {
    let mut values = vec![0.0; input.len()];
    let length = input.len() * format.block_bytes();
    for (row, out) in rows.chunks_exact(length).zip(out) {
        *out = packed_dot(format, row, input, &mut values);
    }
}

fn tile_pair(panels: [&[f32]; 2], inputs: &[f32], out: [&mut [Lanes]; 2]) {
    for (panel, out) in panels.into_iter().zip(out) {
        panels::tile(panel, inputs, out.len(), out);
    }
}

fn nibbles_dots(book: &Book, packed: &[u8], scales: &[f32], input: &Input, out: &mut [f32]) {
    let columns = input.values.len();
    let rows = packed.chunks_exact(columns / 2);
    for ((row, scales), out) in rows.zip(scales.chunks_exact(columns / 64)).zip(out) {
        *out = nibbles_dot(book, row, scales, input.values);
    }
}

fn nibbles_dot(book: &Book, packed: &[u8], scales: &[f32], input: &[f32]) -> f32 {
    let blocks = packed.chunks_exact(32).zip(scales);
    let mut sum = 0.0;
    for ((packed, scale), input) in blocks.zip(input.chunks_exact(64)) {
        let mut values = [0.0; 64];
        book.unpack(packed, &[*scale], &mut values);
        sum += dot(&values, input);
    }
    sum
}

fn bytes_dot(a: &[i8], b: &[i8]) -> i32 {
    let products = a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b));
    products.sum()
}
