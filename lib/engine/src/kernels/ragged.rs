//! Attention in which every token of a row sees every other, for rows of different lengths that lie one
//! behind the other: no padding is computed, and no mask is needed. Sixteen queries at a time, one a lane,
//! as in `attention_blocks`.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, bail};

use super::{
    panels::{Lanes, PANEL},
    primitives,
    unsafe_blocks::{Stripe, share_stripes},
};

/// Softmax(q·kᵀ·scale + bias)·v within each row. Takes f32 `q`, `k` and `v` `(1, tokens, heads *
/// head_dim)`, the tokens of all rows one behind the other, however far apart tokens lie; gives the same
/// shape.
pub struct RaggedAttention {
    /// Tokens of each row.
    pub lengths: Arc<[usize]>,
    /// Heads.
    pub heads: usize,
    /// Multiplies the scores: `1/√head_dim` in most families.
    pub scale: f32,
    /// For each row what distances add to its scores, by the key's place less the query's, the smallest
    /// first: `(heads, 2 * tokens - 1)`. Empty where they add nothing.
    pub biases: Vec<Arc<[f32]>>,
}

/// Queries, keys or values of all tokens.
#[derive(Clone, Copy)]
struct Vectors<'a> {
    values: &'a [f32],
    /// Values between two tokens.
    stride: usize,
}

/// Room for one head's work.
struct Room {
    /// `(16, head_dim)`.
    rows: Vec<f32>,
    /// `(head_dim, 16)`.
    queries: Vec<f32>,
    /// `(keys / 16, head_dim, 16)`.
    keys: Vec<f32>,
    /// `(keys, 16)`: by lanes of queries.
    scores: Vec<Lanes>,
    /// `(head_dim, 16)`.
    mixed: Vec<Lanes>,
}

impl<'a> Vectors<'a> {
    fn of(storage: &'a CpuStorage, layout: &Layout) -> Result<Self> {
        let stride = layout.stride();
        if stride[2] != 1 && layout.dims()[2] != 1 {
            bail!("attention takes heads whose values lie side by side");
        }
        Ok(Self {
            values: &storage.as_slice::<f32>()?[layout.start_offset()..],
            stride: stride[1],
        })
    }

    /// Some tokens' values of the head that begins at `at`, turned round to `(head_dim, 16)`.
    fn turned(self, (first, count): (usize, usize), at: usize, rows: &mut [f32], out: &mut [f32]) {
        let dim = rows.len() / PANEL;
        for (row, token) in rows.chunks_exact_mut(dim).zip(first..first + count) {
            row.copy_from_slice(&self.values[token * self.stride + at..][..dim]);
        }
        (primitives().turn)(&rows[..count * dim], dim, PANEL, out);
    }
}

impl CustomOp3 for RaggedAttention {
    fn name(&self) -> &'static str {
        "ragged-attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (one, tokens, width) = q_layout.shape().dims3()?;
        let biases = self.lengths.iter().zip(&self.biases);
        let fits = one == 1
            && self.heads > 0
            && width % self.heads == 0
            && self.lengths.iter().sum::<usize>() == tokens
            && [k_layout, v_layout]
                .iter()
                .all(|layout| layout.shape() == q_layout.shape())
            && (self.biases.is_empty() || self.biases.len() == self.lengths.len())
            && biases
                .into_iter()
                .all(|(tokens, bias)| bias.len() == self.heads * (2 * tokens).saturating_sub(1));
        if !fits {
            bail!(
                "attention got q {:?} and k {:?}",
                q_layout.shape(),
                k_layout.shape()
            );
        }
        let vectors = [
            Vectors::of(q, q_layout)?,
            Vectors::of(k, k_layout)?,
            Vectors::of(v, v_layout)?,
        ];
        // (1, tokens, heads * head_dim)
        let mut out = vec![0.0; tokens * width];
        share_stripes(&mut out, width, width / self.heads, &|head, stripe| {
            self.head(head, vectors, (width / self.heads, stripe));
        });
        Ok((CpuStorage::F32(out), q_layout.shape().clone()))
    }
}

impl RaggedAttention {
    /// Writes one head of all rows.
    fn head(&self, head: usize, vectors: [Vectors; 3], (dim, stripe): (usize, &mut Stripe)) {
        let longest = self.lengths.iter().copied().max().unwrap_or(0);
        let mut room = Room {
            rows: vec![0.0; PANEL * dim],
            queries: vec![0.0; PANEL * dim],
            keys: vec![0.0; longest.next_multiple_of(PANEL) * dim],
            scores: vec![[0.0; PANEL]; longest],
            mixed: vec![[0.0; PANEL]; dim],
        };
        let [queries, keys, values] = vectors;
        let mut start = 0;
        for (row, &tokens) in self.lengths.iter().enumerate() {
            let span = (2 * tokens).saturating_sub(1);
            let bias = self.biases.get(row);
            let bias = bias.map_or(&[][..], |bias| &bias[head * span..][..span]);
            let blocks = room.keys.chunks_exact_mut(PANEL * dim);
            for (first, block) in (0..tokens).step_by(PANEL).zip(blocks) {
                let some = (start + first, PANEL.min(tokens - first));
                keys.turned(some, head * dim, &mut room.rows, block);
            }
            for first in (0..tokens).step_by(PANEL) {
                let count = PANEL.min(tokens - first);
                let Room {
                    rows,
                    queries: turned,
                    ..
                } = &mut room;
                queries.turned((start + first, count), head * dim, rows, turned);
                let own = Vectors {
                    values: &values.values[start * values.stride + head * dim..],
                    ..values
                };
                let sums = self.mix(&mut room, own, tokens, (first, bias));
                for lane in 0..count {
                    let out = stripe.row(start + first + lane);
                    for (out, lanes) in out.iter_mut().zip(&room.mixed) {
                        *out = lanes[lane] / sums[lane];
                    }
                }
            }
            start += tokens;
        }
    }

    /// What sixteen queries, from the row's `first` on, make of its values; gives what it is to be divided
    /// by.
    fn mix(
        &self,
        room: &mut Room,
        values: Vectors,
        tokens: usize,
        (first, bias): (usize, &[f32]),
    ) -> Lanes {
        let dim = room.mixed.len();
        let scores = &mut room.scores[..tokens];
        scores.fill([0.0; PANEL]);
        let blocks = room.keys.chunks_exact(PANEL * dim);
        for (scores, keys) in scores.chunks_mut(PANEL).zip(blocks) {
            (primitives().tile)(&room.queries, keys, PANEL, scores);
        }
        let mut largest = [f32::NEG_INFINITY; PANEL];
        for (key, scores) in scores.iter_mut().enumerate() {
            for (lane, score) in scores.iter_mut().enumerate() {
                *score *= self.scale;
                // Lanes past the last query have no distance, and nobody reads them.
                if let Some(bias) = (tokens - 1 + key)
                    .checked_sub(first + lane)
                    .and_then(|at| bias.get(at))
                {
                    *score += bias;
                }
                largest[lane] = largest[lane].max(*score);
            }
        }
        let sums = (primitives().lane_exponentials)(scores, &largest);
        room.mixed.fill([0.0; PANEL]);
        for (part, mixed) in room.mixed.chunks_mut(PANEL).enumerate() {
            let own = &values.values[part * PANEL..];
            (primitives().tile)(scores.as_flattened(), own, values.stride, mixed);
        }
        sums
    }
}
