//! Launches of `prompt.cu`. Unsafe for what a launch is: a card reads and writes whatever its kernels' arguments say.

use candle_core::{DType, Result, Tensor};

use super::{
    card, text,
    unsafe_attention::{Attention, Caches, placed},
    unsafe_launch::{empty, grid, launch_with},
};
use crate::{cuda::short_dtype, kernels::CausalAttention, layers::View};

/// Queries of a block, and its threads: those of the kernels.
const QUERIES: usize = 64;
const THREADS: usize = 128;

/// Softmax(q·kᵀ·scale)·v of a prompt's tokens, as `attention` has it of any, in the type of 16 bits that may be taken.
/// `None` where none may, and where the kernels have no tensor cores for it.
pub(super) fn prompt(
    q: &Tensor,
    (views, caches): (&[View], &Caches),
    attention: &CausalAttention,
) -> Result<Option<Tensor>> {
    let (text, kind) = match attention.card_dtype {
        DType::F16 => (text!("prompt_f16"), "f16"),
        DType::BF16 if short_dtype() == DType::BF16 => (text!("prompt_bf16"), "bf16"),
        _ => return Ok(None),
    };
    let (batch, heads, tokens, head_dim) = q.dims4()?;
    let dims = match head_dim {
        ..=64 => 64,
        65..=128 => 128,
        _ => 256,
    };
    let q = q.contiguous()?;
    let shape = (batch, tokens, heads * head_dim);
    // SAFETY: the kernel writes all of it.
    let out = unsafe { empty(shape, DType::F32, q.device())? };
    let padding = placed(&attention.padding, &q)?;
    let argument = Attention::of((&q, padding.as_ref(), &out), (views, caches), attention)?;
    let blocks = grid((tokens.div_ceil(QUERIES), heads, batch), THREADS);
    let name = format!("read_{kind}_{dims}");
    // SAFETY: what the kernel reads of queries, keys and values was seen to be there, and what it writes is as large as it
    // takes it; none of it is changed before it is done.
    unsafe { launch_with(card(&q)?, (&text, &name), blocks, &argument)? };
    Ok(Some(out))
}
