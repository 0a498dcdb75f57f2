//! Rotary position embeddings (Su et al., 2021). Angles are f32 whatever the model's type: in 16 bits
//! positions past a few hundred run together. They are computed a step, not kept as a table of the
//! context. How frequencies are stretched is `rope_scaling`'s matter.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Device, Result, Tensor};

use super::{DynamicScaling, KvCache, RopeScaling, composed::Angles};
use crate::kernels::Turn;

/// Which values of a head turn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotaryLayout {
    /// The first half with the second: transformers' checkpoints.
    Halves,
    /// Neighbours: llama models in GGUF, whose conversion reorders the rows of `q` and `k`.
    Interleaved,
}

/// How frequencies depend on the position.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeConfig {
    /// The base.
    pub theta: f64,
    /// Values of a head that turn; the rest stay as they are.
    pub dim: usize,
    /// How a longer context than the trained one is fitted.
    pub scaling: RopeScaling,
}

/// Turns queries and keys by their positions.
#[derive(Clone, Debug)]
pub struct Rotary {
    inverse_frequencies: Vec<f32>,
    /// Frequencies of sequences longer than a number of tokens.
    long: Option<(usize, Vec<f32>)>,
    /// What frequencies that grow with the sequence are computed from.
    dynamic: Option<(DynamicScaling, f64)>,
    /// Multiplies cosine and sine.
    attention_factor: f32,
    layout: RotaryLayout,
}

/// Angles of a run of positions, for all layers of one step.
#[derive(Clone, Debug)]
pub struct Positions {
    /// `(tokens, dim / 2)`, or `(batch, tokens, dim / 2)` where rows differ.
    cos: Vec<f32>,
    /// As `cos`.
    sin: Vec<f32>,
    /// Rows that differ: one where all have the same.
    rows: usize,
    /// The same on each device other than the processor that asked.
    placed: Arc<Mutex<Vec<Angles>>>,
}

impl Positions {
    /// Takes the rows of another beside its own: as many tokens each, by the same embedding.
    pub(super) fn join(&mut self, other: &Self) {
        self.cos.extend_from_slice(&other.cos);
        self.sin.extend_from_slice(&other.sin);
        self.rows += other.rows;
    }
}

/// Which positions a step reads.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    /// Place of the first in the cache.
    pub start: usize,
    /// How many.
    pub tokens: usize,
    /// Places before the first token of each row, which do not count as positions.
    pub padding: &'a [usize],
    /// Places that will be taken once all that is being read is in.
    pub planned: usize,
}

impl<'a> Span<'a> {
    /// The next `tokens` of a cache.
    pub fn after(cache: &'a KvCache, tokens: usize) -> Self {
        Self {
            start: cache.len(),
            tokens,
            padding: cache.padding(),
            planned: cache.planned().max(cache.len() + tokens),
        }
    }

    /// Positions of each row's tokens: one row where all are the same. A token in the padding, which
    /// nobody looks at, takes position 0.
    pub fn rows(&self) -> Vec<Vec<usize>> {
        let padding = match self.padding {
            [first, rest @ ..] if rest.iter().any(|other| other != first) => self.padding,
            [first, ..] => std::slice::from_ref(first),
            [] => &[0],
        };
        let places = self.start..self.start + self.tokens;
        let row = |&padding: &usize| {
            places
                .clone()
                .map(|at| at.saturating_sub(padding))
                .collect()
        };
        padding.iter().map(row).collect()
    }

    /// Tokens of the longest row, once all that is being read is in.
    pub fn longest(&self) -> usize {
        self.planned - self.padding.iter().min().copied().unwrap_or(0)
    }
}

impl Rotary {
    /// Frequencies by a configuration.
    pub fn new(config: &RopeConfig, layout: RotaryLayout) -> Self {
        let periods = periods(config.theta as f32, config.dim);
        let frequencies = config.scaling.frequencies(&periods, config.theta);
        Self {
            inverse_frequencies: frequencies.short,
            long: frequencies.long,
            dynamic: match config.scaling {
                RopeScaling::Dynamic(scaling) => Some((scaling, config.theta)),
                _ => None,
            },
            attention_factor: frequencies.attention_factor,
            layout,
        }
    }

    /// Whether a sequence of this many tokens takes the frequencies of long ones. Keys turned by the
    /// ones are of no use among keys turned by the others.
    pub fn is_long(&self, tokens: usize) -> bool {
        self.long.as_ref().is_some_and(|(above, _)| tokens > *above)
    }

    /// Tokens of a sequence up to which a key does not depend on how many come after it.
    pub fn settled_length(&self) -> usize {
        let dynamic = self.dynamic.as_ref();
        dynamic.map_or(usize::MAX, |(scaling, _)| scaling.max_position_embeddings)
    }

    /// The frequencies of sequences past their settled length.
    fn grown(&self, tokens: usize) -> Option<Vec<f32>> {
        let (scaling, theta) = self
            .dynamic
            .filter(|(scaling, _)| tokens > scaling.max_position_embeddings)?;
        let dim = 2 * self.inverse_frequencies.len();
        let periods = periods(scaling.theta(theta, dim, tokens), dim);
        Some(periods.iter().map(|period| 1.0 / period).collect())
    }

    /// The angles of a step, by the frequencies of long sequences or of others.
    pub fn positions(&self, span: Span, long: bool) -> Positions {
        let grown = self.grown(span.longest());
        let frequencies = match (&self.long, &grown) {
            (Some((_, frequencies)), _) if long => frequencies,
            (_, Some(frequencies)) => frequencies,
            _ => &self.inverse_frequencies,
        };
        let rows = span.rows();
        let angles: Vec<f32> = rows
            .iter()
            .flatten()
            .flat_map(|&position| frequencies.iter().map(move |f| position as f32 * f))
            .collect();
        let table = |function: fn(f32) -> f32| -> Vec<f32> {
            let values = angles.iter();
            values
                .map(|&angle| function(angle) * self.attention_factor)
                .collect()
        };
        Positions {
            cos: table(f32::cos),
            sin: table(f32::sin),
            rows: rows.len(),
            placed: Arc::default(),
        }
    }

    /// The same as tensors of a device; all layers of a step there share them.
    pub(super) fn angles(&self, positions: &Positions, device: &Device) -> Result<Angles> {
        let mut placed = positions
            .placed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = placed
            .iter()
            .find(|angles| angles.cos.device().same_device(device));
        if let Some(angles) = known {
            return Ok(angles.clone());
        }
        let pairs = self.inverse_frequencies.len();
        let table = |values: &[f32]| {
            // (rows, 1, tokens, pairs)
            let tokens = values.len() / pairs / positions.rows;
            Tensor::from_slice(values, (positions.rows, 1, tokens, pairs), device)
        };
        let angles = Angles {
            cos: table(&positions.cos)?,
            sin: table(&positions.sin)?,
            interleaved: self.layout == RotaryLayout::Interleaved,
        };
        placed.push(angles.clone());
        Ok(angles)
    }

    /// What turns heads by the way.
    pub(crate) fn turn<'p>(&self, positions: &'p Positions) -> Turn<'p> {
        Turn {
            cos: &positions.cos,
            sin: &positions.sin,
            pairs: self.inverse_frequencies.len(),
            interleaved: self.layout == RotaryLayout::Interleaved,
            shared: positions.rows == 1,
        }
    }
}

/// `theta^(2i / dim)` for each `i`.
fn periods(theta: f32, dim: usize) -> Vec<f32> {
    (0..dim)
        .step_by(2)
        .map(|i| theta.powf(i as f32 / dim as f32))
        .collect()
}
