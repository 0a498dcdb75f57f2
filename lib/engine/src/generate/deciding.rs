//! Logits as far as a choice depends on them: on a card those that decide, where that is known, and the whole vocabulary
//! elsewhere. What several requests want of one pass is looked for, copied and waited for once.

use candle_core::{Result, Tensor};

use super::{Settings, output::Record, processors::Prompted, sampling::Sampler};
use crate::layers::{Candidates, MOST_CANDIDATES, candidates, serves};

/// What is wanted of the logits of a step.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    /// Those after so many of each row's last tokens.
    pub positions: usize,
    /// How many of the largest of each decide, where no other does.
    pub deciding: Option<usize>,
}

impl Wanted {
    /// None of them.
    pub const NOTHING: Self = Self {
        positions: 0,
        deciding: None,
    };
}

/// What there is of them.
pub(crate) enum Found {
    /// `(batch, positions, vocabulary)`, where the model computes.
    All(Tensor),
    /// Those that decide, row by row and position by position.
    Deciding(Vec<Candidates>),
}

/// Logits of a position.
#[derive(Clone)]
pub(crate) enum Logits {
    /// Of the whole vocabulary.
    All(Vec<f32>),
    /// Of those that decide.
    Deciding(Candidates),
}

/// How many of the largest logits decide, where no other does, nobody else looks at them, and they are few.
pub fn deciding(settings: &Settings, record: &Record) -> Option<usize> {
    let draws = settings.sampling.is_some();
    let deciding = settings.processors.deciding(draws);
    deciding.filter(|count| record.is_off() && (1..=MOST_CANDIDATES).contains(count))
}

/// Of a pass's logits `(1, all positions, vocabulary)` what each step wants, of so many rows each.
pub(crate) fn share(logits: &Tensor, wanted: &[(usize, Wanted)]) -> Result<Vec<Option<Found>>> {
    let most = wanted.iter().filter_map(|(_, wanted)| wanted.deciding);
    let mut deciding = match most.max() {
        // Who wants fewer of the largest is not wronged by more.
        Some(count) if serves(logits) => candidates(&logits.squeeze(0)?, count)?,
        _ => Vec::new(),
    }
    .into_iter();
    let positions = logits.dim(1)?;
    let mut start = 0;
    let own = |&(rows, wanted): &(usize, Wanted)| {
        let count = rows * wanted.positions;
        let own: Vec<Option<Candidates>> = deciding.by_ref().take(count).collect();
        let place = start;
        start += count;
        if count == 0 {
            return Ok(None);
        }
        if wanted.deciding.is_some()
            && own.len() == count
            && let Some(own) = own.into_iter().collect()
        {
            return Ok(Some(Found::Deciding(own)));
        }
        let mut all = logits.narrow(1, place, count)?;
        if count < positions && serves(logits) {
            // A card would copy for a part of a tensor the whole to main memory.
            all = all.force_contiguous()?;
        }
        let all = all.reshape((rows, wanted.positions, ()))?;
        Ok(Some(Found::All(all)))
    };
    wanted.iter().map(own).collect()
}

impl Found {
    /// `(batch, positions, vocabulary)`. Fails where not all were wanted.
    pub fn all(self) -> Result<Tensor> {
        match self {
            Self::All(logits) => Ok(logits),
            Self::Deciding(_) => candle_core::bail!("of these logits there are the largest alone"),
        }
    }

    /// Row by row and position by position.
    pub fn rows(self) -> Result<Vec<Logits>> {
        Ok(match self {
            Self::All(logits) => {
                let rows = logits.flatten_to(1)?.to_vec2::<f32>()?;
                rows.into_iter().map(Logits::All).collect()
            }
            Self::Deciding(rows) => rows.into_iter().map(Logits::Deciding).collect(),
        })
    }
}

/// A token by what decides: processors see nothing else of the vocabulary.
pub(crate) fn choose_among(
    mut candidates: Candidates,
    settings: &Settings,
    sampler: &mut Sampler,
) -> u32 {
    let nothing = Prompted::alone(&[]);
    settings
        .processors
        .process(&mut candidates.logits, &[], nothing);
    let place = sampler.choose(&candidates.logits);
    candidates.ids[place as usize]
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails says where")]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::layers::{ROWS, composed};

    #[test]
    fn what_several_want_is_looked_for_once() {
        const WIDTH: usize = 600;
        // At each position one token is likeliest, at the fourth all are.
        let likeliest = [7, 500, 3, usize::MAX, 599, 42];
        let row = |&best: &usize| (0..WIDTH).map(move |at| if at == best { 2.0 } else { 1.0 });
        let values: Vec<f32> = likeliest.iter().flat_map(row).collect();
        let logits = Tensor::from_vec(values, (1, 6, WIDTH), &Device::Cpu).unwrap();
        let wanted = |positions, deciding| Wanted {
            positions,
            deciding,
        };
        let wanted = [
            (2, wanted(1, Some(1))),
            (1, Wanted::NOTHING),
            (1, wanted(2, Some(1))),
            (1, wanted(1, None)),
            (1, wanted(1, Some(1))),
        ];
        let before = ROWS.get();
        let found = composed(|| share(&logits, &wanted)).unwrap();
        assert_eq!(ROWS.get() - before, 6, "of each once");
        let mut start = 0;
        for ((rows, wanted), found) in wanted.iter().zip(found) {
            let places = start..start + rows * wanted.positions;
            start = places.end;
            let Some(found) = found else {
                assert_eq!(wanted.positions, 0);
                continue;
            };
            // Those of the fourth are too many.
            let decides = wanted.deciding.is_some() && !places.contains(&3);
            assert_eq!(matches!(found, Found::Deciding(_)), decides, "{places:?}");
            for (place, logits) in places.zip(found.rows().unwrap()) {
                let best = likeliest[place];
                match logits {
                    Logits::Deciding(found) => {
                        assert_eq!(found.ids, [best as u32]);
                        assert_eq!(found.logits, [2.0]);
                    }
                    Logits::All(found) => {
                        assert_eq!(found, row(&best).collect::<Vec<f32>>());
                    }
                }
            }
        }
    }
}
