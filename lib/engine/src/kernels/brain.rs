//! Panels of brain floats: sixteen rows side by side, two columns of each in the place of one f32, as the
//! instructions for brain floats take them. Here is what such panels mean, and the loops where no faster ones
//! are.

use rayon::prelude::*;

use super::{
    panels::{Lanes, PANEL},
    primitives,
};

/// Bytes of two columns of a panel.
pub(super) const PAIR: usize = 4 * PANEL;

/// What processors load pairs from fastest, in bytes.
const LINE: usize = 64;

/// Puts rows of so many columns, an even number, into panels; rows that the last one lacks are zero. Gives where
/// the panels begin: on a line of memory.
pub(super) fn pack(bytes: &mut Vec<u8>, columns: usize) -> usize {
    let panel = PANEL * columns * 2;
    let rows = bytes.len();
    bytes.resize(rows.next_multiple_of(panel) + LINE, 0);
    let start = bytes.as_ptr().align_offset(LINE).min(LINE);
    bytes.copy_within(..rows, start);
    let end = start + rows.next_multiple_of(panel);
    bytes[start + rows..].fill(0);
    bytes[start..end].par_chunks_exact_mut(panel).for_each_init(
        || (vec![0.0; panel / 4], vec![0.0; panel / 4]),
        |(rows, turned), panel| {
            let (pairs, _) = panel.as_chunks_mut::<4>();
            for (row, pair) in rows.iter_mut().zip(pairs.iter()) {
                *row = f32::from_ne_bytes(*pair);
            }
            (primitives().turn)(rows, columns / 2, PANEL, turned);
            for (pair, turned) in pairs.iter_mut().zip(turned.iter()) {
                *pair = turned.to_ne_bytes();
            }
        },
    );
    start
}

/// One row of a panel to f32.
pub(super) fn unpack_row(panel: &[u8], lane: usize, out: &mut [f32]) {
    let (pairs, _) = panel.as_chunks::<PAIR>();
    let (columns, _) = out.as_chunks_mut::<2>();
    for (pair, columns) in pairs.iter().zip(columns) {
        *columns = halves(pair, lane);
    }
}

/// Products of a panel's rows with a few vectors.
pub(super) fn dots(panel: &[u8], vectors: &[&[f32]], out: &mut [Lanes]) {
    let (pairs, _) = panel.as_chunks::<PAIR>();
    for (vector, out) in vectors.iter().zip(out) {
        *out = [0.0; PANEL];
        let (columns, _) = vector.as_chunks::<2>();
        for (pair, columns) in pairs.iter().zip(columns) {
            for (lane, out) in out.iter_mut().enumerate() {
                let [low, high] = halves(pair, lane);
                *out += low * columns[0] + high * columns[1];
            }
        }
    }
}

/// Unpacks a panel to f32 `(columns, 16)`.
pub(super) fn unpack(panel: &[u8], out: &mut [f32]) {
    let (pairs, _) = panel.as_chunks::<PAIR>();
    let (columns, _) = out.as_chunks_mut::<{ 2 * PANEL }>();
    for (pair, columns) in pairs.iter().zip(columns) {
        for lane in 0..PANEL {
            [columns[lane], columns[PANEL + lane]] = halves(pair, lane);
        }
    }
}

/// Two columns of a row.
fn halves(pair: &[u8; PAIR], lane: usize) -> [f32; 2] {
    let (lanes, _) = pair.as_chunks::<4>();
    let bits = u32::from_le_bytes(lanes[lane]);
    [
        f32::from_bits(bits << 16),
        f32::from_bits(bits & 0xffff_0000),
    ]
}
