//! Products of many tokens with weights that are brain floats, in squares, for processors that multiply such
//! squares as a whole (AMX), at several times the rate of registers of f32. Nothing is rounded for it: an f32 is
//! the sum of three brain floats, and its product with a weight the sum of theirs. Weights of other types would
//! have parts, too; six products instead of three were no faster than f32.

use wire::model::DType;

use super::{
    Finish,
    attention_squares::Softmax,
    panels::{Lanes, PANEL},
    rows::{PANELS_PER_JOB, Rows, input_dtype, pair_columns, place},
    unsafe_share::{Stripe, share_pieces, share_stripes},
};
use crate::bitsandbytes::round;

/// Columns of a square: sixteen pairs.
pub(super) const COLUMNS: usize = 2 * PANEL;
/// Values of a square, each a pair of brain floats in the place of an f32.
pub(super) const SQUARE: usize = PANEL * PANEL;
/// What a processor loads squares from fastest, in bytes.
const LINE: usize = 64;

/// Sixteen rows of sixteen pairs.
pub(super) type Square = [f32; SQUARE];

/// The squares of two tiles of tokens, or of two panels of weights.
pub(super) type Two<'a> = [&'a [Square]; 2];

/// Products of two tiles of sixteen tokens with two panels: by tile and panel, a token's with sixteen rows.
pub(super) type Products = [[[Lanes; PANEL]; 2]; 2];

/// How squares are made and multiplied.
#[derive(Clone, Copy)]
pub(crate) struct Squares {
    /// Takes up to sixteen rows of so many columns apart: for each 32 columns a square of each part, tokens by
    /// pairs of columns; what rows and columns lack is zero.
    pub take_apart: fn(&[f32], usize, &mut [Square]),
    /// Sums of products of two tiles of tokens, in as many parts as their squares make, with two panels, which
    /// have a square for each 32 columns: pairs of columns by rows.
    pub multiply: fn(Two, Two, &mut Products),
    /// The same, added to what is there.
    pub add_products: fn(Two, Two, &mut Products),
    /// Takes scores of one of two tiles of queries (its number) with the next 64 keys into their softmax, where they
    /// have been multiplied by a scale above zero. Gives what each query's sums so far are to be multiplied by,
    /// and writes the weights of the values: queries by pairs of keys.
    pub weigh: Weigh,
}

/// [`Squares::weigh`].
pub(super) type Weigh = fn(&[Products; 2], f32, (usize, &mut Softmax), &mut [Square; 2]) -> Lanes;

impl Squares {
    /// Products of a matrix whose weights are brain floats with tokens.
    pub(super) fn products(&self, matrix: &dyn Rows, inputs: &[f32], finish: Finish) -> Vec<f32> {
        let (rows, columns) = matrix.shape();
        let count = inputs.len() / columns;
        let mut buffer = Vec::new();
        let tokens = self.tokens(inputs, columns, input_dtype(matrix), &mut buffer);
        let mut out = vec![0.0; count * rows];
        let width = PANELS_PER_JOB * PANEL;
        share_stripes(&mut out, rows, width, &|job, stripe: &mut Stripe| {
            let first = job * width;
            let panels = (rows - first).div_ceil(PANEL).min(PANELS_PER_JOB);
            let mut scratch = Vec::new();
            let weights = weights(matrix, (first, panels), &mut scratch);
            let mut products = [[[[0.0; PANEL]; PANEL]; 2]; 2];
            // Weights stay in the first-level cache while tokens pass.
            for (pair, panels) in weights.pairs().enumerate() {
                let row = first + 2 * pair * PANEL;
                for (at, tiles) in tokens.pairs().enumerate() {
                    (self.multiply)(tiles, panels, &mut products);
                    for panel in (0..2).filter(|panel| row + panel * PANEL < rows) {
                        for tile in &mut products {
                            finish.lanes(row + panel * PANEL, &mut tile[panel]);
                        }
                    }
                    let first = 2 * at * PANEL;
                    for token in first..count.min(first + 2 * PANEL) {
                        let at = token - first;
                        let row = &mut stripe.row(token)[2 * pair * PANEL..];
                        place(&products[at / PANEL], at % PANEL, row);
                    }
                }
            }
        });
        out
    }

    /// Tokens rounded to a type and taken apart.
    fn tokens<'a>(
        &self,
        inputs: &[f32],
        columns: usize,
        dtype: DType,
        buffer: &'a mut Vec<f32>,
    ) -> Strips<'a> {
        let parts = match dtype {
            DType::F32 => 3,
            DType::F16 => 2,
            DType::BF16 => 1,
        };
        let size = columns.div_ceil(COLUMNS) * parts;
        let tiles = (inputs.len() / columns).div_ceil(PANEL);
        let squares = room(buffer, tiles * size);
        share_pieces(squares.as_flattened_mut(), size * SQUARE, &|tile, out| {
            let start = tile * PANEL * columns;
            let inputs = &inputs[start..inputs.len().min(start + PANEL * columns)];
            let (out, _) = out.as_chunks_mut();
            if dtype == DType::F32 {
                (self.take_apart)(inputs, columns, out);
                return;
            }
            let mut rounded = inputs.to_vec();
            round(&mut rounded, dtype);
            (self.take_apart)(&rounded, columns, out);
        });
        Strips { squares, size }
    }
}

/// Panels of a matrix from row `first` on as they lie, or paired in `scratch`.
fn weights<'a>(
    matrix: &'a dyn Rows,
    (first, panels): (usize, usize),
    scratch: &'a mut Vec<f32>,
) -> Strips<'a> {
    let columns = matrix.shape().1;
    let size = columns.div_ceil(COLUMNS);
    if columns.is_multiple_of(COLUMNS)
        && let Some(pairs) = matrix.brain(first, panels)
    {
        let (squares, _) = pairs.as_chunks();
        return Strips { squares, size };
    }
    let squares = room(scratch, panels * size);
    // Zero from where the columns end.
    let mut panel = vec![0.0; size * COLUMNS * PANEL];
    for (index, squares) in squares.chunks_exact_mut(size).enumerate() {
        matrix.panel(first + index * PANEL, &mut panel[..columns * PANEL]);
        pair_columns(&panel, squares.as_flattened_mut());
    }
    Strips { squares, size }
}

/// Tiles of tokens, or panels of weights, as squares.
struct Strips<'a> {
    squares: &'a [Square],
    /// Squares of a tile or a panel.
    size: usize,
}

impl Strips<'_> {
    /// Two at a time; where there is no second, the first again.
    fn pairs(&self) -> impl Iterator<Item = Two<'_>> {
        self.squares.chunks(2 * self.size).map(|pair| {
            let (first, second) = pair.split_at(self.size);
            [first, if second.is_empty() { first } else { second }]
        })
    }
}

/// Room for so many squares, from where a processor loads them fastest.
pub(super) fn room(buffer: &mut Vec<f32>, squares: usize) -> &mut [Square] {
    let line = LINE / size_of::<f32>();
    buffer.resize(squares * SQUARE + line, 0.0);
    let skipped = buffer.as_ptr().align_offset(LINE).min(line);
    &mut buffer[skipped..].as_chunks_mut().0[..squares]
}
