//! Launches of products of `four_bit.cu` and `blocks.cu`: of packed matrices with some tokens, and of what belongs
//! together around them. Unsafe for what a launch is: a card reads and writes whatever its kernels' arguments say.

use candle_core::{
    DType, Result, Tensor, bail,
    cuda_backend::cudarc::driver::{DeviceRepr, LaunchConfig},
};

use super::{
    address, address_of, card, gate,
    known::{How, Known, LANE_VALUES, Matrix, TILED_TOKENS},
    start,
    unsafe_gate::number_of,
    unsafe_launch::{
        Argument::{Address, Count},
        empty, grid, launch, launch_with,
    },
};
use crate::{
    kernels::Fused,
    layers::{Norm, Packed},
};

/// Threads of a block of a product, rows that a block makes, and those of either matrix that kernels of few tokens make
/// where one gates the other: those of the kernels.
const THREADS: usize = 256;
const ROWS: usize = 32;
const GATED_ROWS: usize = 16;
/// Tokens of a tile of tensor cores; columns that four lanes take, and bytes of those of a tile.
const TILE: usize = 8;
const STEP: usize = 4 * LANE_VALUES;
const STEP_BYTES: usize = STEP * TILE * 2;
/// Matrices of a launch.
const MOST_MATRICES: usize = 3;
/// Bytes that kernels take at once.
const ALIGNED: u64 = 16;
/// Of no gate, to the kernels.
const UNGATED: i32 = -1;

/// What is done to the tokens before a product and to what comes of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Around<'a> {
    /// What they go through.
    pub norm: Option<&'a Norm>,
    /// `(tokens, out_features)`, added to what comes of a single layer.
    pub added: Option<&'a Tensor>,
    /// What the first half of all that comes goes through before it multiplies the other half.
    pub gate: Option<Fused>,
}

/// What layers make of f32 `(tokens, in_features)`, side by side, `(tokens, the sum of their out_features)`, with their
/// biases, or half as wide where there is a gate; `None` where kernels do not serve all of them.
pub(crate) fn put_all(
    layers: &[(Packed, Option<&Tensor>)],
    x: &Tensor,
    around: Around,
) -> Result<Option<Tensor>> {
    let (tokens, columns) = x.dims2()?;
    // What is added is of all columns; kernels know those of one matrix.
    let adds = around.added.is_none() || layers.len() == 1 && around.gate.is_none();
    let known = layers.iter().map(|(packed, _)| Known::of(packed));
    let known: Vec<Known> = known.collect::<Result<_>>()?;
    if !adds || !known.iter().all(|known| known.how(tokens).is_some()) {
        return Ok(None);
    }
    let rows = known.iter().map(|known| known.shape.0).sum::<usize>();
    let shape = around.added.map(Tensor::dims);
    if known.iter().any(|known| known.shape.1 != columns)
        || shape.is_some_and(|shape| shape != [tokens, rows])
    {
        bail!("products of {:?} with {known:?}, {around:?}", x.shape());
    }
    let mut input = Input::of(x, around.norm)?;
    let halves = around.gate.and_then(|_| halves(&known, layers));
    let halves = halves.transpose()?;
    let width = if halves.is_some() { rows / 2 } else { rows };
    // SAFETY: each launch writes its matrices' columns, which are all together.
    let out = unsafe { empty((tokens, width), DType::F32, x.device())? };
    if let Some(halves) = halves {
        let place = Place {
            gate: around.gate,
            ..Place::of(&out)
        };
        // SAFETY: the matrices are there, each of half of the rows.
        unsafe { product(&known[0], &halves, &mut input, place)? };
        return Ok(Some(out));
    }
    side_by_side((&known, layers), &mut input, around.added, &out)?;
    match around.gate {
        Some(activation) => gate(&out, activation).map(Some),
        None => Ok(Some(out)),
    }
}

/// Products beside each other, as many by a launch as go together.
fn side_by_side(
    (known, layers): (&[Known], &[(Packed, Option<&Tensor>)]),
    input: &mut Input,
    added: Option<&Tensor>,
    out: &Tensor,
) -> Result<()> {
    let mut rest = known.iter().zip(layers).peekable();
    let mut first = 0;
    while let Some((leader, (_, bias))) = rest.next() {
        let mut together = vec![leader.matrix(*bias, 0, leader.shape.0)?];
        while together.len() < MOST_MATRICES {
            let next = rest.next_if(|(known, _)| leader.goes_with(known));
            let Some((known, (_, bias))) = next else {
                break;
            };
            together.push(known.matrix(*bias, 0, known.shape.0)?);
        }
        let place = Place {
            first,
            added,
            ..Place::of(out)
        };
        first += together
            .iter()
            .map(|matrix| matrix.rows as usize)
            .sum::<usize>();
        // SAFETY: the matrices are there, and what comes of them has room from the first column that is not taken.
        unsafe { product(leader, &together, input, place)? };
    }
    Ok(())
}

/// Both matrices of a gate, where a launch takes them: of two layers, or the halves of one's rows.
fn halves(known: &[Known], layers: &[(Packed, Option<&Tensor>)]) -> Option<Result<[Matrix; 2]>> {
    match (known, layers) {
        ([gate, up], [(_, gate_bias), (_, up_bias)])
            if gate.goes_with(up) && gate.shape == up.shape =>
        {
            let rows = gate.shape.0;
            let both = |gate| Ok([gate?, up.matrix(*up_bias, 0, rows)?]);
            Some(both(gate.matrix(*gate_bias, 0, rows)))
        }
        ([both], [(_, bias)]) if both.shape.0.is_multiple_of(2) => {
            let rows = both.shape.0 / 2;
            let half = |from| {
                let bias = bias.map(|bias| bias.narrow(0, from, rows)).transpose()?;
                both.matrix(bias.as_ref(), from, rows)
            };
            let halves = |upper| Ok([upper?, half(rows)?]);
            Some(halves(half(0)))
        }
        _ => None,
    }
}

/// `Product` of the kernels.
#[repr(C)]
struct Product {
    all: [Matrix; MOST_MATRICES],
    x: u64,
    norm: u64,
    added: u64,
    y: u64,
    epsilon: f32,
    gate: i32,
    count: u32,
    columns: u32,
    tokens: u32,
    stride: u32,
}

const _: () = assert!(size_of::<Product>() == 248, "as in product.cuh");

// SAFETY: the kernels' struct has the same fields in the same order, by C's rules.
unsafe impl DeviceRepr for Product {}

/// What all launches of some layers multiply with.
struct Input<'a> {
    /// Contiguous f32 `(tokens, columns)`.
    x: Tensor,
    /// What kernels normalise it by: of a single token.
    norm: Option<(&'a Tensor, f32)>,
    /// The same as kernels had it laid for products by tiles, by the kernel's name; there until these are launched.
    laid: Vec<(String, Tensor)>,
}

impl<'a> Input<'a> {
    /// Tokens before a norm.
    fn of(x: &Tensor, norm: Option<&'a Norm>) -> Result<Self> {
        let (tokens, columns) = x.dims2()?;
        let takes = |weight: &Tensor| {
            let is_aligned = |at| at % ALIGNED == 0;
            tokens == 1
                && weight.dims() == [columns]
                && address(weight, DType::F32).is_ok_and(is_aligned)
        };
        let (x, norm) = match norm {
            Some(Norm::Rms(norm)) if takes(norm.parts().0) => (x.contiguous()?, Some(norm.parts())),
            Some(norm) => (norm.forward(&x.contiguous()?)?, None),
            None => (x.contiguous()?, None),
        };
        Ok(Self {
            x,
            norm,
            laid: Vec::new(),
        })
    }
}

impl Input<'_> {
    /// Tokens as products by tiles read them.
    fn laid(&mut self, known: &Known) -> Result<&Tensor> {
        let name = format!("arrange_{}_{}", known.name, known.tile_kind());
        let known_place = self.laid.iter().position(|(of, _)| *of == name);
        let place = if let Some(place) = known_place {
            place
        } else {
            let laid = arranged(known, &name, &self.x)?;
            self.laid.push((name, laid));
            self.laid.len() - 1
        };
        Ok(&self.laid[place].1)
    }
}

fn arranged(known: &Known, name: &str, x: &Tensor) -> Result<Tensor> {
    let (tokens, columns) = x.dims2()?;
    let bytes = columns.div_ceil(STEP) * tokens.div_ceil(TILE) * STEP_BYTES;
    // SAFETY: the kernel writes all of it.
    let out = unsafe { empty(bytes, DType::U8, x.device())? };
    let arguments = [
        Address(address(x, DType::F32)?),
        Count(columns as u32),
        Count(tokens as u32),
        Address(start(&out)?),
    ];
    // A thread makes eight numbers.
    let grid = grid(((bytes / 16).div_ceil(THREADS), 1, 1), THREADS);
    // SAFETY: the kernel reads `tokens` times `columns` values and writes all steps of all tiles.
    unsafe { launch(card(x)?, (&known.text, name), grid, &arguments)? };
    Ok(out)
}

/// Where what comes of a launch goes.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// `(tokens, width)`.
    out: &'a Tensor,
    /// The first column that is written.
    first: usize,
    /// Added to what comes of a single matrix.
    added: Option<&'a Tensor>,
    /// What comes of the first matrix goes through it, and multiplies what comes of the second.
    gate: Option<Fused>,
}

impl<'a> Place<'a> {
    fn of(out: &'a Tensor) -> Self {
        Self {
            out,
            first: 0,
            added: None,
            gate: None,
        }
    }
}

/// Products with matrices that a launch serves, side by side or of a gate.
///
/// # Safety
/// The matrices have so many rows, with as many columns as the tokens; from the place's first column on there is room for
/// what comes of them, and what is added has its shape.
unsafe fn product(
    known: &Known,
    matrices: &[Matrix],
    input: &mut Input,
    place: Place,
) -> Result<()> {
    let (tokens, columns) = input.x.dims2()?;
    let Some(how) = known.how(tokens) else {
        bail!("no kernel multiplies {tokens} tokens with {known:?}");
    };
    let x = match how {
        How::Few | How::Tile => address(&input.x, DType::F32)?,
        How::Tiles => start(input.laid(known)?)?,
    };
    if x % ALIGNED != 0 {
        bail!("tokens of a product lie at {x:#x}");
    }
    let (name, grid) = kernel_of(known, how, (tokens, matrices, place.gate.is_some()));
    let (norm, epsilon) = match input.norm {
        Some((weight, epsilon)) => (address(weight, DType::F32)?, epsilon),
        None => (0, 0.0),
    };
    let mut all = [Matrix::default(); MOST_MATRICES];
    all[..matrices.len()].copy_from_slice(matrices);
    let argument = Product {
        all,
        x,
        norm,
        added: address_of(place.added)?,
        y: address(place.out, DType::F32)? + (place.first * size_of::<f32>()) as u64,
        epsilon,
        gate: place.gate.map_or(UNGATED, number_of),
        count: matrices.len() as u32,
        columns: columns as u32,
        tokens: tokens as u32,
        stride: place.out.dim(1)? as u32,
    };
    let kernel = (&known.text, name.as_str());
    // SAFETY: beside the matrices, of which the caller knows, the kernel reads `tokens` times `columns` values, as they are
    // or laid for tiles, weights of a norm, biases and summands for its rows, and writes their columns of what is to hold
    // them.
    unsafe { launch_with(card(&input.x)?, kernel, grid, &argument) }
}

/// The kernel that multiplies so many tokens, by its name, and how it is launched.
fn kernel_of(
    known: &Known,
    how: How,
    (tokens, matrices, is_gated): (usize, &[Matrix], bool),
) -> (String, LaunchConfig) {
    // Of a gate, rows of either matrix at once.
    let (counted, height) = match (is_gated, how) {
        (false, _) => (matrices, ROWS),
        (true, How::Few) => (&matrices[..1], GATED_ROWS),
        (true, How::Tile | How::Tiles) => (&matrices[..1], ROWS),
    };
    let blocks = counted
        .iter()
        .map(|matrix| (matrix.rows as usize).div_ceil(height))
        .sum::<usize>();
    let (name, kind) = (known.name, known.tile_kind());
    let (name, blocks) = match how {
        How::Few => {
            let name = format!("{}_{}", known.few, tokens.next_power_of_two());
            (name, (blocks, 1, 1))
        }
        How::Tile => (format!("multiply_tile_{name}_{kind}"), (blocks, 1, 1)),
        // Groups of tokens beside each other: rows of a matrix are read again while they are near.
        How::Tiles => {
            let name = format!("multiply_tiles_{name}_{kind}");
            (name, (tokens.div_ceil(TILED_TOKENS), blocks, 1))
        }
    };
    (name, grid(blocks, THREADS))
}
