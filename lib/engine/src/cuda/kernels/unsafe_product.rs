//! Launches of `four_bit.cu` and `blocks.cu`: products of packed matrices with a few tokens, and their values. Unsafe for
//! what a launch is: a card reads and writes whatever its kernels' arguments say.

use candle_core::{DType, Result, Tensor, bail};

use super::{
    Text, address, address_of, card, kind, start, text,
    unsafe_launch::{
        Argument::{self, Address, Count, Kind, Long, Value},
        empty, grid, launch,
    },
};
use crate::{
    cuda::short_dtype,
    layers::{BlocksOnDevice, FourBitOnDevice, Put, Scales, Weight},
    weights::Format,
};

pub(super) const FOUR_BIT: Text = text!("four_bit");

/// Threads of a block of a product, rows that a block makes, and values that a lane takes at once: those of the kernels.
const THREADS: usize = 256;
const ROWS: usize = 32;
const LANE_VALUES: usize = 32;
/// Tokens up to which a matrix is multiplied in registers as it lies.
const FEW_TOKENS: usize = 8;
/// Tokens up to which it becomes numbers of 16 bits there, for tensor cores; of more, values are made for their libraries'
/// products. Each 32 read the matrix anew, where values are written and read.
const MOST_TOKENS: usize = 64;
/// Tokens of a tile of tensor cores, and of a block; columns that four lanes take, and bytes of those of a tile.
const TILE: usize = 8;
const TILED_TOKENS: usize = 32;
const STEP: usize = 4 * LANE_VALUES;
const STEP_BYTES: usize = STEP * TILE * 2;
/// Threads of a block that makes values, of which a thread makes two of codes, and a lane's of blocks.
const VALUE_THREADS: usize = 256;

/// Puts `x · Wᵀ` where it is to go, from f32 `(tokens, in_features)`; says whether it did: not of more tokens, or
/// another shape, than the kernel takes.
pub(crate) fn put_four_bit(matrix: &FourBitOnDevice, x: &Tensor, put: &Put) -> Result<bool> {
    let is_whole =
        matrix.shape.1.is_multiple_of(LANE_VALUES) && matrix.block.is_multiple_of(LANE_VALUES);
    let few = match matrix.dtype {
        DType::F32 => "multiply_four_bit",
        _ => "multiply_rounded_four_bit",
    };
    let known = Known {
        text: &FOUR_BIT,
        name: "four_bit",
        few,
        dtypes: (matrix.dtype, matrix.dtype),
        shape: matrix.shape,
    };
    if !is_whole || !known.takes(x)? {
        return Ok(false);
    }
    // SAFETY: the kernels read the codes, scales and tables of the matrix, which has them for its shape.
    unsafe { product(&known, tables(matrix)?, (x, put))? };
    Ok(true)
}

/// The same with blocks: a few tokens with activations as they are, more in the type that products of many are computed
/// in.
pub(crate) fn put_block(matrix: &BlocksOnDevice, x: &Tensor, put: &Put) -> Result<bool> {
    let (text, name) = text_of(matrix.format)?;
    let known = Known {
        text: &text,
        name,
        few: &format!("multiply_{name}"),
        dtypes: (DType::F32, matrix.dtype),
        shape: matrix.shape,
    };
    if !known.takes(x)? {
        return Ok(false);
    }
    let packed = vec![Address(address(&matrix.packed, DType::U8)?)];
    // SAFETY: the kernels read the blocks of the matrix, which has as many as its shape says.
    unsafe { product(&known, packed, (x, put))? };
    Ok(true)
}

/// The same with floats of 16 bits, with tokens and products rounded to their type.
pub(crate) fn put_floats(matrix: &Tensor, x: &Tensor, put: &Put) -> Result<bool> {
    if !puts_floats(matrix) {
        return Ok(false);
    }
    let format = match matrix.dtype() {
        DType::F16 => Format::F16,
        _ => Format::BF16,
    };
    let (text, name) = text_of(format)?;
    let known = Known {
        text: &text,
        name,
        few: &format!("multiply_{name}"),
        dtypes: (matrix.dtype(), matrix.dtype()),
        shape: matrix.dims2()?,
    };
    if !known.takes(x)? {
        return Ok(false);
    }
    let packed = vec![Address(address(matrix, matrix.dtype())?)];
    // SAFETY: the kernels read the values of the matrix.
    unsafe { product(&known, packed, (x, put))? };
    Ok(true)
}

/// Whether [`put_floats`] takes a matrix.
pub(crate) fn puts_floats(matrix: &Tensor) -> bool {
    matches!(matrix.dtype(), DType::F16 | DType::BF16)
        && matrix
            .dims()
            .last()
            .is_some_and(|columns| columns.is_multiple_of(LANE_VALUES))
}

/// The kernels of a matrix.
struct Known<'a> {
    text: &'a Text,
    /// In names of those that multiply by tiles.
    name: &'a str,
    /// Those of few tokens, but for how many.
    few: &'a str,
    /// What products of few and of more tokens are computed in.
    dtypes: (DType, DType),
    shape: (usize, usize),
}

impl Known<'_> {
    /// Whether a kernel takes so many tokens: by tiles, only in types of 16 bits that tensor cores have.
    fn takes(&self, x: &Tensor) -> Result<bool> {
        let has_tiles = [DType::F16, short_dtype()].contains(&self.dtypes.1);
        let most = if has_tiles { MOST_TOKENS } else { FEW_TOKENS };
        Ok((1..=most).contains(&x.dim(0)?))
    }
}

/// What layers make of f32 `(tokens, in_features)`, side by side, `(tokens, the sum of their out_features)`, with their
/// biases, added to another of that shape; `None` where kernels do not serve all of them.
pub(crate) fn put_all(
    layers: &[(&dyn Weight, Option<&Tensor>)],
    x: &Tensor,
    added: Option<&Tensor>,
) -> Result<Option<Tensor>> {
    let shapes = layers.iter().map(|(weight, _)| weight.puts());
    let Some(shapes) = shapes.collect::<Option<Vec<_>>>() else {
        return Ok(None);
    };
    // What is added is of all columns; kernels know those of one matrix.
    if !(1..=MOST_TOKENS).contains(&x.dim(0)?) || (added.is_some() && layers.len() > 1) {
        return Ok(None);
    }
    let width = shapes.iter().map(|(rows, _)| rows).sum::<usize>();
    // SAFETY: each layer writes its columns, or nobody gets to see them.
    let out = unsafe { empty((x.dim(0)?, width), DType::F32, x.device())? };
    let mut first = 0;
    for ((weight, bias), (rows, _)) in layers.iter().zip(shapes) {
        let put = Put {
            out: &out,
            first,
            bias: *bias,
            added,
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
        && known.takes(x)?
        && out_tokens == tokens
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
    let is_few = tokens <= FEW_TOKENS;
    // What is laid for tiles is read before memory is given to others: all work is on one stream.
    let laid = if is_few { None } else { Some(laid(known, &x)?) };
    arguments.extend([
        Count(rows as u32),
        Count(columns as u32),
        Count(tokens as u32),
    ]);
    let (name, groups) = if let Some(laid) = &laid {
        arguments.push(Address(start(laid)?));
        let kind = if known.dtypes.1 == DType::F16 {
            "f16"
        } else {
            "bf16"
        };
        let name = format!("multiply_tiles_{}_{kind}", known.name);
        (name, tokens.div_ceil(TILED_TOKENS))
    } else {
        arguments.push(Kind(kind(known.dtypes.0)?));
        arguments.push(Address(address(&x, DType::F32)?));
        (format!("{}_{}", known.few, tokens.next_power_of_two()), 1)
    };
    arguments.extend([
        Address(address_of(put.bias)?),
        Address(address_of(put.added)?),
        Address(out),
        Count(stride as u32),
    ]);
    let grid = grid((rows.div_ceil(ROWS), groups, 1), THREADS);
    // SAFETY: beside the matrix, of which the caller knows, the kernel reads `tokens` times `columns` values, as they are
    // or laid for tiles, a bias and summands for its rows, and writes its rows' columns of what is to hold it: as was seen
    // to be there.
    unsafe { launch(card(&x)?, (known.text, &name), grid, &arguments) }
}

/// Tokens as products by tiles read them, contiguous f32 `(tokens, columns)` before.
fn laid(known: &Known, x: &Tensor) -> Result<Tensor> {
    let (tokens, columns) = x.dims2()?;
    let bytes = columns.div_ceil(STEP) * tokens.div_ceil(TILE) * STEP_BYTES;
    // SAFETY: the kernel writes all of it.
    let out = unsafe { empty(bytes, DType::U8, x.device())? };
    let arguments = [
        Address(address(x, DType::F32)?),
        Count(columns as u32),
        Count(tokens as u32),
        Kind(kind(known.dtypes.1)?),
        Address(start(&out)?),
    ];
    // A thread makes eight numbers.
    let grid = grid(((bytes / 16).div_ceil(THREADS), 1, 1), THREADS);
    let name = format!("arrange_{}", known.name);
    // SAFETY: the kernel reads `tokens` times `columns` values and writes all steps of all tiles.
    unsafe { launch(card(x)?, (known.text, &name), grid, &arguments)? };
    Ok(out)
}

/// What kernels take of a matrix in 4 bits: codes, their values, plain scales, codes of scales, their outer scales,
/// their values, their offset, codes of a block.
fn tables(matrix: &FourBitOnDevice) -> Result<Vec<Argument>> {
    let floats = |tensor: &Tensor| address(tensor, DType::F32).map(Address);
    let bytes = |tensor: &Tensor| address(tensor, DType::U8).map(Address);
    let mut tables = vec![bytes(&matrix.packed)?, floats(&matrix.book)?];
    match &matrix.scales {
        Scales::Plain(scales) => {
            tables.extend([floats(scales)?, Address(0), Address(0), Address(0)]);
            tables.push(Value(0.0));
        }
        Scales::Nested {
            codes,
            outer,
            map,
            offset,
        } => {
            tables.extend([Address(0), bytes(codes)?, floats(outer)?, floats(map)?]);
            tables.push(Value(*offset));
        }
    }
    tables.push(Count(matrix.block as u32));
    Ok(tables)
}

/// All values, `(out_features, in_features)`, in a type.
pub(crate) fn four_bit_values(matrix: &FourBitOnDevice, dtype: DType) -> Result<Tensor> {
    let count = matrix.shape.0 * matrix.shape.1;
    // SAFETY: the kernel writes all of it.
    let out = unsafe { empty(matrix.shape, dtype, matrix.packed.device())? };
    let mut arguments = tables(matrix)?;
    arguments.extend([
        Long(count as u64),
        Kind(kind(dtype)?),
        Address(start(&out)?),
    ]);
    let blocks = count.div_ceil(2).div_ceil(VALUE_THREADS);
    let grid = grid((blocks, 1, 1), VALUE_THREADS);
    // SAFETY: the kernel reads the codes, scales and tables of the matrix, which has them for its shape, and writes
    // `count` values of the type that the kind names, as many as there are.
    unsafe {
        launch(
            card(&out)?,
            (&FOUR_BIT, "values_of_four_bit"),
            grid,
            &arguments,
        )?;
    }
    Ok(out)
}

/// All values, `(out_features, in_features)`, in a type.
pub(crate) fn block_values(matrix: &BlocksOnDevice, dtype: DType) -> Result<Tensor> {
    let pieces = matrix.shape.0 * matrix.shape.1 / LANE_VALUES;
    // SAFETY: the kernel writes all of it.
    let out = unsafe { empty(matrix.shape, dtype, matrix.packed.device())? };
    let arguments = [
        Address(address(&matrix.packed, DType::U8)?),
        Long(pieces as u64),
        Kind(kind(dtype)?),
        Address(start(&out)?),
    ];
    let (text, name) = text_of(matrix.format)?;
    let name = format!("values_of_{name}");
    let grid = grid((pieces.div_ceil(VALUE_THREADS), 1, 1), VALUE_THREADS);
    // SAFETY: the kernel reads the blocks of the matrix, which has as many as its shape says, and writes a value of the
    // type that the kind names for each of theirs.
    unsafe { launch(card(&out)?, (&text, &name), grid, &arguments)? };
    Ok(out)
}

/// The text of the kernels of a format, and what they are called.
fn text_of(format: Format) -> Result<(Text, &'static str)> {
    Ok(match format {
        Format::F16 => (text!("blocks_Half"), "Half"),
        Format::BF16 => (text!("blocks_Brain"), "Brain"),
        Format::Q4_0 => (text!("blocks_Q4_0"), "Q4_0"),
        Format::Q4_1 => (text!("blocks_Q4_1"), "Q4_1"),
        Format::Q5_0 => (text!("blocks_Q5_0"), "Q5_0"),
        Format::Q5_1 => (text!("blocks_Q5_1"), "Q5_1"),
        Format::Q8_0 => (text!("blocks_Q8_0"), "Q8_0"),
        Format::Q2K => (text!("blocks_Q2_K"), "Q2_K"),
        Format::Q3K => (text!("blocks_Q3_K"), "Q3_K"),
        Format::Q4K => (text!("blocks_Q4_K"), "Q4_K"),
        Format::Q5K => (text!("blocks_Q5_K"), "Q5_K"),
        Format::Q6K => (text!("blocks_Q6_K"), "Q6_K"),
        Format::F32 | Format::Byte => bail!("no kernel reads {}", format.name()),
    })
}
