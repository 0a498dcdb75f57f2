//! Products of many tokens with weights that are brain floats, in squares, for processors that multiply such
//! squares as a whole (AMX), at several times the rate of registers of f32. Nothing is rounded for it: an f32 is
//! the sum of three brain floats, and its product with a weight the sum of theirs. Weights of other types would
//! have parts, too; six products instead of three were no faster than f32.

use std::{marker::PhantomData, ops::Range};

use half::bf16;
use wire::model::DType;

use super::{
    Finish,
    attention_squares::Softmax,
    given::{Given, both, copy_pairs},
    jobs::Jobs,
    panels::{Lanes, PANEL},
    rows::{Inputs, Rows, input_dtype, pair_columns, put},
    unsafe_blocks::{Line, new_blocks, new_pieces},
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
    /// Makes this thread ready for products of squares: once a job, since it took a seventh of a product's time.
    pub enter: fn(),
    /// Ends that.
    pub leave: fn(),
    /// Sums of products of two tiles of tokens, in as many parts as their squares make, with two panels, which
    /// have a square for each 32 columns: pairs of columns by rows. Of a thread that is ready.
    pub multiply: fn(Two, Two, &mut Products),
    /// The same, added to what is there.
    pub add_products: fn(Two, Two, &mut Products),
    /// Takes scores of one of two tiles of queries (its number) with the next 64 keys into their softmax, where they
    /// have been multiplied by a scale above zero, as exponents of two. Gives what each query's sums so far are
    /// to be multiplied by, and writes the weights of the values: queries by pairs of keys.
    pub weigh: Weigh,
    /// Puts the values of up to 64 keys, rows of so many columns, into panels: of each sixteen columns a square for
    /// each 32 keys, pairs of keys by columns. Keys that are not there are zero.
    pub lay_out_values: fn(&[bf16], usize, &mut [Square]),
}

/// [`Squares::weigh`].
pub(super) type Weigh = fn(&[Products; 2], f32, (usize, &mut Softmax), &mut [Square; 2]) -> Lanes;

/// Squares that this thread, and no other, is ready to multiply.
pub(super) struct Entered<'a>(&'a Squares, PhantomData<*const ()>);

impl Entered<'_> {
    /// [`Squares::multiply`].
    pub(super) fn multiply(&self, tokens: Two, weights: Two, out: &mut Products) {
        (self.0.multiply)(tokens, weights, out);
    }

    /// [`Squares::add_products`].
    pub(super) fn add_products(&self, tokens: Two, weights: Two, out: &mut Products) {
        (self.0.add_products)(tokens, weights, out);
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        (self.0.leave)();
    }
}

impl Squares {
    /// Makes this thread ready, until what this gives is dropped.
    pub(super) fn entered(&self) -> Entered<'_> {
        (self.enter)();
        Entered(self, PhantomData)
    }

    /// Products of a matrix whose weights are brain floats with tokens.
    pub(super) fn products<T: Given>(
        &self,
        matrix: &dyn Rows,
        inputs: Inputs,
        finish: Finish,
    ) -> Vec<T> {
        let (rows, columns) = matrix.shape();
        let count = inputs.len() / columns;
        let (tokens, size) = self.tokens(inputs, columns, input_dtype(matrix));
        let tokens = Strips {
            squares: bytemuck::cast_slice(&tokens),
            size,
        };
        let left = finish.left(rows);
        let jobs = Jobs::of(matrix, &finish);
        let is_ready = columns.is_multiple_of(COLUMNS) && matrix.brain(0, 1).is_some();
        let parts = jobs.tokens(count, 2 * PANEL, is_ready);
        new_blocks(count, &jobs.blocks(&parts), &|(part, job), stripe| {
            let mut scratch = [Vec::new(), Vec::new()];
            let [first, second] = &mut scratch;
            let (gates, ups) = jobs.panels(job);
            let weights = weights(matrix, gates, first);
            let others = ups.map(|ups| self::weights(matrix, ups, second));
            let mut products = [[[[0.0; PANEL]; PANEL]; 2]; 2];
            let mut given = [[[T::default(); PANEL]; PANEL]; 2];
            let part = parts[part].clone();
            let tokens = tokens.of(part.start / PANEL..part.end.div_ceil(PANEL));
            let squares = self.entered();
            // Weights stay in the first-level cache while tokens pass.
            for (pair, panels) in weights.pairs(others.as_ref()).enumerate() {
                let place = jobs.place(job, pair);
                for (at, tiles) in tokens.pairs(None).enumerate() {
                    squares.multiply(tiles, panels, &mut products);
                    for (tile, products) in products.iter_mut().enumerate() {
                        let first = part.start + (2 * at + tile) * PANEL;
                        if first >= part.end {
                            break;
                        }
                        for (panel, row) in place.rows.into_iter().enumerate() {
                            if row < rows {
                                finish.lanes(row, &mut products[panel]);
                            }
                        }
                        let [one, other] = &mut *products;
                        finish.pair((first, place.row, left), [&mut *one, &mut *other]);
                        let [one_given, other_given] = &mut given;
                        let given = [T::lanes(one, one_given), T::lanes(other, other_given)];
                        for token in first..part.end.min(first + PANEL) {
                            let row = &mut stripe.row(token - part.start)[place.column..];
                            put(given, token - first, row, place.panels);
                        }
                    }
                }
            }
        })
    }

    /// Tokens rounded to a type and taken apart, as squares, and how many of them a tile has.
    fn tokens(&self, inputs: Inputs, columns: usize, dtype: DType) -> (Vec<Line>, usize) {
        let parts = match (dtype, inputs) {
            (DType::BF16, _) | (_, Inputs::Brain(_)) => 1,
            (DType::F16, _) => 2,
            (DType::F32, _) => 3,
        };
        let size = columns.div_ceil(COLUMNS) * parts;
        let tiles = (inputs.len() / columns).div_ceil(PANEL);
        let lines = size * PANEL;
        let squares = new_pieces(tiles * lines, lines, &|tile, out: &mut [Line]| {
            let out = bytemuck::cast_slice_mut(out);
            match inputs.tile(tile, PANEL * columns) {
                Inputs::Brain(values) => lay_out(values, columns, out),
                Inputs::F32(values) if dtype == DType::F32 => {
                    (self.take_apart)(values, columns, out);
                }
                Inputs::F32(values) => {
                    let mut rounded = values.to_vec();
                    round(&mut rounded, dtype);
                    (self.take_apart)(&rounded, columns, out);
                }
            }
        });
        (squares, size)
    }
}

/// Up to sixteen rows of so many brain floats as squares, which are zero before.
fn lay_out(rows: &[bf16], columns: usize, out: &mut [Square]) {
    for (lane, row) in rows.chunks_exact(columns).enumerate() {
        let (whole, rest) = row.as_chunks::<COLUMNS>();
        for (values, square) in whole.iter().zip(&mut *out) {
            copy_pairs(values, &mut square[lane * PANEL..][..PANEL]);
        }
        if let Some(square) = out.get_mut(whole.len()) {
            let place = &mut square[lane * PANEL..][..PANEL];
            let (pairs, odd) = rest.split_at(rest.len() / 2 * 2);
            copy_pairs(pairs, place);
            if let [last] = odd {
                place[pairs.len() / 2] = both([*last, bf16::ZERO]);
            }
        }
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
    /// Some of them.
    fn of(&self, strips: Range<usize>) -> Self {
        Self {
            squares: &self.squares[strips.start * self.size..strips.end * self.size],
            size: self.size,
        }
    }

    /// Two at a time; where there is no second, the first again. Or each with one of others.
    fn pairs<'s>(&'s self, others: Option<&'s Self>) -> impl Iterator<Item = Two<'s>> {
        let at_once = if others.is_some() { 1 } else { 2 };
        let pairs = self.squares.chunks(at_once * self.size);
        pairs.enumerate().map(move |(index, pair)| {
            let (first, second) = pair.split_at(self.size);
            let second = match others {
                Some(others) => &others.squares[index * self.size..][..self.size],
                None if second.is_empty() => first,
                None => second,
            };
            [first, second]
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
