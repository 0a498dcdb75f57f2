//! Launches of `pack.cu`. Unsafe for what a launch is: a card reads and writes whatever its kernels' arguments say.

use candle_core::{DType, Device, Result, Tensor, bail};
use wire::model::FourBitType;

use super::{
    Text, address, card, start, text,
    unsafe_launch::{
        Argument::{Address, Kind, Long},
        empty, grid, launch,
    },
};
use crate::{bitsandbytes::bounds, weights::Format};

const TEXT: Text = text!("pack");

/// Values of a block.
const BLOCK: usize = 64;
/// Threads of a block of the kernel, of which each 32 take a block of values.
const THREADS: usize = 256;

/// Values in 4 bits, quantised on a card in blocks of 64: codes, two a byte, and the scales of blocks, which come back to
/// main memory. Values are those of a file, f32 or of 16 bits, rounded to a type first.
pub(crate) fn pack_four_bit(
    (format, bytes): (Format, &[u8]),
    rounding: wire::model::DType,
    (kind, device): (FourBitType, &Device),
) -> Result<(Tensor, Vec<f32>)> {
    let format_kind = match format {
        Format::F32 => 0,
        Format::F16 => 1,
        Format::BF16 => 2,
        other => bail!("values of {} are not quantised", other.name()),
    };
    let rounding = match rounding {
        wire::model::DType::F32 => 0,
        wire::model::DType::F16 => 1,
        wire::model::DType::BF16 => 2,
    };
    let count = bytes.len() / format.block_bytes();
    let blocks = count.div_ceil(BLOCK);
    if count == 0 {
        bail!("there is nothing to quantise");
    }
    let source = Tensor::from_slice(bytes, bytes.len(), device)?;
    let between = bounds(kind);
    let bounds = Tensor::from_slice(&between.bounds, between.bounds.len(), device)?;
    let order = Tensor::from_slice(&between.order, between.order.len(), device)?;
    // SAFETY: the kernel writes all of both.
    let (packed, absmax) = unsafe {
        (
            empty(count.div_ceil(2), DType::U8, device)?,
            empty(blocks, DType::F32, device)?,
        )
    };
    let arguments = [
        Address(address(&source, DType::U8)?),
        Kind(format_kind),
        Kind(rounding),
        Long(count as u64),
        Address(address(&bounds, DType::F32)?),
        Address(address(&order, DType::U8)?),
        Address(start(&packed)?),
        Address(start(&absmax)?),
    ];
    let grid = grid((blocks.div_ceil(THREADS / 32), 1, 1), THREADS);
    let kernel = (&TEXT, "pack_four_bit");
    // SAFETY: the kernel reads `count` values of the format, as many as there are bytes of, and writes a code for each
    // and a scale for each block.
    unsafe { launch(card(&packed)?, kernel, grid, &arguments)? };
    Ok((packed, absmax.to_vec1()?))
}
