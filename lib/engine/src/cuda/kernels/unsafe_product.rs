//! Launches of the products of `product.cuh`, whatever a matrix is packed in. Unsafe for what a launch is: a card reads
//! and writes whatever its kernels' arguments say.

use candle_core::{
    CudaStorage, DType, Layout, Result, Shape, bail,
    cuda_backend::{
        WrapErr,
        cudarc::driver::{LaunchArgs, PushKernelArg},
    },
};

use super::{Text, grid, kind};

/// Threads of a block, and rows that a block makes: those of the kernels.
const THREADS: usize = 256;
const ROWS: usize = 32;
/// Tokens up to which a matrix is multiplied as it lies; of more, values are made for a product of tensor cores.
pub(super) const MOST_TOKENS: usize = 8;

/// A matrix as kernels take it.
pub(super) trait Packed {
    /// Puts its tables where kernels have them: first.
    fn put<'a>(&'a self, arguments: &mut LaunchArgs<'a>) -> Result<()>;
}

/// `x · Wᵀ`: from f32 `(tokens, in_features)` to f32 `(tokens, out_features)`, of [`MOST_TOKENS`] at most; by the
/// kernel of a name and of as many tokens, or some more.
///
/// # Safety
/// The kernel of the name takes such a matrix, which has its tables for its shape.
pub(super) unsafe fn product(
    (x, layout): (&CudaStorage, &Layout),
    (matrix, (rows, columns), dtype): (&dyn Packed, (usize, usize), DType),
    (text, name): (&Text, &str),
) -> Result<(CudaStorage, Shape)> {
    let (tokens, width) = layout.shape().dims2()?;
    let (start, end) = match layout.contiguous_offsets() {
        Some(places) if width == columns && (1..=MOST_TOKENS).contains(&tokens) => places,
        _ => bail!("a ({rows}, {columns}) matrix got {:?}", layout.shape()),
    };
    let device = &x.device;
    let x = x.as_cuda_slice::<f32>()?.slice(start..end);
    // SAFETY: the kernel writes all of it before anyone reads.
    let y = unsafe { device.alloc::<f32>(tokens * rows)? };
    let function = device.get_or_load_custom_func(
        &format!("{name}_{}", tokens.next_power_of_two()),
        text.name,
        text.ptx,
    )?;
    let (rows_arg, columns_arg) = (rows as u32, columns as u32);
    let (tokens_arg, kind) = (i32::try_from(tokens)?, kind(dtype)?);
    let mut arguments = function.builder();
    matrix.put(&mut arguments)?;
    arguments.arg(&rows_arg).arg(&columns_arg);
    arguments.arg(&tokens_arg).arg(&kind).arg(&x).arg(&y);
    // SAFETY: beside the matrix, of which the caller knows, the kernel reads `tokens` times `columns` values and writes
    // `tokens` times `rows`: as many as there are.
    unsafe { arguments.launch(grid(rows.div_ceil(ROWS) * THREADS, THREADS)) }.w()?;
    let y = CudaStorage::wrap_cuda_slice(y, device.clone());
    Ok((y, Shape::from((tokens, rows))))
}
