//! Outputs that jobs write part by part: stripes of columns, pieces, or blocks of rows and columns, of an output that
//! is there or of a new one.
//!
//! Unsafe for parts of one output that several threads write, and for new outputs, which are no values before.

use std::{marker::PhantomData, ops::Range, slice};

use super::unsafe_share::share;

/// Some columns of some rows of one output, which one job has for itself.
pub(super) struct Stripe<'a, T = f32> {
    first: *mut T,
    rows: usize,
    row_length: usize,
    width: usize,
    output: PhantomData<&'a mut [T]>,
}

impl<T> Stripe<'_, T> {
    /// Its part of a row, counted from its first.
    pub(super) fn row(&mut self, row: usize) -> &mut [T] {
        assert!(row < self.rows, "a stripe has so many rows");
        // SAFETY: `share_raw` made it for `rows` rows of `row_length` values with `width` of them
        // from `first` on inside each, and hands no other stripe these.
        unsafe { slice::from_raw_parts_mut(self.first.add(row * self.row_length), self.width) }
    }
}

/// An output's first value, for stripes of it.
struct Output<T>(*mut T);

// SAFETY: `share_raw` makes stripes of it that do not overlap, each for one job.
unsafe impl<T: Send> Sync for Output<T> {}

/// Where jobs write in an output whose rows have so many values. A block of no rows is passed over.
pub(super) struct Blocks<'a> {
    pub row_length: usize,
    /// Rows of each block, one behind the other.
    pub rows: &'a [Range<usize>],
    pub columns: Range<usize>,
    /// Columns of a block; the last may have fewer.
    pub width: usize,
}

/// What a job does to a block, by the numbers of its rows and of its columns.
type BlockWork<'a, T> = &'a (dyn Fn((usize, usize), &mut Stripe<T>) + Sync);

impl Blocks<'_> {
    /// Whether they are inside an output of so many rows, and apart.
    fn fit(&self, rows: usize) -> bool {
        let are_apart = self.rows.is_sorted_by(|a, b| a.end <= b.start);
        let mut all = self.rows.iter();
        are_apart
            && self.columns.end <= self.row_length
            && all.all(|block| block.start <= block.end && block.end <= rows)
    }

    /// Whether they are all of an output of so many rows.
    fn cover(&self, rows: usize) -> bool {
        let lengths = self.rows.iter().map(Range::len);
        self.fit(rows) && lengths.sum::<usize>() == rows && self.columns == (0..self.row_length)
    }
}

/// Hands each job a block. Fails on blocks that are not in the output, or overlap.
pub(super) fn share_blocks<T: Send>(out: &mut [T], blocks: &Blocks, work: BlockWork<T>) {
    if out.is_empty() || blocks.columns.is_empty() {
        return;
    }
    assert!(
        blocks.fit(out.len() / blocks.row_length),
        "blocks are in their output, and apart"
    );
    // SAFETY: they fit.
    unsafe { share_raw(&Output(out.as_mut_ptr()), blocks, work) }
}

/// A new output of so many rows, of which each job makes a block: zero where it writes nothing. Who makes a block
/// has cleared it, so that it is in its cache. Fails on blocks that are not all of the output, or overlap.
pub(super) fn new_blocks<T: Copy + Default + Send>(
    rows: usize,
    blocks: &Blocks,
    work: BlockWork<T>,
) -> Vec<T> {
    let length = rows * blocks.row_length;
    let mut out = Vec::with_capacity(length);
    if length == 0 {
        return out;
    }
    assert!(
        blocks.cover(rows),
        "blocks are all of their output, and apart"
    );
    let first = Output(out.as_mut_ptr());
    // SAFETY: they fit what there is room for. Each block's values are written before they are a slice, and once
    // all jobs are done, which they are where this does not unwind, so are all of the output.
    unsafe {
        share_raw(&first, blocks, &|numbers, stripe| {
            for row in 0..stripe.rows {
                for column in 0..stripe.width {
                    let place = stripe.first.add(row * stripe.row_length + column);
                    place.write(T::default());
                }
            }
            work(numbers, stripe);
        });
        out.set_len(length);
    }
    out
}

/// The blocks must fit an output that begins there.
unsafe fn share_raw<T: Send>(first: &Output<T>, blocks: &Blocks, work: BlockWork<T>) {
    let Blocks {
        row_length,
        rows,
        columns,
        width,
    } = blocks;
    let beside = columns.len().div_ceil(*width);
    share(rows.len() * beside, &|job| {
        let (index, column) = (job / beside, job % beside);
        let rows = &rows[index];
        if rows.is_empty() {
            return;
        }
        let start = columns.start + column * width;
        let mut stripe = Stripe {
            // SAFETY: a row begins there, and `start < columns.end <= row_length`.
            first: unsafe { first.0.add(rows.start * row_length + start) },
            rows: rows.len(),
            row_length: *row_length,
            width: (*width).min(columns.end - start),
            output: PhantomData,
        };
        work((index, column), &mut stripe);
    });
}

/// Sixteen values that begin where processors load from fastest.
#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
pub(super) struct Line([f32; 16]);

// SAFETY: zero is a value of it.
unsafe impl bytemuck::Zeroable for Line {}
// SAFETY: it has 64 bytes and begins at multiples of that, so that it is its values and nothing else.
unsafe impl bytemuck::Pod for Line {}

/// Hands each job a stripe of `width` columns (the last may be narrower) of an output whose rows have
/// `row_length` values, and its number. Fails on an output that is no whole number of rows.
pub(super) fn share_stripes<T: Send>(
    out: &mut [T],
    row_length: usize,
    width: usize,
    work: &(dyn Fn(usize, &mut Stripe<T>) + Sync),
) {
    if out.is_empty() {
        return;
    }
    let rows = out.len() / row_length;
    assert_eq!(rows * row_length, out.len(), "an output has whole rows");
    let rows = 0..rows;
    let blocks = stripes(slice::from_ref(&rows), row_length, width);
    share_blocks(out, &blocks, &|(_, job), stripe| work(job, stripe));
}

fn stripes(rows: &[Range<usize>], row_length: usize, width: usize) -> Blocks<'_> {
    Blocks {
        row_length,
        rows,
        columns: 0..row_length,
        width,
    }
}

/// Hands each job a piece of `length` values (the last may be shorter) of an output, and its number.
pub(crate) fn share_pieces<T: Send>(
    out: &mut [T],
    length: usize,
    work: &(dyn Fn(usize, &mut [T]) + Sync),
) {
    let whole = out.len();
    share_stripes(out, whole, length, &|job, stripe| work(job, stripe.row(0)));
}

/// A new output of which each job makes a piece, as [`new_blocks`].
pub(crate) fn new_pieces<T: Copy + Default + Send>(
    whole: usize,
    length: usize,
    work: &(dyn Fn(usize, &mut [T]) + Sync),
) -> Vec<T> {
    let rows = 0..1;
    let blocks = stripes(slice::from_ref(&rows), whole, length);
    new_blocks(1, &blocks, &|(_, job), stripe| work(job, stripe.row(0)))
}

#[cfg(test)]
mod tests {
    use super::{Blocks, new_blocks, new_pieces, share_blocks, share_stripes};

    #[test]
    fn stripes_cover_an_output_without_overlap() {
        let mut out = vec![0.0; 3 * 10];
        share_stripes(&mut out, 10, 4, &|job, stripe| {
            for row in 0..3 {
                for value in stripe.row(row) {
                    *value += (1 + row * 10 + job) as f32;
                }
            }
        });
        for (at, value) in out.iter().enumerate() {
            let expected = 1 + at / 10 * 10 + at % 10 / 4;
            assert_eq!(*value as usize, expected, "{at}");
        }
    }
    #[test]
    fn blocks_are_written_and_nothing_beside_them() {
        let mut out = vec![0_u32; 5 * 10];
        let blocks = Blocks {
            row_length: 10,
            rows: &[0..2, 3..4],
            columns: 1..8,
            width: 3,
        };
        share_blocks(&mut out, &blocks, &|(rows, columns), stripe| {
            for row in 0..if rows == 0 { 2 } else { 1 } {
                for value in stripe.row(row) {
                    *value += (100 * (rows + 1) + 10 * (columns + 1) + row) as u32;
                }
            }
        });
        for (at, value) in out.iter().enumerate() {
            let (row, column) = (at / 10, at % 10);
            let rows = [Some((1, 0)), Some((1, 1)), None, Some((2, 0)), None][row];
            let expected = rows.filter(|_| (1..8).contains(&column));
            let expected = expected.map_or(0, |(rows, row)| {
                100 * rows + 10 * ((column - 1) / 3 + 1) + row
            });
            assert_eq!(*value as usize, expected, "{row} {column}");
        }
    }

    #[test]
    fn a_new_output_is_made_and_zero_elsewhere() {
        let rows = [0..2, 2..2, 2..5, 5..5];
        let blocks = |columns| Blocks {
            row_length: 10,
            rows: &rows,
            columns,
            width: 4,
        };
        let made: Vec<u32> = new_blocks(5, &blocks(0..10), &|(rows, columns), stripe| {
            stripe.row(0)[0] = (10 * (rows + 1) + columns) as u32;
        });
        for (at, value) in made.iter().enumerate() {
            let expected = match (at / 10, at % 10) {
                (0, column @ (0 | 4 | 8)) => 10 + column / 4,
                (2, column @ (0 | 4 | 8)) => 30 + column / 4,
                _ => 0,
            };
            assert_eq!(*value as usize, expected, "{at}");
        }
        let partial = || new_blocks::<u32>(5, &blocks(0..9), &|_, _| {});
        assert!(std::panic::catch_unwind(partial).is_err(), "a part only");
        let short = || new_blocks::<u32>(6, &blocks(0..10), &|_, _| {});
        assert!(
            std::panic::catch_unwind(short).is_err(),
            "rows are left out"
        );
        assert!(new_pieces::<u32>(0, 3, &|_, _| {}).is_empty());
    }

    #[test]
    fn blocks_that_overlap_or_are_outside_are_refused() {
        let refused = |rows: &[std::ops::Range<usize>], columns| {
            let rows = rows.to_vec();
            let caught = std::panic::catch_unwind(move || {
                let blocks = Blocks {
                    row_length: 4,
                    rows: &rows,
                    columns,
                    width: 2,
                };
                share_blocks(&mut [0_u8; 12], &blocks, &|_, _| {});
            });
            caught.is_err()
        };
        assert!(!refused(&[0..1, 1..3], 0..4));
        assert!(refused(&[0..2, 1..3], 0..4));
        assert!(refused(std::slice::from_ref(&(0..4)), 0..4));
        assert!(refused(&[0..1, 0..3], 0..5));
    }
}
