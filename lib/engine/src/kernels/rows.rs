//! Products of packed matrices with f32 activations, whatever a row is packed by. The matrix is never
//! unpacked as a whole: for one token each block goes through registers, for many tokens a few rows at
//! a time go through scratch and serve all of them.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::{
    panels::{Lanes, PANEL, WIDTH, block_sums, turn},
    primitives,
    rounded::{RoundedBlock, multiply_rounded},
    unsafe_share::{Stripe, share_pieces, share_stripes},
};

/// Weights that one job multiplies for a single token: enough work to pay for handing it out.
const WEIGHTS_PER_JOB: usize = 1 << 15;
/// Jobs of one product at most: more would only queue for their numbers.
const MOST_JOBS: usize = 64;
/// Panels that a job unpacks for many tokens: while a few tokens' values are near, they serve all of them.
const PANELS_PER_JOB: usize = 2;

/// Tokens up to which each takes the packed rows for itself: unpacking them costs as much as that many
/// products.
const FEW: usize = 6;

/// A matrix `(out_features, in_features)` of packed rows.
pub(crate) trait Rows: Sync {
    /// Rows and columns.
    fn shape(&self) -> (usize, usize);

    /// Products of rows with a vector, from row `first` on, which begins a panel.
    fn dots(&self, first: usize, input: &Input, out: &mut [f32]);

    /// Unpacks a panel's rows to f32 as `(columns, 16)`, from row `first` on; rows past the last are
    /// zero.
    fn panel(&self, first: usize, out: &mut [f32]);

    /// Whether activations are to be rounded to 8 bits before they are multiplied.
    fn rounds(&self) -> bool {
        false
    }

    /// Products of a panel's rows, from `first` on, with tokens that have been rounded. Of rows that
    /// round.
    fn rounded(&self, _first: usize, _inputs: &[RoundedBlock], _out: &mut [Lanes]) {}
}

/// The activations of one token.
pub(crate) struct Input<'a> {
    /// As they are.
    pub values: &'a [f32],
    /// Their sums by block.
    pub sums: Vec<f32>,
}

/// `x · Wᵀ`: from `(…, in_features)` to `(…, out_features)`, in f32.
pub(crate) fn multiply(matrix: &dyn Rows, x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1_no_bwd(&Product(matrix))
}

/// Unpacks a panel's rows one after the other by `unpack`, and turns them round.
pub(crate) fn panel_of_rows(
    (first, rows): (usize, usize),
    out: &mut [f32],
    unpack: impl Fn(usize, &mut [f32]),
) {
    let columns = out.len() / PANEL;
    let count = PANEL.min(rows - first);
    let mut values = vec![0.0; count * columns];
    for (index, values) in values.chunks_exact_mut(columns).enumerate() {
        unpack(first + index, values);
    }
    turn(&values, columns, out);
}

/// Several matrices on one input, as one with the rows of all.
pub(crate) struct Stacked<'a>(Vec<&'a dyn Rows>);

impl<'a> Stacked<'a> {
    /// Of matrices that take the same input. `None` where one begins inside a panel.
    pub(crate) fn of(parts: Vec<&'a dyn Rows>) -> Option<Self> {
        let (last, before) = parts.split_last()?;
        let fits = before.iter().all(|part| {
            let (rows, columns) = part.shape();
            rows.is_multiple_of(PANEL) && columns == last.shape().1
        });
        fits.then_some(Self(parts))
    }

    /// The part that has a row, and its number there.
    fn part(&self, row: usize) -> (&dyn Rows, usize) {
        let mut row = row;
        let found = self.0.iter().find(|part| {
            let rows = part.shape().0;
            let is_here = row < rows;
            row -= if is_here { 0 } else { rows };
            is_here
        });
        (*found.expect("a row is one of the matrices'"), row)
    }
}

impl Rows for Stacked<'_> {
    fn shape(&self) -> (usize, usize) {
        let rows = self.0.iter().map(|part| part.shape().0).sum();
        (rows, self.0[0].shape().1)
    }

    fn dots(&self, first: usize, input: &Input, out: &mut [f32]) {
        let mut done = 0;
        while done < out.len() {
            let (part, row) = self.part(first + done);
            let count = (part.shape().0 - row).min(out.len() - done);
            part.dots(row, input, &mut out[done..][..count]);
            done += count;
        }
    }

    fn panel(&self, first: usize, out: &mut [f32]) {
        let (part, row) = self.part(first);
        part.panel(row, out);
    }

    fn rounds(&self) -> bool {
        self.0.iter().all(|part| part.rounds())
    }

    fn rounded(&self, first: usize, inputs: &[RoundedBlock], out: &mut [Lanes]) {
        let (part, row) = self.part(first);
        part.rounded(row, inputs, out);
    }
}

/// For a few tokens, as of several requests: panel by panel, so that the memory is read once for all.
fn multiply_few(matrix: &dyn Rows, inputs: &[f32]) -> Vec<f32> {
    let (rows, columns) = matrix.shape();
    let inputs: Vec<Input> = inputs
        .chunks_exact(columns)
        .map(|values| Input {
            values,
            sums: block_sums(values),
        })
        .collect();
    let per_job = (WEIGHTS_PER_JOB / columns)
        .max(rows / MOST_JOBS)
        .next_multiple_of(PANEL)
        .max(PANEL);
    let mut out = vec![0.0; inputs.len() * rows];
    share_stripes(&mut out, rows, per_job, &|job, stripe: &mut Stripe| {
        let first = job * per_job;
        for panel in (0..per_job.min(rows - first)).step_by(PANEL) {
            for (token, input) in inputs.iter().enumerate() {
                let row = &mut stripe.row(token)[panel..];
                let count = PANEL.min(row.len());
                matrix.dots(first + panel, input, &mut row[..count]);
            }
        }
    });
    out
}

fn multiply_many(matrix: &dyn Rows, inputs: &[f32]) -> Vec<f32> {
    let (rows, columns) = matrix.shape();
    let tokens = inputs.len() / columns;
    let inputs = turned_tiles(inputs, columns);
    let mut out = vec![0.0; tokens * rows];
    share_stripes(
        &mut out,
        rows,
        PANELS_PER_JOB * PANEL,
        &|job, stripe: &mut Stripe| {
            let first = job * PANELS_PER_JOB * PANEL;
            let panels = (rows - first).div_ceil(PANEL).min(PANELS_PER_JOB);
            let mut weights = vec![0.0; panels * columns * PANEL];
            for (index, panel) in weights.chunks_exact_mut(columns * PANEL).enumerate() {
                matrix.panel(first + index * PANEL, panel);
            }
            for (tile, inputs) in inputs.chunks(WIDTH * columns).enumerate() {
                let width = inputs.len() / columns;
                for (index, panel) in weights.chunks_exact(columns * PANEL).enumerate() {
                    let mut products: [Lanes; WIDTH] = [[0.0; PANEL]; WIDTH];
                    (primitives().tile)(panel, inputs, width, &mut products[..width]);
                    for (token, lanes) in products[..width].iter().enumerate() {
                        let row = stripe.row(tile * WIDTH + token);
                        let count = PANEL.min(row.len() - index * PANEL);
                        row[index * PANEL..][..count].copy_from_slice(&lanes[..count]);
                    }
                }
            }
        },
    );
    out
}

/// Tokens in tiles, each turned round to `(columns, tokens)`.
fn turned_tiles(inputs: &[f32], columns: usize) -> Vec<f32> {
    let mut turned = vec![0.0; inputs.len()];
    share_pieces(&mut turned, WIDTH * columns, &|tile, out| {
        let inputs = &inputs[tile * WIDTH * columns..][..out.len()];
        let width = out.len() / columns;
        for (column, out) in out.chunks_exact_mut(width).enumerate() {
            for (out, token) in out.iter_mut().zip(inputs.chunks_exact(columns)) {
                *out = token[column];
            }
        }
    });
    turned
}

struct Product<'a>(&'a dyn Rows);

impl CustomOp1 for Product<'_> {
    fn name(&self) -> &'static str {
        "packed-matrix-product"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, columns) = self.0.shape();
        let mut shape = layout.dims().to_vec();
        if shape.pop() != Some(columns) {
            bail!(
                "a product with a matrix of {} columns got {:?}",
                columns,
                layout.shape()
            );
        }
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("a packed matrix takes contiguous activations");
        };
        let input = &storage.as_slice::<f32>()?[start..end];
        let out = match input.len() / columns {
            0 => Vec::new(),
            _ if self.0.rounds() => multiply_rounded(self.0, input),
            1..=FEW => multiply_few(self.0, input),
            _ => multiply_many(self.0, input),
        };
        shape.push(rows);
        Ok((CpuStorage::F32(out), Shape::from(shape)))
    }
}
