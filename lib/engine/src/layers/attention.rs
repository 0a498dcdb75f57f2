//! Self-attention with grouped heads: rotary positions or none, norms on queries and keys, a window,
//! capped scores, each where the family has it.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::{
    LayerCache, Linear, Positions, RelativeAttention, RmsNorm, Rotary, Size, composed, join, split,
};
use crate::kernels::{CausalAttention, Heads};

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
    /// What makes queries, keys and values.
    pub projections: Projections,
    /// `(heads * head_dim)` to `(hidden)`.
    pub output: Linear,
    /// Over each head's query.
    pub q_norm: Option<RmsNorm>,
    /// Over each head's key.
    pub k_norm: Option<RmsNorm>,
    /// Heads.
    pub shape: AttentionShape,
    /// Which of the model's rotary embeddings turns queries and keys; `None` leaves them unturned.
    pub rotary: Option<usize>,
    /// Keys that a query sees at most, its own included.
    pub window: Option<usize>,
    /// Multiplies the scores.
    pub scale: f32,
    /// Bends scaled scores into ±cap.
    pub cap: Option<f32>,
}

/// Linear layers of queries, keys and values.
#[derive(Clone, Debug)]
pub enum Projections {
    /// From `(hidden)` to `(heads * head_dim)`, and twice to `(kv_heads * head_dim)`.
    Separate([Linear; 3]),
    /// All three in one, in that order.
    Fused(Linear),
}

/// What all layers of one step share, for one part of its tokens.
#[derive(Debug)]
pub struct Step<'a> {
    /// Rows and tokens of the part.
    pub size: Size,
    /// The model's rotary embeddings with the angles of this step.
    pub rotaries: Vec<(&'a Rotary, Positions)>,
    /// Positions of padding before each row's tokens.
    pub padding: Arc<[usize]>,
    /// What is added to the scores by distance, `(heads, keys)`, in families that count so.
    pub bias: Option<Arc<[f32]>>,
}

impl Attention {
    /// From `(batch, tokens, hidden)`, several parts joined, to the same shape; the keys and values of
    /// each part go into a cache of its own.
    pub fn forward(
        &self,
        x: &Tensor,
        steps: &[Step],
        caches: &mut [&mut LayerCache],
    ) -> Result<Tensor> {
        let sizes: Vec<Size> = steps.iter().map(|step| step.size).collect();
        let parts = split(&self.projections.forward(x)?, &sizes)?;
        let mixed = parts
            .into_iter()
            .zip(steps.iter().zip(caches))
            .map(|(qkv, (step, cache))| self.mix(&qkv, step, cache))
            .collect::<Result<_>>()?;
        self.output.forward(&join(mixed)?.0)
    }

    /// From queries, keys and values beside each other, `(batch, tokens, …)`, to
    /// `(batch, tokens, heads * head_dim)`.
    fn mix(&self, qkv: &Tensor, step: &Step, cache: &mut LayerCache) -> Result<Tensor> {
        // (batch, heads, tokens, head_dim), and twice the same with kv_heads
        let [q, k, v] = if composed::serves(qkv) {
            self.composed_heads(qkv, step)?
        } else {
            self.heads(qkv, step)?
        };
        // (batch, kv_heads, keys, head_dim)
        let (keys, values) = cache.append(&k, &v)?;
        if let Some(bias) = &step.bias {
            let attention = RelativeAttention {
                bias: Arc::clone(bias),
                bidirectional: false,
            };
            return q.apply_op3_no_bwd(&keys, &values, &attention);
        }
        let attention = CausalAttention {
            scale: self.scale,
            cap: self.cap,
            window: self.window,
            padding: Arc::clone(&step.padding),
        };
        if composed::serves(&q) {
            return composed::causal_attention(&q, (&keys, &values), &attention);
        }
        q.apply_op3_no_bwd(&keys, &values, &attention)
    }

    fn heads(&self, qkv: &Tensor, step: &Step) -> Result<[Tensor; 3]> {
        let AttentionShape {
            heads,
            kv_heads,
            head_dim,
        } = self.shape;
        let rotary = self.rotary.map(|index| &step.rotaries[index]);
        let turn = rotary.map(|(rotary, positions)| rotary.turn(positions));
        let heads_of = |first: usize, count: usize, turn| Heads {
            first: first * head_dim,
            count,
            head_dim,
            norm: None,
            turn,
        };
        Ok([
            taken(qkv, &heads_of(0, heads, turn), self.q_norm.as_ref())?,
            taken(qkv, &heads_of(heads, kv_heads, turn), self.k_norm.as_ref())?,
            taken(qkv, &heads_of(heads + kv_heads, kv_heads, None), None)?,
        ])
    }

    fn composed_heads(&self, qkv: &Tensor, step: &Step) -> Result<[Tensor; 3]> {
        let AttentionShape {
            heads,
            kv_heads,
            head_dim,
        } = self.shape;
        let rotary = self.rotary.map(|index| &step.rotaries[index]);
        let angles = rotary.map(|(rotary, positions)| rotary.angles(positions, qkv.device()));
        let angles = angles.transpose()?;
        let heads_of = |first: usize, count: usize, norm: Option<&RmsNorm>, angles| {
            let place = (first * head_dim, count, head_dim);
            composed::heads(qkv, place, norm.map(RmsNorm::parts), angles)
        };
        Ok([
            heads_of(0, heads, self.q_norm.as_ref(), angles.as_ref())?,
            heads_of(heads, kv_heads, self.k_norm.as_ref(), angles.as_ref())?,
            heads_of(heads + kv_heads, kv_heads, None, None)?,
        ])
    }
}

impl Projections {
    /// From `(batch, tokens, hidden)` to queries, keys and values beside each other, `(batch, tokens, …)`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Separate([q, k, v]) => Linear::forward_all([q, k, v], x),
            Self::Fused(qkv) => qkv.forward(x),
        }
    }
}

/// Heads out of `(batch, tokens, …)`, each normalised where there is a norm.
fn taken(qkv: &Tensor, heads: &Heads, norm: Option<&RmsNorm>) -> Result<Tensor> {
    let Some(norm) = norm else {
        return qkv.apply_op1_no_bwd(heads);
    };
    norm.with(|norm| {
        qkv.apply_op1_no_bwd(&Heads {
            norm: Some(norm),
            ..*heads
        })
    })
}
