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
    layers::{BlocksOnDevice, FourBitOnDevice, Put, Scales, Weight},
    weights::Format,
};

pub(super) const FOUR_BIT: Text = text!("four_bit");

/// Threads of a block of a product, rows that a block makes, and values that a lane takes at once: those of the kernels.
const THREADS: usize = 256;
const ROWS: usize = 32;
const LANE_VALUES: usize = 32;
/// Tokens up to which a matrix is multiplied as it lies; of more, values are made for a product of tensor cores.
const MOST_TOKENS: usize = 8;
/// Threads of a block that makes values, of which a thread makes two of codes, and a lane's of blocks.
const VALUE_THREADS: usize = 256;

/// Puts `x · Wᵀ` where it is to go, from f32 `(tokens, in_features)`; says whether it did: not of more tokens, or
/// another shape, than the kernel takes.
pub(crate) fn put_four_bit(matrix: &FourBitOnDevice, x: &Tensor, put: &Put) -> Result<bool> {
    let is_whole =
        matrix.shape.1.is_multiple_of(LANE_VALUES) && matrix.block.is_multiple_of(LANE_VALUES);
    if !is_whole || !is_few(x)? {
        return Ok(false);
    }
    let name = match matrix.dtype {
        DType::F32 => "multiply_four_bit",
        _ => "multiply_rounded_four_bit",
    };
    // SAFETY: the kernel reads the codes, scales and tables of the matrix, which has them for its shape.
    unsafe {
        product(
            (&FOUR_BIT, name),
            (tables(matrix)?, matrix.shape, matrix.dtype),
            (x, put),
        )?;
    }
    Ok(true)
}

/// The same with blocks, with activations as they are.
pub(crate) fn put_block(matrix: &BlocksOnDevice, x: &Tensor, put: &Put) -> Result<bool> {
    if !is_few(x)? {
        return Ok(false);
    }
    let (text, name) = text_of(matrix.format)?;
    let name = format!("multiply_{name}");
    let packed = vec![Address(address(&matrix.packed, DType::U8)?)];
    // SAFETY: the kernel reads the blocks of the matrix, which has as many as its shape says.
    unsafe {
        product((&text, &name), (packed, matrix.shape, DType::F32), (x, put))?;
    }
    Ok(true)
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
    if !is_few(x)? || (added.is_some() && layers.len() > 1) {
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

fn is_few(x: &Tensor) -> Result<bool> {
    Ok((1..=MOST_TOKENS).contains(&x.dim(0)?))
}

/// A product by the kernel of a name and of as many tokens, or some more.
///
/// # Safety
/// The kernel of the name takes such a matrix, which has its tables for its shape.
unsafe fn product(
    (text, name): (&Text, &str),
    (mut arguments, (rows, columns), dtype): (Vec<Argument>, (usize, usize), DType),
    (x, put): (&Tensor, &Put),
) -> Result<()> {
    let (tokens, width) = x.dims2()?;
    let (out_tokens, stride) = put.out.dims2()?;
    let fits = width == columns
        && (1..=MOST_TOKENS).contains(&tokens)
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
    let name = format!("{name}_{}", tokens.next_power_of_two());
    arguments.extend([
        Count(rows as u32),
        Count(columns as u32),
        Kind(i32::try_from(tokens)?),
        Kind(kind(dtype)?),
        Address(address(&x, DType::F32)?),
        Address(address_of(put.bias)?),
        Address(address_of(put.added)?),
        Address(out),
        Count(stride as u32),
    ]);
    let grid = grid((rows.div_ceil(ROWS), 1, 1), THREADS);
    // SAFETY: beside the matrix, of which the caller knows, the kernel reads `tokens` times `columns` values, a bias and
    // summands for its rows, and writes its rows' columns of what is to hold it: as was seen to be there.
    unsafe { launch(card(&x)?, (text, &name), grid, &arguments) }
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

/// All values, `(out_features, in_features)`, in the type that they are computed in.
pub(crate) fn four_bit_values(matrix: &FourBitOnDevice) -> Result<Tensor> {
    let count = matrix.shape.0 * matrix.shape.1;
    // SAFETY: the kernel writes all of it.
    let out = unsafe { empty(matrix.shape, matrix.dtype, matrix.packed.device())? };
    let mut arguments = tables(matrix)?;
    arguments.extend([
        Long(count as u64),
        Kind(kind(matrix.dtype)?),
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
