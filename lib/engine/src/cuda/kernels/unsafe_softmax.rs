//! Launches of `softmax.cu`. Unsafe for what a launch is: a card reads and writes whatever its kernels' arguments say.

use candle_core::{DType, Result, Tensor};

use super::{
    Text, address, address_of, card, text,
    unsafe_launch::{
        Argument::{Address, Count, Long, Value},
        grid, launch,
    },
};
use crate::layers::{Scaling, Sight};

const TEXT: Text = text!("softmax");
/// Threads of a block, of which each warp takes a query of a head.
const THREADS: usize = 256;

/// Softmax of f32 scores `(rows, heads, queries, keys)` that nobody else has: it writes in their place.
pub(crate) fn softmax(scores: Tensor, sight: &Sight, scaling: &Scaling) -> Result<Tensor> {
    let (rows, heads, queries, keys) = scores.dims4()?;
    let lines = rows * heads * queries;
    let bounds = match sight.rows {
        [] => None,
        rows => {
            let bounds = rows
                .iter()
                .flat_map(|own| [own.start as u32, own.end as u32]);
            let bounds: Vec<u32> = bounds.collect();
            Some(Tensor::new(bounds, scores.device())?)
        }
    };
    let bounds_address = match &bounds {
        Some(bounds) => address(bounds, DType::U32)?,
        None => 0,
    };
    let reach = sight.reach.map(|reach| Count(reach.min(keys) as u32));
    let [before, after] = reach;
    let arguments = [
        Address(address(&scores, DType::F32)?),
        Long(lines as u64),
        Count(heads as u32),
        Count(queries as u32),
        Count(keys as u32),
        Count(sight.first as u32),
        before,
        after,
        Address(bounds_address),
        Value(scaling.scale),
        Value(scaling.cap.unwrap_or(0.0)),
        Address(address_of(scaling.bias)?),
        Count(scaling.bias.map_or(Ok(0), |bias| bias.dim(1))? as u32),
    ];
    if lines > 0 && keys > 0 {
        let grid = grid((lines.div_ceil(THREADS / 32), 1, 1), THREADS);
        // SAFETY: the kernel reads and writes `lines` of `keys` scores, reads two bounds a row, of as many rows as there
        // are, and of the bias what lies `keys - 1` less a query's place behind its head's first, `keys` at most.
        unsafe { launch(card(&scores)?, (&TEXT, "softmax"), grid, &arguments)? };
    }
    Ok(scores)
}
