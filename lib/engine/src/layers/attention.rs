//! Self-attention with grouped heads and rotary positions, as in the llama line.

use candle_core::{Result, Tensor};

use super::{LayerCache, Linear, Positions, Rotary};
use crate::kernels::CausalAttention;

/// Heads of an attention layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values; divides `heads`.
    pub kv_heads: usize,
    /// Values of a head.
    pub head_dim: usize,
}

/// One attention layer.
#[derive(Clone, Debug)]
pub struct Attention {
    /// `(hidden)` to `(heads * head_dim)`.
    pub q_proj: Linear,
    /// `(hidden)` to `(kv_heads * head_dim)`.
    pub k_proj: Linear,
    /// `(hidden)` to `(kv_heads * head_dim)`.
    pub v_proj: Linear,
    /// `(heads * head_dim)` to `(hidden)`.
    pub o_proj: Linear,
    /// Heads.
    pub shape: AttentionShape,
}

impl Attention {
    /// From `(1, tokens, hidden)` to the same shape; the tokens' keys and values go into `cache`.
    pub fn forward(
        &self,
        x: &Tensor,
        rotary: &Rotary,
        positions: &Positions,
        cache: &mut LayerCache,
    ) -> Result<Tensor> {
        let AttentionShape {
            heads,
            kv_heads,
            head_dim,
        } = self.shape;
        // (1, heads, tokens, head_dim), and the same with kv_heads
        let q = split_heads(&self.q_proj.forward(x)?, heads)?;
        let k = split_heads(&self.k_proj.forward(x)?, kv_heads)?;
        let v = split_heads(&self.v_proj.forward(x)?, kv_heads)?;
        let q = rotary.apply(&q, positions)?;
        let k = rotary.apply(&k, positions)?;
        // (1, kv_heads, keys, head_dim)
        let (keys, values) = cache.append(&k, &v)?;
        let scale = 1.0 / (head_dim as f32).sqrt();
        // (1, tokens, heads * head_dim)
        let mixed = q.apply_op3_no_bwd(&keys, &values, &CausalAttention { scale })?;
        self.o_proj.forward(&mixed)
    }
}

/// From `(batch, tokens, heads * head_dim)` to `(batch, heads, tokens, head_dim)`, contiguous.
fn split_heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, tokens, width) = x.dims3()?;
    x.reshape((batch, tokens, heads, width / heads))?
        .transpose(1, 2)?
        .contiguous()
}
