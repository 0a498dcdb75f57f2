//! Launches of `round.cu`. Unsafe for what a launch is: a card reads and writes whatever its kernels' arguments say.

use candle_core::{DType, Result, Tensor};

use super::{
    Text, address, card, kind, start, text,
    unsafe_launch::{
        Argument::{Address, Kind, Long},
        empty, grid, launch,
    },
};

const TEXT: Text = text!("round");
/// Threads of a block.
const THREADS: usize = 256;

/// Floats of any type as f32 of the same shape, rounded to a type.
pub(crate) fn rounded(x: &Tensor, dtype: DType) -> Result<Tensor> {
    let x = x.contiguous()?;
    let count = x.elem_count();
    // SAFETY: the kernel writes all of it.
    let out = unsafe { empty(x.shape(), DType::F32, x.device())? };
    let arguments = [
        Address(address(&x, x.dtype())?),
        Kind(kind(x.dtype())?),
        Kind(kind(dtype)?),
        Long(count as u64),
        Address(start(&out)?),
    ];
    if count > 0 {
        let grid = grid((count.div_ceil(THREADS), 1, 1), THREADS);
        // SAFETY: the kernel reads `count` numbers of the type that the kind names and writes as many.
        unsafe { launch(card(&x)?, (&TEXT, "round_to"), grid, &arguments)? };
    }
    Ok(out)
}
