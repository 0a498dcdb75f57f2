//! Products computed in a type of 16 bits: by the device's own, or in f32 with numbers that are rounded to the type
//! where it has none: cards before 8.0 have none of brain floats.

use candle_core::{DType, Device, Result, Tensor};

use crate::cuda;

/// Bytes of values that are made at once: those of a head of many tokens would not fit beside it. In tests so few that
/// matrices are sliced.
const SLICE_BYTES: usize = if cfg!(test) { 1 << 14 } else { 256 << 20 };

fn lacks_brain_floats(device: &Device) -> bool {
    #[cfg(test)]
    if LACKING.get() {
        return true;
    }
    device.is_cuda() && cuda::short_dtype() != DType::BF16
}

/// From f32 `(tokens, in_features)` and values `(out_features, in_features)` to f32: inputs and products are rounded to
/// the type of the values.
pub(super) fn product(x: &Tensor, values: &Tensor) -> Result<Tensor> {
    let dtype = values.dtype();
    if dtype != DType::BF16 || !lacks_brain_floats(x.device()) {
        let y = x.to_dtype(dtype)?.matmul(&values.t()?)?;
        return y.to_dtype(DType::F32);
    }
    let (rows, columns) = values.dims2()?;
    let x = rounded(x, dtype)?;
    let product = sliced((rows, columns * size_of::<f32>()), |start, count| {
        let wide = rounded(&values.narrow(0, start, count)?, dtype)?;
        x.matmul(&wide.t()?)
    });
    rounded(&product?, dtype)
}

/// Floats of any type as f32, rounded to a type.
fn rounded(x: &Tensor, dtype: DType) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return cuda::rounded(x, dtype);
    }
    x.to_dtype(dtype)?.to_dtype(DType::F32)
}

/// Products with so many rows of values, each of so many bytes once made, some rows at a time: `product` makes those of a
/// number of rows from one on, which is a multiple of eight. `(tokens, rows)`.
pub(super) fn sliced(
    (rows, row_bytes): (usize, usize),
    product: impl Fn(usize, usize) -> Result<Tensor>,
) -> Result<Tensor> {
    let slice = (SLICE_BYTES / row_bytes.max(1)).max(8) & !7;
    if slice >= rows {
        return product(0, rows);
    }
    let starts = (0..rows).step_by(slice);
    let parts = starts.map(|start| product(start, slice.min(rows - start)));
    Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 1)
}

#[cfg(test)]
thread_local! {
    /// This thread's devices have no brain floats.
    static LACKING: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Runs it on devices without brain floats.
#[cfg(test)]
pub(super) fn without_brain_floats<T>(run: impl FnOnce() -> T) -> T {
    LACKING.set(true);
    let result = run();
    LACKING.set(false);
    result
}
