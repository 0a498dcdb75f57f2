//! Launches of products of `four_bit.cu` and `blocks.cu`: of packed matrices with some tokens. Unsafe for what a launch
//! is: a card reads and writes whatever its kernels' arguments say.

use std::cell::RefCell;

use candle_core::{DType, Result, Tensor, bail};

use super::{
    Text, address, address_of, card, start,
    unsafe_launch::{
        Argument::{self, Address, Count},
        empty, grid, launch,
    },
    unsafe_values::{four_bit_text, tables, text_of},
};
use crate::{
    cuda::short_dtype,
    layers::{BlocksOnDevice, FourBitOnDevice, Put, Weight},
    weights::Format,
};

/// Threads of a block of a product, rows that a block makes, and values that a lane takes at once: those of the kernels.
const THREADS: usize = 256;
const ROWS: usize = 32;
pub(super) const LANE_VALUES: usize = 32;
/// Tokens up to which a matrix can be multiplied in registers as it lies, and up to which that is less work, counted in
/// instructions, than tensor cores' tiles where both give the same numbers.
const FEW_TOKENS: usize = 8;
const FEWER_TOKENS: usize = 4;
/// Tokens up to which numbers of 16 bits are made of it there, which tensor cores multiply; of more, values are made of the
/// whole matrix for a library's product. Each 32 tokens read the matrix anew: still less than to write values and read them.
const MOST_TOKENS: usize = 64;
/// Tokens of a tile of tensor cores, and of a block; columns that four lanes take, and bytes of those of a tile.
const TILE: usize = 8;
const TILED_TOKENS: usize = 32;
const STEP: usize = 4 * LANE_VALUES;
const STEP_BYTES: usize = STEP * TILE * 2;

/// Puts `x · Wᵀ` where it is to go, from f32 `(tokens, in_features)`. Does not where [`puts_four_bit`] is `None`, and says
/// so.
pub(crate) fn put_four_bit(matrix: &FourBitOnDevice, x: &Tensor, put: &Put) -> Result<bool> {
    let Some(known) = four_bit(matrix)?.taking(x.dim(0)?) else {
        return Ok(false);
    };
    // SAFETY: the kernels read the codes, scales and tables of the matrix, which has them for its shape.
    unsafe { product(&known, tables(matrix)?, (x, put))? };
    Ok(true)
}

/// The shape of a matrix, where [`put_four_bit`] takes so many tokens.
pub(crate) fn puts_four_bit(matrix: &FourBitOnDevice, tokens: usize) -> Option<(usize, usize)> {
    Some(four_bit(matrix).ok()?.taking(tokens)?.shape)
}

fn four_bit(matrix: &FourBitOnDevice) -> Result<Known> {
    let (text, kind) = four_bit_text(matrix.dtype)?;
    Ok(Known {
        text,
        name: "four_bit",
        few: format!("multiply_four_bit_{kind}"),
        dtypes: (matrix.dtype, matrix.dtype),
        most: MOST_TOKENS,
        shape: matrix.shape,
        is_whole: matrix.block.is_multiple_of(LANE_VALUES) && matrix.block.is_power_of_two(),
    })
}

/// The same with blocks: a few tokens with activations as they are, more in the type that products of many are computed
/// in.
pub(crate) fn put_block(matrix: &BlocksOnDevice, x: &Tensor, put: &Put) -> Result<bool> {
    let Some(known) = block(matrix)?.taking(x.dim(0)?) else {
        return Ok(false);
    };
    let packed = vec![Address(address(&matrix.packed, DType::U8)?)];
    // SAFETY: the kernels read the blocks of the matrix, which has as many as its shape says.
    unsafe { product(&known, packed, (x, put))? };
    Ok(true)
}

/// The shape of a matrix, where [`put_block`] takes so many tokens.
pub(crate) fn puts_block(matrix: &BlocksOnDevice, tokens: usize) -> Option<(usize, usize)> {
    Some(block(matrix).ok()?.taking(tokens)?.shape)
}

fn block(matrix: &BlocksOnDevice) -> Result<Known> {
    let (text, name) = text_of(matrix.format)?;
    Ok(Known {
        text,
        name,
        few: format!("multiply_{name}"),
        dtypes: (DType::F32, matrix.dtype),
        most: MOST_TOKENS,
        shape: matrix.shape,
        is_whole: true,
    })
}

/// The same with floats of 16 bits, with tokens and products rounded to their type.
pub(crate) fn put_floats(matrix: &Tensor, x: &Tensor, put: &Put) -> Result<bool> {
    let Some(known) = floats(matrix)?.and_then(|known| known.taking(x.dims()[0])) else {
        return Ok(false);
    };
    let packed = vec![Address(address(matrix, matrix.dtype())?)];
    // SAFETY: the kernels read the values of the matrix.
    unsafe { product(&known, packed, (x, put))? };
    Ok(true)
}

/// The shape of a matrix, where [`put_floats`] takes so many tokens.
pub(crate) fn puts_floats(matrix: &Tensor, tokens: usize) -> Option<(usize, usize)> {
    Some(floats(matrix).ok()??.taking(tokens)?.shape)
}

/// `None` of other floats, and of such that do not lie row by row.
fn floats(matrix: &Tensor) -> Result<Option<Known>> {
    let format = match matrix.dtype() {
        DType::F16 if matrix.is_contiguous() => Format::F16,
        DType::BF16 if matrix.is_contiguous() => Format::BF16,
        _ => return Ok(None),
    };
    let (text, name) = text_of(format)?;
    Ok(Some(Known {
        text,
        name,
        few: format!("multiply_rounded_{name}"),
        dtypes: (matrix.dtype(), matrix.dtype()),
        // There are no values to make: reading them twice is no gain.
        most: TILED_TOKENS,
        shape: matrix.dims2()?,
        is_whole: true,
    }))
}

/// The kernels of a matrix.
struct Known {
    text: Text,
    /// In names of those that multiply by tiles.
    name: &'static str,
    /// Those of few tokens, but for how many.
    few: String,
    /// What products of few and of more tokens are computed in.
    dtypes: (DType, DType),
    /// Tokens at most by tiles.
    most: usize,
    shape: (usize, usize),
    /// Whether a lane's values lie in one block.
    is_whole: bool,
}

impl Known {
    /// The same, where a kernel takes so many tokens.
    fn taking(self, tokens: usize) -> Option<Self> {
        self.takes(tokens).then_some(self)
    }

    fn takes(&self, tokens: usize) -> bool {
        let most = if self.has_tiles() {
            self.most
        } else {
            FEW_TOKENS
        };
        let is_whole = self.is_whole && self.shape.1.is_multiple_of(LANE_VALUES);
        is_whole && (1..=most).contains(&tokens)
    }

    /// Whether there are kernels by tiles: in types of 16 bits that tensor cores have.
    fn has_tiles(&self) -> bool {
        [DType::F16, short_dtype()].contains(&self.dtypes.1)
    }

    /// Whether so many tokens are multiplied by tiles.
    fn tiles(&self, tokens: usize) -> bool {
        let few = if self.dtypes.0 == self.dtypes.1 {
            FEWER_TOKENS
        } else {
            FEW_TOKENS
        };
        self.has_tiles() && tokens > few
    }

    /// The type of tiles, in names of kernels.
    fn tile_kind(&self) -> &'static str {
        match self.dtypes.1 {
            DType::F16 => "f16",
            _ => "bf16",
        }
    }
}

/// What layers make of f32 `(tokens, in_features)`, side by side, `(tokens, the sum of their out_features)`, with their
/// biases, added to another of that shape; `None` where kernels do not serve all of them.
pub(crate) fn put_all(
    layers: &[(&dyn Weight, Option<&Tensor>)],
    x: &Tensor,
    added: Option<&Tensor>,
) -> Result<Option<Tensor>> {
    let tokens = x.dim(0)?;
    let shapes = layers.iter().map(|(weight, _)| weight.puts(tokens));
    let Some(shapes) = shapes.collect::<Option<Vec<_>>>() else {
        return Ok(None);
    };
    // What is added is of all columns; kernels know those of one matrix.
    if added.is_some() && layers.len() > 1 {
        return Ok(None);
    }
    let width = shapes.iter().map(|(rows, _)| rows).sum::<usize>();
    // SAFETY: each layer writes its columns, or nobody gets to see them.
    let out = unsafe { empty((tokens, width), DType::F32, x.device())? };
    let laid = RefCell::default();
    let mut first = 0;
    for ((weight, bias), (rows, _)) in layers.iter().zip(shapes) {
        let put = Put {
            out: &out,
            first,
            bias: *bias,
            added,
            laid: &laid,
        };
        if !weight.put(x, &put)? {
            return Ok(None);
        }
        first += rows;
    }
    Ok(Some(out))
}

/// A product by the kernel that takes so many tokens.
///
/// # Safety
/// The kernels take such a matrix, of which the arguments tell what it has for its shape.
unsafe fn product(
    known: &Known,
    mut arguments: Vec<Argument>,
    (x, put): (&Tensor, &Put),
) -> Result<()> {
    let (rows, columns) = known.shape;
    let (tokens, width) = x.dims2()?;
    let (out_tokens, stride) = put.out.dims2()?;
    let fits = width == columns
        && known.takes(tokens)
        && out_tokens == tokens
        // Kernels take four values at once.
        && x.layout().start_offset().is_multiple_of(4)
        && put.first + rows <= stride
        && put.bias.is_none_or(|bias| bias.dims() == [rows])
        && put.added.is_none_or(|added| added.dims() == [tokens, rows]);
    if !fits {
        bail!(
            "a ({rows}, {columns}) matrix got {:?} for {put:?}",
            x.shape()
        );
    }
    let x = x.contiguous()?;
    let out = address(put.out, DType::F32)? + (put.first * size_of::<f32>()) as u64;
    arguments.extend([
        Count(rows as u32),
        Count(columns as u32),
        Count(tokens as u32),
    ]);
    let row_blocks = rows.div_ceil(ROWS);
    let (name, blocks) = if known.tiles(tokens) {
        arguments.push(Address(start(&laid(known, &x, put)?)?));
        let name = format!("multiply_tiles_{}_{}", known.name, known.tile_kind());
        // Groups of tokens beside each other: rows of a matrix are read again while they are near.
        (name, (tokens.div_ceil(TILED_TOKENS), row_blocks, 1))
    } else {
        arguments.push(Address(address(&x, DType::F32)?));
        let name = format!("{}_{}", known.few, tokens.next_power_of_two());
        (name, (row_blocks, 1, 1))
    };
    arguments.extend([
        Address(address_of(put.bias)?),
        Address(address_of(put.added)?),
        Address(out),
        Count(stride as u32),
    ]);
    let grid = grid(blocks, THREADS);
    // SAFETY: beside the matrix, of which the caller knows, the kernel reads `tokens` times `columns` values, as they are
    // or laid for tiles, a bias and summands for its rows, and writes its rows' columns of what is to hold it: as was seen
    // to be there.
    unsafe { launch(card(&x)?, (&known.text, &name), grid, &arguments) }
}

/// Tokens as products by tiles read them, contiguous f32 `(tokens, columns)` before; or as they were laid for an earlier
/// product. What is laid stays with the put, until its products are launched.
fn laid(known: &Known, x: &Tensor, put: &Put) -> Result<Tensor> {
    let name = format!("arrange_{}_{}", known.name, known.tile_kind());
    let mut all = put.laid.borrow_mut();
    if let Some((_, laid)) = all.iter().find(|(of, _)| *of == name) {
        return Ok(laid.clone());
    }
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
    unsafe { launch(card(x)?, (&known.text, &name), grid, &arguments)? };
    all.push((name, out.clone()));
    Ok(out)
}
