//! Self-attention with grouped heads: rotary positions or none, norms on queries and keys, a window,
//! capped scores, each where the family has it.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::{
    LayerCache, Linear, Normed, Positions, RelativeAttention, RmsNorm, Rotary, Size, View,
    composed, join, linear::After, split,
};
use crate::kernels::{CausalAttention, Heads, PutHeads};

/// Sequences of which a card computes a token each at once: as many as its kernels take.
pub(crate) const MOST_APART: usize = 64;

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
    /// Whether activations may be rounded to brain floats.
    pub rounds_to_brain: bool,
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
    /// Caches that its rows are in: one, or one each.
    pub caches: usize,
    /// The model's rotary embeddings with the angles of this step.
    pub rotaries: Vec<(&'a Rotary, Positions)>,
    /// Positions of padding before each row's tokens.
    pub padding: Arc<[usize]>,
    /// What is added to the scores by distance, `(heads, keys)`, in families that count so.
    pub bias: Option<Arc<[f32]>>,
}

impl Step<'_> {
    /// Takes the row of another beside its own, where both are single tokens of sequences without padding, of
    /// which a card computes several at once; gives it back where not.
    pub(crate) fn join(&mut self, other: Self) -> Option<Self> {
        let is_plain = |step: &Self| {
            step.size == (step.caches, 1)
                && step.bias.is_none()
                && step.padding.iter().all(|&padding| padding == 0)
        };
        if !is_plain(self) || !is_plain(&other) || self.caches + other.caches > MOST_APART {
            return Some(other);
        }
        self.caches += other.caches;
        self.size.0 = self.caches;
        self.padding = vec![0; self.caches].into();
        for ((_, positions), (_, others)) in self.rotaries.iter_mut().zip(&other.rotaries) {
            positions.join(others);
        }
        None
    }
}

impl Attention {
    /// From `(batch, tokens, hidden)`, several parts joined, to the same shape; the keys and values of
    /// each part go into a cache of its own, or of each of its rows. Added to another where there is one.
    pub fn forward<'a>(
        &self,
        x: impl Into<Normed<'a>>,
        steps: &[Step],
        caches: &mut [&mut LayerCache],
        added_to: Option<&Tensor>,
    ) -> Result<Tensor> {
        let sizes: Vec<Size> = steps.iter().map(|step| step.size).collect();
        let parts = split(&self.projections.forward(x.into())?, &sizes)?;
        let mut mixed = Vec::with_capacity(parts.len());
        let mut rest = caches;
        for (qkv, step) in parts.iter().zip(steps) {
            let (own, others) = rest.split_at_mut(step.caches);
            rest = others;
            mixed.push(match own {
                [cache] => self.mix(qkv, step, cache)?,
                caches => self.mix_apart(qkv, step, caches)?,
            });
        }
        let after = After {
            sum: added_to,
            ..After::default()
        };
        self.output.forward_then(&join(mixed)?.0, after)
    }

    /// From queries, keys and values beside each other, `(batch, tokens, …)`, to
    /// `(batch, tokens, heads * head_dim)`.
    fn mix(&self, qkv: &Tensor, step: &Step, cache: &mut LayerCache) -> Result<Tensor> {
        if composed::serves(qkv) {
            let (q, views) = self.composed_heads(qkv, step, &mut [cache])?;
            if let ([view], Some(bias)) = (&views[..], &step.bias) {
                let (keys, values) = view.tokens()?;
                return composed::relative_attention(&q, (&keys, &values), bias);
            }
            return composed::causal_attention(&q, &views, &self.causal(&step.padding));
        }
        // (batch, heads, tokens, head_dim), and twice (batch, kv_heads, keys, head_dim)
        let (q, (keys, values)) = self.heads(qkv, step, cache)?;
        if let Some(bias) = &step.bias {
            let attention = RelativeAttention {
                bias: Arc::clone(bias),
                bidirectional: false,
            };
            return q.apply_op3_no_bwd(&keys, &values, &attention);
        }
        q.apply_op3_no_bwd(&keys, &values, &self.causal(&step.padding))
    }

    /// The same of single tokens of sequences that have caches of their own, `(1, sequences, …)`, on a device that
    /// computes by what is composed.
    fn mix_apart(
        &self,
        qkv: &Tensor,
        step: &Step,
        caches: &mut [&mut LayerCache],
    ) -> Result<Tensor> {
        let count = caches.len();
        let qkv = qkv.reshape((count, 1, ()))?;
        let (q, views) = self.composed_heads(&qkv, step, caches)?;
        let mixed = composed::causal_attention(&q, &views, &self.causal(&step.padding))?;
        mixed.reshape((1, count, ()))
    }

    fn causal(&self, padding: &Arc<[usize]>) -> CausalAttention {
        CausalAttention {
            scale: self.scale,
            cap: self.cap,
            window: self.window,
            padding: Arc::clone(padding),
            rounds_to_brain: self.rounds_to_brain,
            gives: self.output.takes(),
            card_dtype: self.projections.card_dtype(),
        }
    }

    /// Queries, and all keys and values, after those of this step have gone into the cache.
    fn heads(
        &self,
        qkv: &Tensor,
        step: &Step,
        cache: &mut LayerCache,
    ) -> Result<(Tensor, (Tensor, Tensor))> {
        let rotary = self.rotary.map(|index| &step.rotaries[index]);
        let turn = rotary.map(|(rotary, positions)| rotary.turn(positions));
        let heads = |place: &Place| Heads {
            first: place.first,
            count: place.count,
            head_dim: self.shape.head_dim,
            norm: None,
            turn: turn.filter(|_| place.turns),
        };
        let [q, k, v] = self.places();
        let queries = with_norm(heads(&q), q.norm, |heads| qkv.apply_op1_no_bwd(&heads))?;
        let put = |place: &Place, buffer: &Tensor, position| {
            with_norm(heads(place), place.norm, |heads| {
                buffer.inplace_op2(qkv, &PutHeads { heads, position })
            })
        };
        let all = cache.extend(step.size.1, qkv.device(), |(keys, values), position| {
            put(&k, keys, position)?;
            put(&v, values, position)
        })?;
        Ok((queries, all.tokens()?))
    }

    /// The same on a device that computes by what is composed, of rows in one cache or in one each.
    fn composed_heads(
        &self,
        qkv: &Tensor,
        step: &Step,
        caches: &mut [&mut LayerCache],
    ) -> Result<(Tensor, Vec<View>)> {
        let rotary = self.rotary.map(|index| &step.rotaries[index]);
        let angles = rotary.map(|(rotary, positions)| rotary.angles(positions, qkv.device()));
        let angles = angles.transpose()?;
        #[cfg(feature = "cuda")]
        if qkv.device().is_cuda() {
            return self.put_heads(qkv, angles.as_ref(), (step.size.1, caches));
        }
        let take = |place: Place| {
            let part = (place.first, place.count, self.shape.head_dim);
            let angles = angles.as_ref().filter(|_| place.turns);
            composed::heads(qkv, part, place.norm.map(RmsNorm::parts), angles)
        };
        let [q, k, v] = self.places();
        let (q, k, v) = (take(q)?, take(k)?, take(v)?);
        let rows = k.dim(0)? / caches.len();
        let caches = caches.iter_mut().enumerate();
        let views = caches.map(|(at, cache)| {
            let own = |heads: &Tensor| heads.narrow(0, at * rows, rows);
            cache.append(&own(&k)?, &own(&v)?)
        });
        let views = views.collect::<Result<_>>()?;
        Ok((q, views))
    }

    /// The same by a card's kernel, which writes into the cache as `heads` does.
    #[cfg(feature = "cuda")]
    fn put_heads(
        &self,
        qkv: &Tensor,
        angles: Option<&composed::Angles>,
        (tokens, caches): (usize, &mut [&mut LayerCache]),
    ) -> Result<(Tensor, Vec<View>)> {
        let rooms = caches
            .iter_mut()
            .map(|cache| cache.room(tokens, qkv.device()))
            .collect::<Result<Vec<_>>>()?;
        let into = crate::cuda::HeadsInto {
            shape: self.shape,
            norms: [&self.q_norm, &self.k_norm].map(|norm| norm.as_ref().map(RmsNorm::parts)),
            angles,
            rooms: &rooms,
        };
        let queries = crate::cuda::put_heads(qkv, &into)?;
        let views = caches.iter_mut().zip(rooms);
        let views = views.map(|(cache, room)| cache.fill(room, tokens));
        Ok((queries, views.collect()))
    }

    /// Queries, keys and values, where they lie beside each other.
    fn places(&self) -> [Place<'_>; 3] {
        let AttentionShape {
            heads,
            kv_heads,
            head_dim,
        } = self.shape;
        let place = |before: usize, count, norm, turns| Place {
            first: before * head_dim,
            count,
            norm,
            turns,
        };
        [
            place(0, heads, self.q_norm.as_ref(), true),
            place(heads, kv_heads, self.k_norm.as_ref(), true),
            place(heads + kv_heads, kv_heads, None, false),
        ]
    }
}

/// Some heads beside others.
struct Place<'a> {
    /// Values before them.
    first: usize,
    count: usize,
    norm: Option<&'a RmsNorm>,
    /// Whether rotary embeddings turn them.
    turns: bool,
}

impl Projections {
    /// What a card computes products of many tokens in, where it is one type.
    fn card_dtype(&self) -> candle_core::DType {
        match self {
            Self::Separate([q, k, v]) => {
                let is_one = q.card_dtype() == k.card_dtype() && k.card_dtype() == v.card_dtype();
                if is_one {
                    q.card_dtype()
                } else {
                    candle_core::DType::F32
                }
            }
            Self::Fused(qkv) => qkv.card_dtype(),
        }
    }

    /// From `(batch, tokens, hidden)` to queries, keys and values beside each other, `(batch, tokens, …)`.
    fn forward(&self, x: Normed) -> Result<Tensor> {
        match self {
            Self::Separate([q, k, v]) => Linear::forward_all([q, k, v], x),
            Self::Fused(qkv) => Linear::forward_all([qkv], x),
        }
    }
}

/// Heads, each normalised where there is a norm, for what takes them.
fn with_norm<T>(
    heads: Heads,
    norm: Option<&RmsNorm>,
    take: impl FnOnce(Heads) -> Result<T>,
) -> Result<T> {
    let Some(norm) = norm else {
        return take(heads);
    };
    norm.with(|norm| {
        take(Heads {
            norm: Some(norm),
            ..heads
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(size: Size, padding: &[usize]) -> Step<'static> {
        Step {
            size,
            caches: 1,
            rotaries: Vec::new(),
            padding: padding.into(),
            bias: None,
        }
    }

    #[test]
    fn single_tokens_of_sequences_join_as_many_as_a_launch_takes() {
        let mut all = step((1, 1), &[0]);
        for count in 2..=MOST_APART {
            assert!(all.join(step((1, 1), &[0])).is_none());
            assert_eq!((all.size, all.caches), ((count, 1), count));
            assert_eq!(*all.padding, vec![0; count]);
        }
        assert!(all.join(step((1, 1), &[0])).is_some(), "one too many");
    }

    #[test]
    fn other_parts_stay_apart() {
        let one = || step((1, 1), &[0]);
        let biased = || Step {
            bias: Some([0.0].into()),
            ..one()
        };
        let others = [
            || step((1, 2), &[0]),
            || step((2, 1), &[0, 0]),
            || step((1, 1), &[1]),
        ];
        for other in others {
            assert!(one().join(other()).is_some() && other().join(one()).is_some());
        }
        assert!(one().join(biased()).is_some() && biased().join(one()).is_some());
    }
}
