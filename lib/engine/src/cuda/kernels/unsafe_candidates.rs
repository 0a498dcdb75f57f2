//! Launches of `candidates.cu`. Unsafe for what a launch is: a card reads and writes whatever its kernels' arguments
//! say.

use candle_core::{DType, Result, Tensor};

use super::{
    Text, address, card, start, text,
    unsafe_launch::{
        Argument::{Address, Count},
        grid, launch,
    },
};

const TEXT: Text = text!("candidates");
/// Threads of a block, which takes a row.
const THREADS: usize = 1024;

/// Of f32 logits `(rows, vocabulary)` those of each row that may be among its `count` largest, and how many there are:
/// u32 `(rows, 1 + 2 * capacity)`, the number first, then as many ids as there is room for, then the bits of their
/// logits.
pub(crate) fn candidates(logits: &Tensor, count: usize, capacity: usize) -> Result<Tensor> {
    let (rows, width) = logits.dims2()?;
    let logits = logits.contiguous()?;
    // Of places without a candidate nothing is read that means anything; they are zeros.
    let out = Tensor::zeros((rows, 1 + 2 * capacity), DType::U32, logits.device())?;
    let arguments = [
        Address(address(&logits, DType::F32)?),
        Count(width as u32),
        Count(count as u32),
        Count(capacity as u32),
        Address(start(&out)?),
    ];
    if rows > 0 {
        let grid = grid((rows, 1, 1), THREADS);
        // SAFETY: the kernel reads `rows` of `width` values and writes as many rows of the candidates.
        unsafe { launch(card(&logits)?, (&TEXT, "candidates"), grid, &arguments)? };
    }
    Ok(out)
}
