//! Logits as far as a choice depends on them: on a card those that decide, where that is known, and the whole vocabulary
//! elsewhere.

use candle_core::Tensor;
use wire::Failure;

use super::{Settings, output::Record, sampling::Sampler};
use crate::{
    failures,
    layers::{Candidates, candidates, serves},
};

/// Logits of a position.
#[derive(Clone)]
pub enum Logits {
    /// Of the whole vocabulary.
    All(Vec<f32>),
    /// Of those that decide.
    Deciding(Candidates),
}

/// How many of the largest logits decide, where no other does and nobody else looks at them.
pub fn deciding(settings: &Settings, record: &Record) -> Option<usize> {
    let draws = settings.sampling.is_some();
    let deciding = settings.processors.deciding(draws);
    deciding.filter(|_| record.is_off())
}

/// Rows of logits `(rows, vocabulary)`, as far as they decide.
pub fn read(rows: &Tensor, deciding: Option<usize>) -> Result<Vec<Logits>, Failure> {
    let read = || {
        if let (Some(count), true) = (deciding, serves(rows))
            && let Some(found) = candidates(rows, count)?
        {
            return Ok(found.into_iter().map(Logits::Deciding).collect());
        }
        let rows = rows.to_vec2::<f32>()?;
        Ok(rows.into_iter().map(Logits::All).collect())
    };
    read().map_err(failures::internal)
}

/// A token by what decides: processors see nothing else of the vocabulary.
pub fn choose_among(mut candidates: Candidates, settings: &Settings, sampler: &mut Sampler) -> u32 {
    settings
        .processors
        .process(&mut candidates.logits, &[], &[]);
    let place = sampler.choose(&candidates.logits);
    candidates.ids[place as usize]
}
