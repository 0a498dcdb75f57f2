//! Attention of many tokens by squares, where activations may be rounded to brain floats: queries, keys, values
//! and the weights of values are, sums are f32, as in the Flash Attention of `PyTorch` on processors (whose way
//! is that of `attention_blocks`). Two tiles of sixteen queries meet 64 keys at a time; a row is a query.

use std::{f32::consts::LOG2_E, ops::Range};

use half::bf16;
use wire::model::DType;

use super::{
    attention::{Call, CausalAttention, Part, all_seen},
    given::{Given, both, copy_pairs},
    panels::{Lanes, PANEL},
    primitives,
    squares::{COLUMNS, Entered, Products, SQUARE, Square, Squares, room},
};
use crate::bitsandbytes::round;

/// Keys that are looked at at once.
pub(super) const KEYS: usize = 64;
/// Queries of one job: enough to pay for laying the keys out.
const QUERIES_PER_JOB: usize = 384;

/// Products with nothing.
const NOTHING: Products = [[[[0.0; PANEL]; PANEL]; 2]; 2];

/// Sixteen queries, and what they have found so far.
pub(crate) struct Softmax {
    /// Of the next keys, a bit each: those that a query sees.
    pub seen: [u64; PANEL],
    /// The largest scaled score, as an exponent of two.
    pub largest: Lanes,
    /// Sums of powers by scores less the largest, a part in each lane.
    pub sums: [Lanes; PANEL],
}

/// Whether queries can be laid out so; others take `attention_blocks`, which rounds nothing.
pub(super) fn serves(attention: &CausalAttention, call: &Call) -> bool {
    call.head_dim.is_multiple_of(COLUMNS) && attention.cap.is_none() && attention.scale > 0.0
}

/// Gives `(batch, tokens, heads, head_dim)`.
pub(super) fn attend<T: Given>(
    squares: &Squares,
    attention: &CausalAttention,
    call: &Call,
) -> Vec<T> {
    call.by_jobs(QUERIES_PER_JOB, &|part, out| {
        let job = Job {
            squares,
            attention,
            call,
            part,
        };
        job.attend(out);
    })
}

/// What one job works on.
struct Job<'a> {
    squares: &'a Squares,
    attention: &'a CausalAttention,
    call: &'a Call<'a>,
    part: Part,
}

/// Two tiles of queries.
struct Queries {
    /// Tokens by pairs of columns: of each tile, a square for each 32 columns.
    squares: Vec<f32>,
    /// The keys that each sees.
    seen: [[Range<usize>; PANEL]; 2],
    softmax: [Softmax; 2],
    /// Values weighted by powers by scores less the largest: for each 32 columns, those of both tiles.
    mixed: Vec<Products>,
}

/// Some keys and their values, as panels.
struct Block {
    /// Of each sixteen keys, a square for each 32 columns: pairs of columns by keys.
    keys: Vec<f32>,
    /// Of each sixteen columns, a square for each 32 keys: pairs of keys by columns.
    values: Vec<f32>,
    /// Rows of brain floats, where the cache has others.
    rounded: Vec<bf16>,
    /// Rows of pairs.
    pairs: Vec<f32>,
    found: Box<Found>,
}

/// What two tiles of queries find among the keys. It begins where processors load squares fastest.
#[repr(align(64))]
struct Found {
    scores: [Products; KEYS / COLUMNS],
    /// Of each tile, a square for each 32 keys: queries by pairs of keys.
    weights: [[Square; KEYS / COLUMNS]; 2],
}

impl Job<'_> {
    /// Writes `(tokens, group, head_dim)`.
    fn attend(&self, out: &mut [f32]) {
        let dim = self.call.head_dim;
        let all = self.part.queries(self.attention, self.call);
        let mut queries: Vec<Queries> = all
            .chunks(2 * PANEL)
            .map(|some| self.queries(some))
            .collect();
        let seen = all_seen(all.iter().map(|(.., seen)| seen));
        let mut block = Block::of(dim);
        let entered = self.squares.entered();
        for start in seen.clone().step_by(KEYS) {
            let keys = start..seen.end.min(start + KEYS);
            self.lay_out(keys.clone(), &mut block);
            for some in &mut queries {
                self.look(&entered, some, &keys, &mut block);
            }
        }
        for (queries, out) in queries.iter().zip(out.chunks_mut(2 * PANEL * dim)) {
            for (at, out) in out.chunks_exact_mut(dim).enumerate() {
                queries.found(at / PANEL, at % PANEL, out);
            }
        }
    }

    /// Some queries, two tiles at most; rows without one see nothing.
    fn queries(&self, some: &[(usize, usize, Range<usize>)]) -> Queries {
        let dim = self.call.head_dim;
        let softmax = || Softmax {
            seen: [0; PANEL],
            largest: [f32::NEG_INFINITY; PANEL],
            sums: [[0.0; PANEL]; PANEL],
        };
        let mut queries = Queries {
            squares: Vec::new(),
            seen: std::array::from_fn(|_| std::array::from_fn(|_| 0..0)),
            softmax: [softmax(), softmax()],
            mixed: vec![NOTHING; dim / COLUMNS],
        };
        let squares = room(&mut queries.squares, 2 * dim / COLUMNS);
        let tiles = some.chunks(PANEL).zip(&mut queries.seen);
        for ((tile, seen), squares) in tiles.zip(squares.chunks_exact_mut(dim / COLUMNS)) {
            let mut rows = Vec::with_capacity(PANEL * dim);
            for ((token, head, sees), seen) in tile.iter().zip(seen) {
                rows.extend_from_slice(self.call.query(self.part.batch, *head, *token));
                *seen = sees.clone();
            }
            round(&mut rows, DType::BF16);
            (self.squares.take_apart)(&rows, dim, squares);
        }
        queries
    }

    /// Puts keys and their values into panels.
    fn lay_out(&self, keys: Range<usize>, block: &mut Block) {
        let dim = self.call.head_dim;
        let count = keys.len();
        let Part { batch, kv_head, .. } = self.part;
        let place = self.call.place(batch, kv_head, keys);
        let rows = self.call.k.as_brain(place.clone(), &mut block.rounded);
        copy_pairs(rows, &mut block.pairs);
        let panels = room(&mut block.keys, KEYS / PANEL * (dim / COLUMNS));
        let sixteens = block.pairs[..count * dim / 2].chunks(PANEL * dim / 2);
        for (rows, panel) in sixteens.zip(panels.chunks_exact_mut(dim / COLUMNS)) {
            (primitives().turn)(rows, dim / 2, PANEL, panel.as_flattened_mut());
        }
        let rows = self.call.v.as_brain(place, &mut block.rounded);
        let panels = room(&mut block.values, dim / PANEL * (KEYS / COLUMNS));
        (self.squares.lay_out_values)(rows, dim, panels);
    }

    /// Takes a block of keys in.
    fn look(
        &self,
        entered: &Entered,
        queries: &mut Queries,
        keys: &Range<usize>,
        block: &mut Block,
    ) {
        let size = self.call.head_dim / COLUMNS;
        let Queries { seen, softmax, .. } = queries;
        for (softmax, seen) in softmax.iter_mut().zip(seen) {
            softmax.seen = seen.each_ref().map(|seen| bits(seen, keys));
        }
        let any = softmax.iter().flat_map(|softmax| softmax.seen);
        if any.fold(0, |all, bits| all | bits) == 0 {
            return;
        }
        let (first, second) = room(&mut queries.squares, 2 * size).split_at(size);
        let Found { scores, weights } = &mut *block.found;
        let panels = room(&mut block.keys, KEYS / PANEL * size);
        for (panels, scores) in panels.chunks_exact(2 * size).zip(&mut *scores) {
            let (low, high) = panels.split_at(size);
            entered.multiply([first, second], [low, high], scores);
        }
        for (at, (softmax, weights)) in softmax.iter_mut().zip(&mut *weights).enumerate() {
            let scale = self.attention.scale * LOG2_E;
            let factors = (self.squares.weigh)(scores, scale, (at, softmax), weights);
            fade(&mut queries.mixed, at, &factors);
        }
        let panels = room(&mut block.values, 2 * size * (KEYS / COLUMNS));
        let [first, second] = &*weights;
        for (panels, mixed) in panels
            .chunks_exact(2 * (KEYS / COLUMNS))
            .zip(&mut queries.mixed)
        {
            let (low, high) = panels.split_at(KEYS / COLUMNS);
            entered.add_products([first, second], [low, high], mixed);
        }
    }
}

impl Queries {
    /// What a query of one of the tiles has found: nothing where it has seen nothing.
    fn found(&self, tile: usize, row: usize, out: &mut [f32]) {
        if self.seen[tile][row].is_empty() {
            return;
        }
        let sum: f32 = self.softmax[tile].sums[row].iter().sum();
        let panels = self.mixed.iter().flat_map(|mixed| &mixed[tile]);
        for (out, panel) in out.as_chunks_mut().0.iter_mut().zip(panels) {
            *out = panel[row].map(|value| value / sum);
        }
    }
}

impl Block {
    /// Room for keys and values of so many columns.
    fn of(dim: usize) -> Self {
        Self {
            keys: Vec::new(),
            values: Vec::new(),
            rounded: vec![bf16::ZERO; KEYS * dim],
            pairs: vec![0.0; KEYS * dim / 2],
            found: Box::new(Found {
                scores: [NOTHING; KEYS / COLUMNS],
                weights: [[[0.0; SQUARE]; KEYS / COLUMNS]; 2],
            }),
        }
    }
}

/// Those of some keys that a query sees, a bit each.
fn bits(seen: &Range<usize>, keys: &Range<usize>) -> u64 {
    let below = |end: usize| {
        let count = end.clamp(keys.start, keys.end) - keys.start;
        u64::MAX.unbounded_shr((KEYS - count) as u32)
    };
    below(seen.end) & !below(seen.start)
}

/// Multiplies what the queries of a tile have found by factors of at most one.
fn fade(mixed: &mut [Products], tile: usize, factors: &Lanes) {
    for (row, factor) in factors.iter().enumerate() {
        if *factor < 1.0 {
            for panel in mixed.iter_mut().flat_map(|mixed| &mut mixed[tile]) {
                panel[row].iter_mut().for_each(|value| *value *= factor);
            }
        }
    }
}

/// [`Squares::lay_out_values`], for vectors of whatever length the caller is compiled for.
#[expect(
    clippy::inline_always,
    reason = "as a function of its own it would be compiled for the least vectors"
)]
#[inline(always)]
pub(super) fn lay_out_values(rows: &[bf16], dim: usize, out: &mut [Square]) {
    let none = [bf16::ZERO; PANEL];
    for (pair, rows) in rows.chunks(2 * dim).enumerate() {
        let (first, second) = rows.split_at(dim);
        let (first, second) = (first.as_chunks::<PANEL>().0, second.as_chunks().0);
        for (at, first) in first.iter().enumerate() {
            // Weights of keys that are not there are zero, and so must be what they meet.
            let second = second.get(at).unwrap_or(&none);
            let panel = out[at * (KEYS / COLUMNS)..][..KEYS / COLUMNS].as_flattened_mut();
            let out = &mut panel[pair * PANEL..][..PANEL];
            for ((out, first), second) in out.iter_mut().zip(first).zip(second) {
                *out = both([*first, *second]);
            }
        }
    }
    let laid = rows.len().div_ceil(2 * dim) * PANEL;
    for panel in out.chunks_exact_mut(KEYS / COLUMNS) {
        panel.as_flattened_mut()[laid..].fill(0.0);
    }
}
