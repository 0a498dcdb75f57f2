//! The largest of logits that lie on a device: what a choice by the likeliest token or by `top_k` depends on, without the
//! rest of the vocabulary being copied.

use candle_core::{Result, Tensor};

/// Ids and logits that are copied of a row at most; of many that are the same it may be too few.
const CAPACITY: usize = 512;
/// The largest number of candidates that is asked for: as many as a card's kernel finds bounds for, and far from what
/// there is room for.
pub(crate) const MOST_CANDIDATES: usize = 256;

/// Tokens that may be chosen, and their logits; ids ascend.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Candidates {
    pub ids: Vec<u32>,
    pub logits: Vec<f32>,
}

/// Of f32 logits `(rows, vocabulary)` for each row all that are as large as its `count` largest, 1 to
/// [`MOST_CANDIDATES`], and maybe some more; `None` of a row where these are too many, or which has no numbers.
pub(crate) fn candidates(logits: &Tensor, count: usize) -> Result<Vec<Option<Candidates>>> {
    debug_assert!((1..=MOST_CANDIDATES).contains(&count), "{count} candidates");
    #[cfg(test)]
    ROWS.set(ROWS.get() + logits.dim(0)?);
    #[cfg(feature = "cuda")]
    if logits.device().is_cuda() {
        let found = crate::cuda::candidates(logits, count, CAPACITY)?;
        return Ok(found
            .to_vec2::<u32>()?
            .iter()
            .map(|row| read(row))
            .collect());
    }
    let rows = logits.to_vec2::<f32>()?;
    Ok(rows.iter().map(|row| largest(row, count)).collect())
}

/// A row as a card gives it: how many there are, then room for ids, then for the bits of logits.
#[cfg(any(feature = "cuda", test))]
fn read(row: &[u32]) -> Option<Candidates> {
    let (&count, both) = row.split_first()?;
    let count = usize::try_from(count).ok()?;
    let (ids, logits) = both.split_at(both.len() / 2);
    let pairs = ids.get(..count)?.iter().zip(logits);
    let mut pairs: Vec<(u32, f32)> = pairs
        .map(|(id, bits)| (*id, f32::from_bits(*bits)))
        .collect();
    pairs.sort_unstable_by_key(|(id, _)| *id);
    let (ids, logits) = pairs.into_iter().unzip();
    some(ids, logits)
}

/// The same of a row in main memory.
fn largest(row: &[f32], count: usize) -> Option<Candidates> {
    let mut sorted = row.to_vec();
    let place = count.min(row.len()).checked_sub(1)?;
    let (_, bound, _) = sorted.select_nth_unstable_by(place, |a, b| b.total_cmp(a));
    let bound = *bound;
    let kept = (0_u32..).zip(row).filter(|(_, logit)| **logit >= bound);
    let (ids, logits): (Vec<u32>, Vec<f32>) = kept.map(|(id, logit)| (id, *logit)).unzip();
    some(ids, logits).filter(|found| found.ids.len() <= CAPACITY)
}

/// None of a row without numbers: what is chosen of such is a matter of the whole.
fn some(ids: Vec<u32>, logits: Vec<f32>) -> Option<Candidates> {
    (!ids.is_empty()).then_some(Candidates { ids, logits })
}

#[cfg(test)]
thread_local! {
    /// Rows of which this thread was given what decides, or was to be.
    pub(crate) static ROWS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_card_gives_is_sorted_by_ids() {
        let bits = |logit: f32| logit.to_bits();
        let row = [3, 9, 2, 5, 0, bits(1.0), bits(-2.0), bits(0.5), 0];
        let found = read(&row).expect("there is room");
        assert_eq!(found.ids, [2, 5, 9]);
        assert_eq!(found.logits, [-2.0, 0.5, 1.0]);
        assert_eq!(read(&[5, 0, 0, 0, 0, 0, 0, 0, 0]), None, "more than fit");
    }

    #[test]
    fn those_that_are_the_same_as_the_last_are_kept() {
        let row = [0.0, 3.0, 1.0, 3.0, 1.0, f32::NEG_INFINITY];
        let found = largest(&row, 3).expect("are few");
        assert_eq!(found.ids, [1, 2, 3, 4]);
        assert_eq!(largest(&row, 1).expect("are few").ids, [1, 3]);
        assert_eq!(largest(&[f32::NAN; 9], 3), None);
        assert_eq!(read(&[0, 7, 7, 7, 7]), None, "no numbers at all");
        assert_eq!(largest(&[1.0; 600], 1), None);
        assert_eq!(largest(&[1.0; 3], 50).expect("are few").ids, [0, 1, 2]);
    }
}
