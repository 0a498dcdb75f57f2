//! Products of packed matrices with f32 activations, whatever a row is packed by. The matrix is never
//! unpacked as a whole: for one token each block goes through registers, for many tokens a few rows at
//! a time go through scratch and serve all of them.

use std::borrow::Cow;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};
use half::bf16;
use wire::model::DType;

use super::{
    Finish, TilePair,
    given::{Given, both, given, widen},
    jobs::Jobs,
    nibbles::spread,
    panels::{Lanes, PANEL, WIDTH, block_sums},
    primitives,
    rounded::{RoundedBlock, multiply_rounded},
    unsafe_blocks::{Stripe, new_blocks, share_pieces, share_stripes},
};
use crate::bitsandbytes::round;

/// Weights that one job multiplies for a single token: enough work to pay for handing it out.
const WEIGHTS_PER_JOB: usize = 1 << 15;
/// Jobs of one product at most: more would only queue for their numbers.
const MOST_JOBS: usize = 64;

/// Tokens up to which each takes the packed rows for itself: unpacking them costs as much as that many
/// products.
pub(crate) const FEW: usize = 6;

/// A matrix `(out_features, in_features)` of packed rows.
pub(crate) trait Rows: Sync {
    /// Rows and columns.
    fn shape(&self) -> (usize, usize);

    /// Products of rows with a vector, from row `first` on, which begins a panel.
    fn dots(&self, first: usize, input: &Input, out: &mut [f32]);

    /// Products of `count` rows, from `first` on, which begins a panel, with a few vectors.
    fn few(&self, first: usize, count: usize, inputs: &[Input], out: &mut [Lanes]) {
        for (input, out) in inputs.iter().zip(out) {
            self.dots(first, input, &mut out[..count]);
        }
    }

    /// Unpacks a panel's rows to f32 as `(columns, 16)`, from row `first` on; rows past the last are
    /// zero.
    fn panel(&self, first: usize, out: &mut [f32]);

    /// `count` panels from row `first` on as they lie, where they are f32 `(columns, 16)` already.
    fn ready(&self, _first: usize, _count: usize) -> Option<&[f32]> {
        None
    }

    /// Whether [`Self::dots`] takes the spread values of its input.
    fn spreads(&self) -> bool {
        false
    }

    /// The type that activations are rounded to before they are multiplied, and products after it.
    fn rounding(&self) -> DType {
        DType::F32
    }

    /// Whether activations are to be rounded to brain floats before they are multiplied.
    fn rounds_to_brain(&self) -> bool {
        false
    }

    /// Whether all weights are brain floats.
    fn is_brain(&self) -> bool {
        false
    }

    /// `count` panels from row `first` on as they lie, where they are pairs of brain floats
    /// `(columns / 2, 16)`, each pair in the place of an f32; rows past the last are zero.
    fn brain(&self, _first: usize, _count: usize) -> Option<&[f32]> {
        None
    }

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
    /// As [`spread`] lays them out, for rows that take them so.
    pub spread: Vec<f32>,
}

impl<'a> Input<'a> {
    pub(crate) fn new(values: &'a [f32], spreads: bool) -> Self {
        Self {
            values,
            sums: block_sums(values),
            spread: if spreads { spread(values) } else { Vec::new() },
        }
    }
}

/// `x · Wᵀ`: from `(…, in_features)` to `(…, out_features)`, in f32.
pub(crate) fn multiply(matrix: &dyn Rows, x: &Tensor) -> Result<Tensor> {
    multiply_then(matrix, x, Finish::default())
}

/// The same, and what follows on it.
pub(crate) fn multiply_then(matrix: &dyn Rows, x: &Tensor, finish: Finish) -> Result<Tensor> {
    check(matrix, &finish)?;
    x.contiguous()?
        .apply_op1_no_bwd(&Product::of(matrix, finish))
}

/// The same, and added to another tensor.
pub(crate) fn multiply_adding(
    matrix: &dyn Rows,
    x: &Tensor,
    finish: Finish,
    sum: Option<&Tensor>,
) -> Result<Tensor> {
    let Some(sum) = sum else {
        return multiply_then(matrix, x, finish);
    };
    check(matrix, &finish)?;
    let sum = sum.contiguous()?;
    x.contiguous()?
        .apply_op2_no_bwd(&sum, &Product::of(matrix, finish))
}

fn check(matrix: &dyn Rows, finish: &Finish) -> Result<()> {
    let rows = matrix.shape().0;
    if finish.bias.is_some_and(|bias| bias.len() != rows) {
        bail!("a product of {rows} rows got a bias of another length");
    }
    if finish.gate.is_some() && !rows.is_multiple_of(2 * PANEL) {
        bail!("{rows} rows are no gate of whole panels and what it is for");
    }
    Ok(())
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
    (primitives().turn)(&values, columns, PANEL, out);
}

/// Several matrices on one input, as one with the rows of all.
pub(crate) struct Stacked<'a>(Vec<&'a dyn Rows>);

impl<'a> Stacked<'a> {
    /// Of matrices that take the same input. `None` where one begins inside a panel, or rounds otherwise.
    pub(crate) fn of(parts: Vec<&'a dyn Rows>) -> Option<Self> {
        let (last, before) = parts.split_last()?;
        let fits = before.iter().all(|part| {
            let (rows, columns) = part.shape();
            let is_alike = part.rounding() == last.rounding();
            rows.is_multiple_of(PANEL) && columns == last.shape().1 && is_alike
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

    fn few(&self, first: usize, count: usize, inputs: &[Input], out: &mut [Lanes]) {
        let (part, row) = self.part(first);
        part.few(row, count, inputs, out);
    }

    fn panel(&self, first: usize, out: &mut [f32]) {
        let (part, row) = self.part(first);
        part.panel(row, out);
    }

    fn ready(&self, first: usize, count: usize) -> Option<&[f32]> {
        let (part, row) = self.part(first);
        let is_one = row + count * PANEL <= part.shape().0;
        is_one.then(|| part.ready(row, count)).flatten()
    }

    fn spreads(&self) -> bool {
        self.0.iter().any(|part| part.spreads())
    }

    fn rounding(&self) -> DType {
        self.0[0].rounding()
    }

    fn rounds_to_brain(&self) -> bool {
        self.0.iter().all(|part| part.rounds_to_brain())
    }

    fn is_brain(&self) -> bool {
        self.0.iter().all(|part| part.is_brain())
    }

    fn brain(&self, first: usize, count: usize) -> Option<&[f32]> {
        let (part, row) = self.part(first);
        let is_one = row + count * PANEL <= part.shape().0;
        is_one.then(|| part.brain(row, count)).flatten()
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
fn multiply_few(matrix: &dyn Rows, inputs: &[f32], finish: Finish) -> Vec<f32> {
    let (rows, columns) = matrix.shape();
    let inputs: Vec<Input> = inputs
        .chunks_exact(columns)
        .map(|values| Input::new(values, matrix.spreads()))
        .collect();
    let per_job = (WEIGHTS_PER_JOB / columns)
        .max(rows / MOST_JOBS)
        .next_multiple_of(PANEL)
        .max(PANEL);
    let mut out = vec![0.0; inputs.len() * rows];
    share_stripes(&mut out, rows, per_job, &|job, stripe: &mut Stripe| {
        let first = job * per_job;
        for panel in (0..per_job.min(rows - first)).step_by(PANEL) {
            let count = PANEL.min(rows - first - panel);
            let products = &mut [[0.0; PANEL]; FEW][..inputs.len()];
            matrix.few(first + panel, count, &inputs, products);
            finish.lanes(first + panel, products);
            for (token, products) in products.iter().enumerate() {
                let row = &mut stripe.row(token)[panel..][..count];
                row.copy_from_slice(&products[..count]);
            }
        }
    });
    out
}

/// What many tokens are multiplied by: plain floats, or pairs of brain floats, each in the place of one.
#[derive(Clone, Copy)]
enum Tiles {
    Floats,
    Brain(TilePair),
}

impl Tiles {
    /// As the matrix asks and the processor can.
    fn of(matrix: &dyn Rows) -> Self {
        let is_even = matrix.shape().1.is_multiple_of(2);
        match primitives().tile_pair_brain {
            Some(pair) if is_even && matrix.is_brain() && input_dtype(matrix) == DType::BF16 => {
                Self::Brain(pair)
            }
            _ => Self::Floats,
        }
    }

    /// Whether panels lie as they are taken.
    fn are_ready(self, matrix: &dyn Rows) -> bool {
        match self {
            Self::Floats => matrix.ready(0, 1).is_some(),
            Self::Brain(_) => matrix.brain(0, 1).is_some(),
        }
    }

    /// Panels of a matrix from row `first` on, as they lie or in `scratch`.
    fn weights<'s>(
        self,
        matrix: &'s dyn Rows,
        (first, panels): (usize, usize),
        scratch: &'s mut Vec<f32>,
    ) -> &'s [f32] {
        let ready = match self {
            Self::Floats => matrix.ready(first, panels),
            Self::Brain(_) => matrix.brain(first, panels),
        };
        if let Some(ready) = ready {
            return ready;
        }
        let columns = matrix.shape().1;
        let size = self.width(columns) * PANEL;
        scratch.resize(panels * size, 0.0);
        let mut unpacked = Vec::new();
        for (index, panel) in scratch.chunks_exact_mut(size).enumerate() {
            let first = first + index * PANEL;
            if let Self::Floats = self {
                matrix.panel(first, panel);
            } else {
                unpacked.resize(columns * PANEL, 0.0);
                matrix.panel(first, &mut unpacked);
                pair_columns(&unpacked, panel);
            }
        }
        scratch
    }

    /// Places of so many columns.
    fn width(self, columns: usize) -> usize {
        match self {
            Self::Floats => columns,
            Self::Brain(_) => columns / 2,
        }
    }

    /// Products of one or two panels `(columns, 16)` with a tile of tokens `(columns, tokens)`; those of a
    /// second that is not there are of no use.
    fn products(
        self,
        [first, second]: [&[f32]; 2],
        inputs: &[f32],
        columns: usize,
    ) -> [[Lanes; WIDTH]; 2] {
        let width = inputs.len() / columns;
        let mut products = [[[0.0; PANEL]; WIDTH]; 2];
        if let (Self::Floats, true) = (self, second.is_empty()) {
            (primitives().tile)(first, inputs, width, &mut products[0][..width]);
            return products;
        }
        let out = products.each_mut().map(|products| &mut products[..width]);
        let second = if second.is_empty() { first } else { second };
        match self {
            Self::Floats => (primitives().tile_pair)([first, second], inputs, out),
            Self::Brain(pair) => pair([first, second], inputs, out),
        }
        products
    }
}

/// Two brain floats in the place of an f32.
fn pair(first: f32, second: f32) -> f32 {
    f32::from_bits(first.to_bits() >> 16 | second.to_bits() & 0xffff_0000)
}

/// Neighbouring columns `(columns, 16)` likewise.
pub(super) fn pair_columns(values: &[f32], out: &mut [f32]) {
    let (values, _) = values.as_chunks::<PANEL>();
    let (out, _) = out.as_chunks_mut::<PANEL>();
    for (columns, out) in values.chunks_exact(2).zip(out) {
        for ((out, first), second) in out.iter_mut().zip(&columns[0]).zip(&columns[1]) {
            *out = pair(*first, *second);
        }
    }
}

/// The activations of some tokens.
#[derive(Clone, Copy)]
pub(super) enum Inputs<'a> {
    F32(&'a [f32]),
    /// Rounded already.
    Brain(&'a [bf16]),
}

impl<'a> Inputs<'a> {
    pub(super) fn len(self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Brain(values) => values.len(),
        }
    }

    /// Of one of the tiles of so many values, the last of which may be shorter.
    pub(super) fn tile(self, tile: usize, length: usize) -> Self {
        let values = tile * length..self.len().min((tile + 1) * length);
        match self {
            Self::F32(all) => Self::F32(&all[values]),
            Self::Brain(all) => Self::Brain(&all[values]),
        }
    }

    /// As f32, rounded to a type.
    fn rounded(self, dtype: DType) -> Cow<'a, [f32]> {
        match self {
            Self::F32(values) if dtype == DType::F32 => Cow::Borrowed(values),
            Self::F32(values) => {
                let mut values = values.to_vec();
                round(&mut values, dtype);
                Cow::Owned(values)
            }
            Self::Brain(values) => {
                let mut wide = vec![0.0; values.len()];
                widen(values, &mut wide);
                round(&mut wide, dtype);
                Cow::Owned(wide)
            }
        }
    }
}

fn multiply_many<T: Given>(matrix: &dyn Rows, inputs: Inputs, finish: Finish) -> Vec<T> {
    let (rows, columns) = matrix.shape();
    let tokens = inputs.len() / columns;
    let tiles = Tiles::of(matrix);
    // As many tokens as fit the registers, and tiles as even as can be.
    let widest = primitives().tile_tokens;
    let width = tokens.div_ceil(tokens.div_ceil(widest));
    let inputs = turned_tiles(inputs, columns, width, (tiles, input_dtype(matrix)));
    let columns = tiles.width(columns);
    let left = finish.left(rows);
    let jobs = Jobs::of(matrix, &finish);
    let parts = jobs.tokens(tokens, width, tiles.are_ready(matrix));
    new_blocks(tokens, &jobs.blocks(&parts), &|(part, job), stripe| {
        let mut scratch = [Vec::new(), Vec::new()];
        let [first, second] = &mut scratch;
        let (gates, ups) = jobs.panels(job);
        let weights = tiles.weights(matrix, gates, first);
        let others = ups.map(|ups| tiles.weights(matrix, ups, second));
        let mut given = [[[T::default(); PANEL]; WIDTH]; 2];
        let part = parts[part].clone();
        let inputs = &inputs[part.start * columns..part.end * columns];
        for (tile, inputs) in inputs.chunks(width * columns).enumerate() {
            let count = inputs.len() / columns;
            for (pair, panels) in panel_pairs(weights, others, columns * PANEL).enumerate() {
                let place = jobs.place(job, pair);
                let mut products = tiles.products(panels, inputs, columns);
                for (row, products) in place.rows.into_iter().zip(&mut products) {
                    if row < rows {
                        finish.lanes(row, &mut products[..count]);
                    }
                }
                let [one, other] = products.each_mut().map(|products| &mut products[..count]);
                let first = part.start + tile * width;
                finish.pair((first, place.row, left), [&mut *one, &mut *other]);
                let [one_given, other_given] = &mut given;
                let given = [T::lanes(one, one_given), T::lanes(other, other_given)];
                for token in 0..count {
                    let row = &mut stripe.row(tile * width + token)[place.column..];
                    put(given, token, row, place.panels);
                }
            }
        }
    })
}

/// Panels of so many values in pairs: neighbours, the last without one, or each with one of others.
fn panel_pairs<'w>(
    panels: &'w [f32],
    others: Option<&'w [f32]>,
    length: usize,
) -> impl Iterator<Item = [&'w [f32]; 2]> {
    let at_once = if others.is_some() { 1 } else { 2 };
    let pairs = panels.chunks(at_once * length).enumerate();
    pairs.map(move |(index, pair)| {
        let (first, second) = pair.split_at(length);
        [
            first,
            others.map_or(second, |others| &others[index * length..][..length]),
        ]
    })
}

/// Puts a token's products with so many panels to the beginning of a row, as many as it has room for.
pub(super) fn put<T: Given>(
    products: [&[[T; PANEL]]; 2],
    token: usize,
    row: &mut [T],
    panels: usize,
) {
    // Copies of a known length: calls for so few bytes took a tenth of the time of all.
    let (whole, rest) = row.as_chunks_mut::<PANEL>();
    for (row, lanes) in whole.iter_mut().zip(&products[..panels]) {
        *row = lanes[token];
    }
    if let Some(lanes) = products[..panels].get(whole.len()) {
        rest.copy_from_slice(&lanes[token][..rest.len()]);
    }
}

/// Tokens in tiles of so many, rounded to a type and each turned round to `(columns, tokens)`.
fn turned_tiles(
    inputs: Inputs,
    columns: usize,
    width: usize,
    (tiles, dtype): (Tiles, DType),
) -> Vec<f32> {
    let tokens = inputs.len() / columns;
    let placed = tiles.width(columns);
    let mut turned = vec![0.0; tokens * placed];
    share_pieces(&mut turned, width * placed, &|tile, out| {
        let count = out.len() / placed;
        let inputs = inputs.tile(tile, width * columns);
        let values = match (tiles, inputs) {
            (Tiles::Floats, _) => inputs.rounded(dtype),
            (Tiles::Brain(_), Inputs::Brain(values)) => {
                let pairs = values.as_chunks().0.iter();
                Cow::Owned(pairs.map(|pair| both(*pair)).collect())
            }
            (Tiles::Brain(_), Inputs::F32(_)) => {
                let rounded = inputs.rounded(dtype);
                let pairs = rounded.as_chunks().0.iter();
                Cow::Owned(pairs.map(|[first, second]| pair(*first, *second)).collect())
            }
        };
        (primitives().turn)(&values, placed, count, out);
    });
    turned
}

/// The type that a matrix has its activations rounded to.
pub(crate) fn input_dtype(matrix: &dyn Rows) -> DType {
    match matrix.rounding() {
        DType::F32 if matrix.rounds_to_brain() => DType::BF16,
        dtype => dtype,
    }
}

struct Product<'a>(&'a dyn Rows, Finish<'a>);

impl CustomOp1 for Product<'_> {
    fn name(&self) -> &'static str {
        "packed-matrix-product"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (inputs, shape) = self.inputs(storage, layout)?;
        let out = given!(self.1.gives, T => self.made::<T>(inputs));
        Ok((out, shape))
    }
}

/// Added to a second tensor.
impl CustomOp2 for Product<'_> {
    fn name(&self) -> &'static str {
        "packed-matrix-product-sum"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
        sum: &CpuStorage,
        sum_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (inputs, shape) = self.inputs(storage, layout)?;
        let sum = match sum_layout.contiguous_offsets() {
            Some((start, end)) if *sum_layout.shape() == shape => {
                &sum.as_slice::<f32>()?[start..end]
            }
            _ => bail!(
                "a product {shape:?} and {:?} are no sum",
                sum_layout.shape()
            ),
        };
        let finish = Finish {
            sum: Some(sum),
            ..self.1
        };
        let product = Product(self.0, finish);
        let out = given!(finish.gives, T => product.made::<T>(inputs));
        Ok((out, shape))
    }
}

impl<'a> Product<'a> {
    fn of(matrix: &'a dyn Rows, finish: Finish<'a>) -> Self {
        let rounding = matrix.rounding();
        Self(matrix, Finish { rounding, ..finish })
    }

    /// The activations, and the shape of what comes of them.
    fn inputs<'x>(&self, storage: &'x CpuStorage, layout: &Layout) -> Result<(Inputs<'x>, Shape)> {
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
        let inputs = match storage {
            CpuStorage::BF16(values) => Inputs::Brain(&values[start..end]),
            _ => Inputs::F32(&storage.as_slice::<f32>()?[start..end]),
        };
        shape.push(self.1.left(rows));
        Ok((inputs, Shape::from(shape)))
    }

    fn made<T: Given>(&self, inputs: Inputs) -> Vec<T> {
        let Self(matrix, finish) = *self;
        let columns = matrix.shape().1;
        match inputs.len() / columns {
            0 => Vec::new(),
            _ if matrix.rounds() => {
                let mut out = multiply_rounded(matrix, &inputs.rounded(DType::F32));
                let rows = out.chunks_exact_mut(matrix.shape().0);
                rows.for_each(|row| finish.row(row));
                self.rest(out)
            }
            1..=FEW if matrix.ready(0, 1).is_none() => {
                let inputs = inputs.rounded(input_dtype(matrix));
                self.rest(multiply_few(matrix, &inputs, finish))
            }
            _ => match primitives().squares {
                Some(squares) if matrix.is_brain() => squares.products(matrix, inputs, finish),
                _ => multiply_many(matrix, inputs, finish),
            },
        }
    }

    /// What follows from the gate on, of products that are finished up to it.
    fn rest<T: Given>(&self, products: Vec<f32>) -> Vec<T> {
        T::from_wide(self.1.whole(products, self.0.shape().0))
    }
}
