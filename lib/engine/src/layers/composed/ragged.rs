//! Attention of rows of different lengths that lie one behind the other: they are padded to the longest for products
//! of all at once, and lie as before behind them. What places of tokens add is here, too.

use std::ops::Range;

use candle_core::{D, Result, Tensor, bail};

use super::{
    Angles,
    attention::MOST_BYTES,
    heads::turned,
    softmax::{Scaling, Sight, softmax},
};

/// What places of query and key mean to attention.
pub(crate) enum Places<'a> {
    /// Nothing.
    Unknown,
    /// Added to scaled scores: `(heads, 2 * longest - 1)`, by the key's place less the query's, the smallest first.
    Bias(&'a [f32]),
    /// Added to scores before they are scaled, as in `DeBERTa` and BERT.
    Met(Meeting<'a>),
    /// Turns queries and keys; each sees so many tokens to either side, or all.
    Turned(Angles, Option<usize>),
}

/// Vectors of distances that queries and keys meet.
pub(crate) struct Meeting<'a> {
    /// `(distances, heads * head_dim)`, or `(distances, head_dim)` of all heads, which queries are multiplied with.
    pub keys: Option<&'a Tensor>,
    /// The same, which keys are multiplied with.
    pub queries: Option<&'a Tensor>,
    /// Rows of both, `2 * longest - 1`, by the query's place less the key's, the smallest first.
    pub rows: &'a [usize],
}

/// Rows that are read together.
pub(crate) struct Rows<'a> {
    lengths: &'a [usize],
    longest: usize,
    heads: usize,
    scale: f32,
}

impl<'a> Rows<'a> {
    /// Rows of so many tokens each, whose heads scale their scores.
    pub fn new(lengths: &'a [usize], (heads, scale): (usize, f32)) -> Self {
        Self {
            lengths,
            longest: lengths.iter().copied().max().unwrap_or(0),
            heads,
            scale,
        }
    }

    /// Softmax(q·kᵀ·scale and what places add)·v within each row: of `q`, `k` and `v` `(1, tokens, heads * head_dim)`,
    /// to the same shape.
    pub fn attend(&self, qkv: [&Tensor; 3], places: &Places) -> Result<Tensor> {
        let (_, tokens, width) = qkv[0].dims3()?;
        if !width.is_multiple_of(self.heads) || self.lengths.iter().sum::<usize>() != tokens {
            bail!("attention got q {:?}", qkv[0].shape());
        }
        // (rows, heads, longest, head_dim)
        let [mut q, mut k, v] = qkv.map(|x| self.padded(x));
        if let Places::Turned(angles, _) = places {
            q = q.and_then(|q| turned(&q, angles));
            k = k.and_then(|k| turned(&k, angles));
        }
        let (q, k, v) = (q?, k?, v?);
        let scores = self.lengths.len() * self.heads * self.longest * size_of::<f32>();
        let slice = (MOST_BYTES / scores.max(1)).max(1);
        let keys_met = match places {
            Places::Met(Meeting {
                queries: Some(vectors),
                ..
            }) => Some(against(&k, vectors)?),
            _ => None,
        };
        let bias = match places {
            Places::Bias(bias) => Some(self.by_distance(bias, &q)?),
            _ => None,
        };
        let parts = (0..self.longest).step_by(slice).map(|start| {
            let queries = start..self.longest.min(start + slice);
            let added = (keys_met.as_ref(), bias.as_ref());
            self.mixed([&q, &k, &v], queries, places, added)
        });
        // (rows, heads, longest, head_dim)
        let mixed = Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 2)?;
        // (1, rows * longest, heads * head_dim)
        let mixed = mixed.transpose(1, 2)?.reshape((1, (), width))?;
        if self.is_even() {
            return Ok(mixed);
        }
        let places = self.lengths.iter().enumerate();
        let places = places.flat_map(|(row, &length)| {
            let start = row * self.longest;
            start as u32..(start + length) as u32
        });
        let places: Vec<u32> = places.collect();
        mixed.index_select(&Tensor::new(places, mixed.device())?, 1)
    }

    /// What some queries of each row make of values, `(rows, heads, queries, head_dim)`; with what keys give against the
    /// vectors that they meet, or what distances add.
    fn mixed(
        &self,
        [q, k, v]: [&Tensor; 3],
        queries: Range<usize>,
        places: &Places,
        (keys_met, bias): (Option<&Tensor>, Option<&Tensor>),
    ) -> Result<Tensor> {
        let q = q.narrow(2, queries.start, queries.len())?.contiguous()?;
        // (rows, heads, queries, longest)
        let mut scores = q.matmul(&k.t()?)?;
        if let Places::Met(met) = places {
            scores = self.met(scores, (&q, keys_met), (met, &queries))?;
        }
        let reach = match places {
            Places::Turned(_, reach) => *reach,
            _ => None,
        };
        let rows: Vec<Range<usize>> = if self.is_even() {
            Vec::new()
        } else {
            self.lengths.iter().map(|&length| 0..length).collect()
        };
        let sight = Sight {
            first: queries.start,
            reach: [reach.unwrap_or(self.longest); 2],
            rows: &rows,
        };
        let scaling = Scaling {
            scale: self.scale,
            cap: None,
            bias,
        };
        softmax(scores, &sight, &scaling)?.matmul(v)
    }

    fn is_even(&self) -> bool {
        self.lengths.iter().all(|&length| length == self.longest)
    }

    /// From `(1, tokens, width)` to `(rows, heads, longest, head_dim)`: the last token of a row stands for its padding.
    fn padded(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.contiguous()?;
        let x = if self.is_even() {
            x
        } else {
            let mut start = 0;
            let mut places = Vec::with_capacity(self.lengths.len() * self.longest);
            for &length in self.lengths {
                places.extend((0..self.longest).map(|at| (start + at.min(length - 1)) as u32));
                start += length;
            }
            x.index_select(&Tensor::new(places, x.device())?, 1)?
        };
        let shape = (self.lengths.len(), self.longest, self.heads, ());
        x.reshape(shape)?.transpose(1, 2)?.contiguous()
    }

    /// Adds what distances give: each query with the vector of its distance to each key, and the other way round.
    fn met(
        &self,
        mut scores: Tensor,
        (q, keys_met): (&Tensor, Option<&Tensor>),
        (met, queries): (&Meeting, &Range<usize>),
    ) -> Result<Tensor> {
        // (queries, longest): the row of the vectors, by query and key.
        let row = |query, key| met.rows[self.longest - 1 + query - key] as u32;
        let rows = Tensor::from_vec(
            self.pairs(queries, row),
            (queries.len(), self.longest),
            q.device(),
        )?;
        let (batch, heads, ..) = scores.dims4()?;
        // Of each query or key the values of the others' distances.
        let given = |all: &Tensor, rows: &Tensor| {
            let (own, others) = rows.dims2()?;
            let rows = rows.broadcast_as((batch, heads, own, others))?;
            all.gather(&rows.contiguous()?, D::Minus1)
        };
        if let Some(vectors) = met.keys {
            scores = (scores + given(&against(q, vectors)?, &rows)?)?;
        }
        if let Some(keys_met) = keys_met {
            // By key and query, turned round.
            let turned = rows.t()?.contiguous()?;
            scores = (scores + given(keys_met, &turned)?.transpose(2, 3)?)?;
        }
        Ok(scores)
    }

    /// What distances add, `(heads, 2 * longest - 1)`.
    fn by_distance(&self, bias: &[f32], like: &Tensor) -> Result<Tensor> {
        let distances = 2 * self.longest - 1;
        if bias.len() != self.heads * distances {
            bail!("{} values are no bias of {} heads", bias.len(), self.heads);
        }
        Tensor::from_slice(bias, (self.heads, distances), like.device())
    }

    /// Of each of some queries and each key.
    fn pairs<T>(&self, queries: &Range<usize>, of: impl Fn(usize, usize) -> T) -> Vec<T> {
        let of = &of;
        queries
            .clone()
            .flat_map(|query| (0..self.longest).map(move |key| of(query, key)))
            .collect()
    }
}

/// Queries or keys against vectors of distances, `(rows, heads, tokens, distances)`.
fn against(x: &Tensor, vectors: &Tensor) -> Result<Tensor> {
    let (distances, width) = vectors.dims2()?;
    let head_dim = x.dim(3)?;
    let vectors = vectors
        .reshape((1, distances, width / head_dim, head_dim))?
        .permute((0, 2, 3, 1))?;
    x.broadcast_matmul(&vectors.contiguous()?)
}
