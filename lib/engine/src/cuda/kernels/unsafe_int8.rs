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
/// Threads of each kernel's blocks.
const THREADS: usize = 256;
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
    let (x, device) = (x.contiguous()?, x.device());
    let card = card(&x)?;
    let list = outliers(matrix, &x)?;
    // SAFETY: the kernels write all of these before they read them.
    let (codes, scales, y) = unsafe {
        (
            empty(tokens * columns, DType::U8, device)?,
            empty(tokens, DType::F32, device)?,
            empty((tokens, rows), DType::F32, device)?,
        )
    };
    let marks = list.as_ref().map_or(Ok(0), |(marks, _)| start(marks))?;
    let list = list.as_ref().map_or(Ok(0), |(_, list)| start(list))?;
    let quantize = [
        Address(address(&x, DType::F32)?),
        Address(marks),
        Count(columns as u32),
        Value(matrix.threshold),
        Address(start(&codes)?),
        Address(start(&scales)?),
    ];
    let multiply = [
        Address(address(&matrix.codes, DType::U8)?),
        Address(address(&matrix.scales, DType::F32)?),
        Count(rows as u32),
        Count(columns as u32),
        Address(start(&codes)?),
        Address(start(&scales)?),
        Count(tokens as u32),
        Address(address(&x, DType::F32)?),
        Address(list),
        Address(start(&y)?),
    ];
    let together = tokens.next_power_of_two().min(MOST_TOGETHER);
    let kernel = format!("multiply_eight_bit_{together}");
    let blocks = (tokens.div_ceil(together), rows.div_ceil(ROWS), 1);
    // SAFETY: the kernels read `tokens` of `columns` values, the marks and the list of as many columns, and the codes
    // and scales of the matrix, which has them for its shape; they write what was made for them just now.
    unsafe {
        let by_rows = grid((tokens, 1, 1), THREADS);
        launch(card, (&TEXT, "quantize_rows"), by_rows, &quantize)?;
        launch(card, (&TEXT, &kernel), grid(blocks, THREADS), &multiply)?;
    }
    Ok(Some(y))
}

/// Marks of columns with outliers, and a list of them; `None` where there is no threshold.
fn outliers(matrix: &Int8OnDevice, x: &Tensor) -> Result<Option<(Tensor, Tensor)>> {
    if matrix.threshold <= 0.0 {
        return Ok(None);
    }
    let (tokens, columns) = x.dims2()?;
    // SAFETY: the kernels write all of the marks, and of the list what its first number says.
    let (marks, list) = unsafe {
        (
            empty(columns, DType::U8, x.device())?,
            empty(columns + 1, DType::U32, x.device())?,
        )
    };
    let mark = [
        Address(address(x, DType::F32)?),
        Count(tokens as u32),
        Count(columns as u32),
        Value(matrix.threshold),
        Address(start(&marks)?),
    ];
    let enlist = [
        Address(start(&marks)?),
        Count(columns as u32),
        Address(start(&list)?),
    ];
    let card = card(x)?;
    // SAFETY: the kernels read the activations, and write a mark for each column and a list of as many at most.
    unsafe {
        let by_columns = grid((columns.div_ceil(THREADS), 1, 1), THREADS);
        launch(card, (&TEXT, "mark_outliers"), by_columns, &mark)?;
        let alone = grid((1, 1, 1), 32);
        launch(card, (&TEXT, "list_outliers"), alone, &enlist)?;
    }
    Ok(Some((marks, list)))
}
