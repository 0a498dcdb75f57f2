//! Launches of `norm.cu`. Unsafe for what a launch is: a card reads and writes whatever its kernels' arguments say.

use candle_core::{D, DType, Result, Tensor, bail};

use super::{
    Text, address, card, start, text,
    unsafe_launch::{
        Argument::{self, Address, Count, Value},
        empty, grid, launch,
    },
};

const TEXT: Text = text!("norm");
/// Threads of a block, which takes a row.
const THREADS: usize = 256;

/// `x / √(mean(x²) + ε) · w` over the last dimension: `(…, hidden)` with a weight `(hidden)`, all f32.
pub(crate) fn root_mean_square(x: &Tensor, weight: &Tensor, epsilon: f32) -> Result<Tensor> {
    let weight = Address(of_width(x, weight)?);
    normalized("root_mean_square", x, vec![weight, Value(epsilon)])
}

/// `(x - mean(x)) / √(var(x) + ε) · w + b` over the last dimension, likewise.
pub(crate) fn layer_norm(
    x: &Tensor,
    (weight, bias): (&Tensor, &Tensor),
    epsilon: f32,
) -> Result<Tensor> {
    let both = [weight, bias].map(|own| of_width(x, own).map(Address));
    let [weight, bias] = both;
    normalized("layer_norm", x, vec![weight?, bias?, Value(epsilon)])
}

/// Where weights lie, of which there is one for each value of a row.
fn of_width(x: &Tensor, weight: &Tensor) -> Result<u64> {
    if weight.dims() != [x.dim(D::Minus1)?] {
        bail!("a norm of {:?} got {:?}", weight.shape(), x.shape());
    }
    address(weight, DType::F32)
}

fn normalized(kernel: &str, x: &Tensor, between: Vec<Argument>) -> Result<Tensor> {
    let width = x.dim(D::Minus1)?;
    let rows = x.elem_count() / width.max(1);
    let x = x.contiguous()?;
    // SAFETY: the kernel writes all of it.
    let y = unsafe { empty(x.shape(), DType::F32, x.device())? };
    let mut arguments = vec![Address(address(&x, DType::F32)?)];
    arguments.extend(between);
    arguments.extend([Count(width as u32), Address(start(&y)?)]);
    if rows > 0 {
        let grid = grid((rows, 1, 1), THREADS);
        // SAFETY: the kernel reads and writes rows of `width` values, as many as there are blocks, and weights of a row.
        unsafe { launch(card(&x)?, (&TEXT, kernel), grid, &arguments)? };
    }
    Ok(y)
}
