//! Attention that knows the places of tokens, for rows of different lengths that lie one behind the
//! other. What places mean, `relation` prepares; attention that knows nothing of them is the kernels'.

use std::ops::Range;

use candle_core::{Device, Result, Tensor, bail};
use rayon::prelude::*;

use super::relation::{Prepared, flat};
use crate::{
    kernels::primitives,
    layers::{Angles, Meeting, PaddedRows, Places, serves},
};

/// Softmax(q·kᵀ·scale + what the places add)·v within each row.
pub struct RelatedAttention<'a> {
    /// Tokens of each row.
    pub lengths: &'a [usize],
    pub heads: usize,
    pub scale: f32,
    pub relation: &'a Prepared<'a>,
}

/// One head of one row.
#[derive(Clone, Copy)]
struct Job {
    head: usize,
    /// The row's first token.
    start: usize,
    tokens: usize,
}

/// What the keys of distances give for one head of one row.
struct Met<'a> {
    /// Vectors of the distances that the row has, `(distances, head_dim)`.
    keys: Vec<f32>,
    /// What each key gives with each query of a distance, `(tokens, distances)`.
    given: Vec<f32>,
    distances: usize,
    /// For the query's place less the key's, the smallest first, the distance's number.
    numbers: &'a [usize],
    first: usize,
}

impl RelatedAttention<'_> {
    /// Of `q`, `k` and `v` `(1, tokens, heads * head_dim)`; to the same shape.
    pub fn forward(&self, [q, k, v]: [&Tensor; 3]) -> Result<Tensor> {
        let (_, tokens, width) = q.dims3()?;
        if serves(q) {
            let rows = PaddedRows::new(self.lengths, (self.heads, self.scale));
            return rows.attend([q, k, v], &self.places(q.device())?);
        }
        if !width.is_multiple_of(self.heads) || self.lengths.iter().sum::<usize>() != tokens {
            bail!("attention got q {:?}", q.shape());
        }
        let head_dim = width / self.heads;
        let (q, k, v) = (flat(q)?, flat(k)?, flat(v)?);
        let mut jobs = Vec::with_capacity(self.lengths.len() * self.heads);
        let mut start = 0;
        for &tokens in self.lengths {
            jobs.extend((0..self.heads).map(|head| Job {
                head,
                start,
                tokens,
            }));
            start += tokens;
        }
        let heads: Vec<Vec<f32>> = jobs
            .par_iter()
            .map(|job| {
                let [q, k, v] = [&q, &k, &v].map(|values| {
                    let rows = &values[job.start * width..][..job.tokens * width];
                    of_head(rows, job.head, (width, head_dim))
                });
                self.attend(*job, (q, k, v), head_dim)
            })
            .collect();
        // (1, tokens, heads * head_dim)
        let mut out = vec![0.0; tokens * width];
        for (job, values) in jobs.iter().zip(heads) {
            for (token, value) in values.chunks_exact(head_dim).enumerate() {
                let at = (job.start + token) * width + job.head * head_dim;
                out[at..][..head_dim].copy_from_slice(value);
            }
        }
        Tensor::from_vec(out, (1, tokens, width), &candle_core::Device::Cpu)
    }

    /// The relation, for products of all rows at once.
    fn places(&self, device: &Device) -> Result<Places<'_>> {
        Ok(match self.relation {
            Prepared::Plain => Places::Unknown,
            Prepared::Bias(values, _) => Places::Bias(values),
            Prepared::Rows(distances, rows, _) => {
                let [keys, queries] = distances.on(device)?;
                Places::Met(Meeting {
                    keys: keys.as_ref(),
                    queries: queries.as_ref(),
                    rows,
                })
            }
            Prepared::Turned(angles, reach) => {
                let longest = self.lengths.iter().copied().max().unwrap_or(0);
                let table = |of: fn(&(f32, f32)) -> f32| {
                    let values: Vec<f32> = angles.iter().map(of).collect();
                    Tensor::from_vec(
                        values,
                        (1, 1, longest, angles.len() / longest.max(1)),
                        device,
                    )
                };
                let angles = Angles {
                    cos: table(|angle| angle.0)?,
                    sin: table(|angle| angle.1)?,
                    interleaved: false,
                };
                Places::Turned(angles, *reach)
            }
        })
    }

    /// What one head makes of one row, `(tokens, head_dim)`; so are `q`, `k` and `v`.
    fn attend(
        &self,
        job: Job,
        (mut q, mut k, v): (Vec<f32>, Vec<f32>, Vec<f32>),
        head_dim: usize,
    ) -> Vec<f32> {
        if let Prepared::Turned(angles, _) = self.relation {
            turn(&mut q, angles, head_dim);
            turn(&mut k, angles, head_dim);
        }
        let met = self.met(job, &k, head_dim);
        let mut out = vec![0.0; job.tokens * head_dim];
        let mut scores = vec![0.0; job.tokens];
        let mut places = Vec::new();
        let queries = q.chunks_exact(head_dim).zip(out.chunks_exact_mut(head_dim));
        for (place, (query, out)) in queries.enumerate() {
            let seen = self.seen(place, job.tokens);
            let scores = &mut scores[seen.clone()];
            let keys = seen.start * head_dim..seen.end * head_dim;
            (primitives().dots)(query, &k[keys.clone()], scores);
            if let Some(met) = &met {
                met.add(query, place, (scores, &mut places));
            }
            for score in &mut *scores {
                *score *= self.scale;
            }
            if let Prepared::Bias(values, longest) = self.relation {
                let by_distance = &values[job.head * (2 * longest - 1)..][..2 * longest - 1];
                let own = &by_distance[longest - 1 - place..];
                for (score, value) in scores.iter_mut().zip(own) {
                    *score += value;
                }
            }
            let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum = (primitives().exponentials)(scores, largest);
            (primitives().weighted_sum)(scores, &v[keys], out);
            for value in out {
                *value /= sum;
            }
        }
        out
    }

    /// The tokens that the one at a place sees.
    fn seen(&self, place: usize, tokens: usize) -> Range<usize> {
        match self.relation {
            Prepared::Turned(_, Some(reach)) => {
                place.saturating_sub(*reach)..tokens.min(place + reach + 1)
            }
            _ => 0..tokens,
        }
    }

    fn met(&self, job: Job, keys: &[f32], head_dim: usize) -> Option<Met<'_>> {
        let Prepared::Rows(vectors, rows, longest) = self.relation else {
            return None;
        };
        // Distances of a shorter row lie in the middle.
        let numbers = &rows[longest - job.tokens..][..2 * job.tokens - 1];
        let (first, last) = (numbers[0], numbers[numbers.len() - 1]);
        let of_distances = |all: &Vec<f32>| {
            let width = all.len() / vectors.rows.count();
            let rows = &all[first * width..(last + 1) * width];
            // Of a head, or of all.
            let head = if width == head_dim { 0 } else { job.head };
            of_head(rows, head, (width, head_dim))
        };
        let distances = last + 1 - first;
        let given = vectors.queries.as_ref().map(of_distances).map(|queries| {
            let mut given = vec![0.0; job.tokens * distances];
            let keys = keys.chunks_exact(head_dim);
            for (key, given) in keys.zip(given.chunks_exact_mut(distances)) {
                (primitives().dots)(key, &queries, given);
            }
            given
        });
        Some(Met {
            keys: vectors.keys.as_ref().map(of_distances).unwrap_or_default(),
            given: given.unwrap_or_default(),
            distances,
            numbers,
            first,
        })
    }
}

impl Met<'_> {
    /// Adds to the scores of all keys what distances give; `places` is room to work in.
    fn add(&self, query: &[f32], place: usize, (scores, places): (&mut [f32], &mut Vec<f32>)) {
        let tokens = scores.len();
        // The number of the distance from the query to the key at `other`.
        let number = |other: usize| self.numbers[place + tokens - 1 - other] - self.first;
        if !self.keys.is_empty() {
            places.resize(self.distances, 0.0);
            (primitives().dots)(query, &self.keys, places);
            for (other, score) in scores.iter_mut().enumerate() {
                *score += places[number(other)];
            }
        }
        if !self.given.is_empty() {
            let rows = self.given.chunks_exact(self.distances);
            for ((other, score), given) in scores.iter_mut().enumerate().zip(rows) {
                *score += given[number(other)];
            }
        }
    }
}

/// One head's part of rows `(rows, width)`: `(rows, head_dim)`.
fn of_head(rows: &[f32], head: usize, (width, head_dim): (usize, usize)) -> Vec<f32> {
    let rows = rows.chunks_exact(width);
    rows.flat_map(|row| &row[head * head_dim..][..head_dim])
        .copied()
        .collect()
}

/// Turns each token's first half with its second.
fn turn(values: &mut [f32], angles: &[(f32, f32)], head_dim: usize) {
    let half = head_dim / 2;
    let tokens = values.chunks_exact_mut(head_dim);
    for (token, angles) in tokens.zip(angles.chunks_exact(half)) {
        let (first, second) = token.split_at_mut(half);
        for ((a, b), (cos, sin)) in first.iter_mut().zip(second).zip(angles) {
            (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
        }
    }
}
