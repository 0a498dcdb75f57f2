//! Launches of `eight_bit.cu`. Unsafe for what a launch is: a card reads and writes whatever its kernels' arguments say.

use candle_core::{DType, Result, Tensor};

use super::{
    Text, address, card, start, text,
    unsafe_launch::{
        Argument::{Address, Count, Value},
        empty, grid, launch,
    },
};
use crate::layers::Int8OnDevice;

const TEXT: Text = text!("eight_bit");
/// Threads of kernels' blocks, and of those that are alone.
const THREADS: usize = 256;
const MOST_THREADS: usize = 1024;
/// Rows that a block of the product makes, and codes that a lane takes at once: those of the kernel.
const ROWS: usize = 32;
const LANE_CODES: usize = 16;
/// Tokens of a block of the product.
const MOST_TOGETHER: usize = 16;

/// `x · Wᵀ` of `LLM.int8()`: from f32 `(tokens, in_features)` to f32 `(tokens, out_features)`; `None` of rows that the
/// kernel does not take.
pub(crate) fn int8_product(matrix: &Int8OnDevice, x: &Tensor) -> Result<Option<Tensor>> {
    let (rows, columns) = matrix.shape;
    let (tokens, width) = x.dims2()?;
    if width != columns || tokens == 0 || !columns.is_multiple_of(LANE_CODES) {
        return Ok(None);
    }
    let x = x.contiguous()?;
    let quantized = Quantized::of(matrix, &x)?;
    // SAFETY: the kernel writes all of it.
    let y = unsafe { empty((tokens, rows), DType::F32, x.device())? };
    let multiply = [
        Address(address(&matrix.codes, DType::U8)?),
        Address(address(&matrix.scales, DType::F32)?),
        Count(rows as u32),
        Count(columns as u32),
        Address(start(&quantized.codes)?),
        Address(start(&quantized.scales)?),
        Count(tokens as u32),
        Address(address(&x, DType::F32)?),
        Address(quantized.list.as_ref().map_or(Ok(0), start)?),
        Address(start(&y)?),
    ];
    let together = tokens.next_power_of_two().min(MOST_TOGETHER);
    let kernel = format!("multiply_eight_bit_{together}");
    let blocks = (tokens.div_ceil(together), rows.div_ceil(ROWS), 1);
    // SAFETY: the kernel reads `tokens` of `columns` values, codes and scales of as many, the list of as many columns at
    // most, and codes and scales of the matrix, which has them for its shape; it writes what was made for it just now.
    unsafe {
        launch(
            card(&x)?,
            (&TEXT, &kernel),
            grid(blocks, THREADS),
            &multiply,
        )?;
    }
    Ok(Some(y))
}

/// Tokens in 8 bits.
struct Quantized {
    /// `(tokens, columns)`.
    codes: Tensor,
    /// `(tokens)`.
    scales: Tensor,
    /// How many columns have outliers, then these; `None` where there is no threshold.
    list: Option<Tensor>,
}

impl Quantized {
    /// Of contiguous f32 `(tokens, columns)`, for a product with a matrix.
    fn of(matrix: &Int8OnDevice, x: &Tensor) -> Result<Self> {
        let (tokens, columns) = x.dims2()?;
        let (device, has_outliers) = (x.device(), matrix.threshold > 0.0);
        // SAFETY: kernels write all of these before others read them; of the list, what its first number says.
        let quantized = unsafe {
            let list = has_outliers.then(|| empty(columns + 1, DType::U32, device));
            Self {
                codes: empty(tokens * columns, DType::U8, device)?,
                scales: empty(tokens, DType::F32, device)?,
                list: list.transpose()?,
            }
        };
        let card = card(x)?;
        let list = Address(quantized.list.as_ref().map_or(Ok(0), start)?);
        let values = Address(address(x, DType::F32)?);
        let (width, threshold) = (Count(columns as u32), Value(matrix.threshold));
        let codes = Address(start(&quantized.codes)?);
        let scales = Address(start(&quantized.scales)?);
        let alone = grid((1, 1, 1), MOST_THREADS);
        if tokens == 1 {
            let arguments = [values, width, threshold, codes, scales, list];
            // SAFETY: the kernel reads `columns` values, and writes as many codes, a scale, and of the list as many columns
            // at most behind their number.
            unsafe { launch(card, (&TEXT, "quantize_token"), alone, &arguments)? };
            return Ok(quantized);
        }
        let marks = has_outliers
            .then(|| marks(x, matrix.threshold))
            .transpose()?;
        let marked = Address(marks.as_ref().map_or(Ok(0), start)?);
        if marks.is_some() {
            let arguments = [marked, width, list];
            // SAFETY: the kernel reads a mark for each column, and writes as many columns at most behind their number.
            unsafe { launch(card, (&TEXT, "list_outliers"), alone, &arguments)? };
        }
        let arguments = [values, marked, width, threshold, codes, scales];
        let by_rows = grid((tokens, 1, 1), THREADS);
        // SAFETY: the kernel reads `tokens` of `columns` values and a mark for each of these, and writes as many codes,
        // and a scale for each token.
        unsafe { launch(card, (&TEXT, "quantize_rows"), by_rows, &arguments)? };
        Ok(quantized)
    }
}

/// Which columns of `(tokens, columns)` hold magnitudes of a threshold or more.
fn marks(x: &Tensor, threshold: f32) -> Result<Tensor> {
    let (tokens, columns) = x.dims2()?;
    // SAFETY: the kernel writes all of them.
    let marks = unsafe { empty(columns, DType::U8, x.device())? };
    let arguments = [
        Address(address(x, DType::F32)?),
        Count(tokens as u32),
        Count(columns as u32),
        Value(threshold),
        Address(start(&marks)?),
    ];
    let by_columns = grid((columns.div_ceil(THREADS), 1, 1), THREADS);
    // SAFETY: the kernel reads `tokens` of `columns` values, and writes a mark for each of these.
    unsafe { launch(card(x)?, (&TEXT, "mark_outliers"), by_columns, &arguments)? };
    Ok(marks)
}
