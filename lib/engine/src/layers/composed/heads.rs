//! Heads of `kernels::heads`: taken out of the product that holds all, normalised, turned.

use candle_core::{D, Result, Tensor};

use super::root_mean_square;

/// Cosine and sine of a step's positions, each `(1, 1, tokens, pairs)`, or `(batch, 1, tokens, pairs)` where rows
/// differ, where the heads are.
#[derive(Clone, Debug)]
pub struct Angles {
    pub cos: Tensor,
    pub sin: Tensor,
    /// Neighbours turn together, not halves.
    pub interleaved: bool,
}

/// From `(batch, tokens, width)` some heads, as `(batch, heads, tokens, head_dim)`: the `count` of `head_dim`
/// values from place `first` on, each normalised by a weight `(head_dim)`, and turned, where there is such.
pub fn heads(
    x: &Tensor,
    (first, count, head_dim): (usize, usize, usize),
    norm: Option<(&Tensor, f32)>,
    angles: Option<&Angles>,
) -> Result<Tensor> {
    let (batch, tokens, _) = x.dims3()?;
    let taken = x.narrow(D::Minus1, first, count * head_dim)?;
    let taken = taken
        .reshape((batch, tokens, count, head_dim))?
        .transpose(1, 2)?;
    let mut taken = taken.contiguous()?;
    if let Some((weight, epsilon)) = norm {
        taken = root_mean_square(&taken, weight, epsilon)?;
    }
    match angles {
        Some(angles) => turned(&taken, angles),
        None => Ok(taken),
    }
}

pub(super) fn turned(heads: &Tensor, angles: &Angles) -> Result<Tensor> {
    let (batch, count, tokens, head_dim) = heads.dims4()?;
    let pairs = angles.cos.dim(D::Minus1)?;
    let turning = heads.narrow(D::Minus1, 0, 2 * pairs)?;
    // Each (batch, heads, tokens, pairs).
    let (a, b) = if angles.interleaved {
        let pairwise = turning.reshape((batch, count, tokens, pairs, 2))?;
        let of = |place| pairwise.narrow(D::Minus1, place, 1)?.squeeze(D::Minus1);
        (of(0)?, of(1)?)
    } else {
        let of = |half| turning.narrow(D::Minus1, half * pairs, pairs);
        (of(0)?, of(1)?)
    };
    let (cos, sin) = (&angles.cos, &angles.sin);
    let first = (a.broadcast_mul(cos)? - b.broadcast_mul(sin)?)?;
    let second = (a.broadcast_mul(sin)? + b.broadcast_mul(cos)?)?;
    let both = if angles.interleaved {
        Tensor::stack(&[first, second], D::Minus1)?.reshape((batch, count, tokens, 2 * pairs))?
    } else {
        Tensor::cat(&[first, second], D::Minus1)?
    };
    if 2 * pairs == head_dim {
        return Ok(both);
    }
    let rest = heads.narrow(D::Minus1, 2 * pairs, head_dim - 2 * pairs)?;
    // Of parts that are not contiguous candle makes a whole that is not.
    Tensor::cat(&[both, rest.contiguous()?], D::Minus1)
}
