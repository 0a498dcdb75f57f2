//! Launches of what makes values of packed matrices, in `four_bit.cu` and `blocks.cu`, and what all kernels of these take.
//! Unsafe for what a launch is: a card reads and writes whatever its kernels' arguments say.

use candle_core::{DType, Result, Tensor, bail};

use super::{
    Text, address, card, kind,
    known::LANE_VALUES,
    start as place, text,
    unsafe_launch::{
        Argument::{self, Address, Count, Kind, Long, Value},
        empty, grid, launch,
    },
};
use crate::{
    layers::{BlocksOnDevice, FourBitOnDevice, Scales},
    weights::Format,
};

/// Threads of a block that makes values, of which a thread makes eight of codes, and a lane's of blocks.
const VALUE_THREADS: usize = 256;
const CODES: usize = 8;

/// Values of some rows, from one on that begins with a multiple of eight values, `(count, in_features)`, in the type that
/// they are computed in.
pub(crate) fn four_bit_values(
    matrix: &FourBitOnDevice,
    (start, count): (usize, usize),
) -> Result<Tensor> {
    let (rows, columns) = matrix.shape;
    let (first, end) = (start * columns, (start + count) * columns);
    if start + count > rows || !first.is_multiple_of(CODES) {
        bail!(
            "{count} rows from {start} of {:?} are not made",
            matrix.shape
        );
    }
    if !matrix.block.is_power_of_two() {
        bail!("blocks of {} codes are none of bitsandbytes'", matrix.block);
    }
    let (text, kind) = four_bit_text(matrix.dtype)?;
    let name = format!("values_of_four_bit_{kind}");
    // SAFETY: the kernel writes all of it.
    let out = unsafe { empty((count, columns), matrix.dtype, matrix.packed.device())? };
    let mut arguments = tables(matrix)?;
    arguments.extend([Long(first as u64), Long(end as u64), Address(place(&out)?)]);
    let blocks = (end - first).div_ceil(CODES).div_ceil(VALUE_THREADS);
    let grid = grid((blocks, 1, 1), VALUE_THREADS);
    // SAFETY: the kernel reads the codes, scales and tables of the matrix, which has them for its shape, and writes
    // a value of the type for each from the first to the last, as many as there are.
    unsafe { launch(card(&out)?, (&text, &name), grid, &arguments)? };
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
        Address(place(&out)?),
    ];
    let (text, name) = text_of(matrix.format)?;
    let name = format!("values_of_{name}");
    let grid = grid((pieces.div_ceil(VALUE_THREADS), 1, 1), VALUE_THREADS);
    // SAFETY: the kernel reads the blocks of the matrix, which has as many as its shape says, and writes a value of the
    // type that the kind names for each of theirs.
    unsafe { launch(card(&out)?, (&text, &name), grid, &arguments)? };
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

/// The text of the kernels of 4 bits that compute in a type, and how they call it.
pub(super) fn four_bit_text(dtype: DType) -> Result<(Text, &'static str)> {
    Ok(match dtype {
        DType::F32 => (text!("four_bit_f32"), "f32"),
        DType::F16 => (text!("four_bit_f16"), "f16"),
        DType::BF16 => (text!("four_bit_bf16"), "bf16"),
        _ => bail!("no kernel computes in {dtype:?}"),
    })
}

/// The text of the kernels of a format, and what they are called.
pub(super) fn text_of(format: Format) -> Result<(Text, &'static str)> {
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
