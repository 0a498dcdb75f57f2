//! Attention of many tokens: sixteen queries side by side, one a lane, against blocks of keys, with the
//! softmax kept up to date as blocks come (Flash Attention; Dao et al., 2022). Heads that share keys are
//! queries of the same block, so that keys are read and turned round once for all of them.

use std::ops::Range;

use super::{
    attention::{Call, CausalAttention, KEYS, Part, all_seen},
    given::Given,
    panels::{Lanes, PANEL},
    primitives,
};

/// Queries of one job: enough to pay for turning the keys round.
const QUERIES_PER_JOB: usize = 128;

/// Gives `(batch, tokens, heads, head_dim)`.
pub(super) fn attend<T: Given>(attention: &CausalAttention, call: &Call) -> Vec<T> {
    call.by_jobs(QUERIES_PER_JOB, &|part, out| {
        let job = Job {
            attention,
            call,
            part,
        };
        job.attend(out);
    })
}

/// What one job works on.
struct Job<'a> {
    attention: &'a CausalAttention,
    call: &'a Call<'a>,
    part: Part,
}

/// Sixteen queries, and what they have found so far.
struct Queries {
    /// `(head_dim, 16)`.
    values: Vec<f32>,
    /// The keys that each sees.
    seen: [Range<usize>; PANEL],
    largest: Lanes,
    sums: Lanes,
    /// `(head_dim, 16)`: values weighted by exponentials of scores less the largest.
    mixed: Vec<Lanes>,
}

/// Some keys, as rows and turned round.
struct Block<'a> {
    keys: Range<usize>,
    /// `(keys / 16, head_dim, 16)`.
    turned: &'a [f32],
    /// `(keys, head_dim)`.
    values: &'a [f32],
}

impl Job<'_> {
    /// Writes `(tokens, group, head_dim)`.
    fn attend(&self, out: &mut [f32]) {
        let dim = self.call.head_dim;
        let mut queries = self.queries();
        let seen = all_seen(queries.iter().flat_map(|some| &some.seen));
        let (mut keys_wide, mut values_wide) = (vec![0.0; KEYS * dim], vec![0.0; KEYS * dim]);
        let mut turned = vec![0.0; KEYS * dim];
        for start in seen.clone().step_by(KEYS) {
            let keys = start..seen.end.min(start + KEYS);
            let Part { batch, kv_head, .. } = self.part;
            let place = self.call.place(batch, kv_head, keys.clone());
            let rows = self.call.k.widened(place.clone(), &mut keys_wide);
            let sixteens = rows.chunks(PANEL * dim);
            for (rows, turned) in sixteens.zip(turned.chunks_exact_mut(PANEL * dim)) {
                (primitives().turn)(rows, dim, PANEL, turned);
            }
            let block = Block {
                keys,
                turned: &turned,
                values: self.call.v.widened(place, &mut values_wide),
            };
            for some in &mut queries {
                some.look(self.attention, &block);
            }
        }
        for (queries, out) in queries.iter().zip(out.chunks_mut(PANEL * dim)) {
            for (lane, out) in out.chunks_exact_mut(dim).enumerate() {
                if queries.seen[lane].is_empty() {
                    continue;
                }
                for (out, lanes) in out.iter_mut().zip(&queries.mixed) {
                    *out = lanes[lane] / queries.sums[lane];
                }
            }
        }
    }

    /// The queries `(tokens, group)` in sixteens; lanes without one see nothing.
    fn queries(&self) -> Vec<Queries> {
        let dim = self.call.head_dim;
        let all = self.part.queries(self.attention, self.call);
        let sixteens = all.chunks(PANEL).map(|some| {
            let mut queries = Queries {
                values: vec![0.0; dim * PANEL],
                seen: std::array::from_fn(|_| 0..0),
                largest: [f32::NEG_INFINITY; PANEL],
                sums: [0.0; PANEL],
                mixed: vec![[0.0; PANEL]; dim],
            };
            for (lane, (token, head, seen)) in some.iter().enumerate() {
                queries.seen[lane] = seen.clone();
                let query = self.call.query(self.part.batch, *head, *token);
                for (lanes, value) in queries.values.chunks_exact_mut(PANEL).zip(query) {
                    lanes[lane] = *value;
                }
            }
            queries
        });
        sixteens.collect()
    }
}

impl Queries {
    /// Takes a block of keys in.
    fn look(&mut self, attention: &CausalAttention, block: &Block) {
        let dim = self.mixed.len();
        let keys = &block.keys;
        let sees = |seen: &Range<usize>| seen.start < keys.end && keys.start < seen.end;
        if !self.seen.iter().any(sees) {
            return;
        }
        let mut scores = [[0.0; PANEL]; KEYS];
        let scores = &mut scores[..keys.len()];
        let tiles = scores.chunks_mut(PANEL);
        for (scores, keys) in tiles.zip(block.turned.chunks_exact(PANEL * dim)) {
            (primitives().tile)(&self.values, keys, PANEL, scores);
        }
        attention.adjust(scores.as_flattened_mut());
        let sees_all = |seen: &Range<usize>| seen.start <= keys.start && keys.end <= seen.end;
        if !self.seen.iter().all(sees_all) {
            for (key, scores) in keys.clone().zip(&mut *scores) {
                for (score, seen) in scores.iter_mut().zip(&self.seen) {
                    if !seen.contains(&key) {
                        *score = f32::NEG_INFINITY;
                    }
                }
            }
        }
        self.add(scores, block.values);
    }

    /// Adds values by their scores, which become exponentials.
    fn add(&mut self, scores: &mut [Lanes], values: &[f32]) {
        let dim = self.mixed.len();
        let mut largest = self.largest;
        for scores in &*scores {
            for (largest, score) in largest.iter_mut().zip(scores) {
                *largest = largest.max(*score);
            }
        }
        // A lane that has seen nothing yet has no largest score; any number leaves its sums at zero.
        let base = largest.map(|largest| if largest.is_finite() { largest } else { 0.0 });
        let mut factors = [self.largest];
        (primitives().lane_exponentials)(&mut factors, &base);
        let sums = (primitives().lane_exponentials)(scores, &base);
        for lane in 0..PANEL {
            self.sums[lane] = self.sums[lane] * factors[0][lane] + sums[lane];
        }
        if factors[0].iter().any(|factor| *factor < 1.0) {
            for lanes in &mut self.mixed {
                for (value, factor) in lanes.iter_mut().zip(&factors[0]) {
                    *value *= factor;
                }
            }
        }
        self.largest = largest;
        for (part, mixed) in self.mixed.chunks_mut(PANEL).enumerate() {
            let values = &values[part * PANEL..];
            (primitives().tile)(scores.as_flattened(), values, dim, mixed);
        }
    }
}
