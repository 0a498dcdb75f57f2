//! Launches of `gate.cu`. Unsafe for what a launch is: a card reads and writes whatever its kernels' arguments say.

use candle_core::{D, DType, Result, Tensor};

use super::{
    Text, address, card, start, text,
    unsafe_launch::{
        Argument::{Address, Count, Kind},
        empty, grid, launch,
    },
};
use crate::kernels::Fused;

const TEXT: Text = text!("gate");
/// Threads of a block.
const THREADS: usize = 256;

/// The number by which kernels know an activation.
pub(super) fn number_of(activation: Fused) -> i32 {
    match activation {
        Fused::Silu => 0,
        Fused::Gelu => 1,
        Fused::GeluTanh => 2,
        Fused::Relu => 3,
    }
}

/// From f32 `(…, 2 * intermediate)` with the gate first to `activation(gate) * up` `(…, intermediate)`.
pub(crate) fn gate(both: &Tensor, activation: Fused) -> Result<Tensor> {
    let width = both.dim(D::Minus1)? / 2;
    let rows = both.elem_count() / (2 * width).max(1);
    let both = both.contiguous()?;
    let mut shape = both.dims().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = width;
    }
    // SAFETY: the kernel writes all of it.
    let y = unsafe { empty(shape, DType::F32, both.device())? };
    let arguments = [
        Address(address(&both, DType::F32)?),
        Count(rows as u32),
        Count(width as u32),
        Kind(number_of(activation)),
        Address(start(&y)?),
    ];
    let blocks = (rows * width).div_ceil(THREADS);
    if blocks > 0 {
        let grid = grid((blocks, 1, 1), THREADS);
        // SAFETY: the kernel reads `rows` of `2 * width` values and writes `rows` of `width`, as many as there are.
        unsafe { launch(card(&both)?, (&TEXT, "gate"), grid, &arguments)? };
    }
    Ok(y)
}
