//! Tokens of several sequences in one tensor: all that a model computes of a token by itself is computed
//! of all of them at once.

use candle_core::{Result, Tensor};

/// Rows and tokens of a part.
pub type Size = (usize, usize);

/// Parts `(batch, tokens, width)` as one `(1, all tokens, width)`, with their sizes; a single part stays
/// as it is.
pub fn join(mut parts: Vec<Tensor>) -> Result<(Tensor, Vec<Size>)> {
    let size = |part: &Tensor| part.dims3().map(|(batch, tokens, _)| (batch, tokens));
    let sizes: Vec<Size> = parts.iter().map(size).collect::<Result<_>>()?;
    if let (Some(part), true) = (parts.pop_if(|_| sizes.len() == 1), sizes.len() == 1) {
        return Ok((part, sizes));
    }
    let flat = parts.iter().zip(&sizes);
    let flat: Vec<Tensor> = flat
        .map(|(part, (batch, tokens))| part.reshape((1, batch * tokens, ())))
        .collect::<Result<_>>()?;
    Ok((Tensor::cat(&flat, 1)?, sizes))
}

/// The parts of what [`join`] put together, each `(batch, tokens, width)`.
pub fn split(joined: &Tensor, sizes: &[Size]) -> Result<Vec<Tensor>> {
    if let [_] = sizes {
        return Ok(vec![joined.clone()]);
    }
    let mut start = 0;
    let part = |&(batch, tokens): &Size| {
        let part = joined.narrow(1, start, batch * tokens)?;
        start += batch * tokens;
        part.reshape((batch, tokens, ()))
    };
    sizes.iter().map(part).collect()
}
