//! Reads ids into a cache, in parts between which an interrupt is heard and other requests get their
//! turn.

use wire::Failure;

use super::{
    Seat,
    deciding::{Found, Logits, Wanted},
};
use crate::{Cancel, failures, layers::KvCache};

/// Tokens that are read at once: long enough for the matrix products, short enough for an interrupt to
/// be heard.
const CHUNK: usize = 256;
/// The same while others generate, whose next tokens wait for it.
const SHARED_CHUNK: usize = 32;
/// Times as many are read at once on a card, where values are made of packed weights for each pass, and a pass is short.
const CARD_FACTOR: usize = 4;
/// The same of one row of a batch, at least.
const ROW_CHUNK: usize = 16;

/// A place at a model, and whether the request for it still stands.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    /// Where what is read meets what others read.
    pub seat: &'a Seat<'a>,
    /// The request's flag.
    pub cancel: &'a Cancel,
}

impl Reader<'_> {
    /// Reads of each row, all equally long, what the cache lacks. Gives the logits after the last
    /// `positions` tokens, row by row and position by position; `None` when cancelled.
    pub fn read(
        self,
        rows: &[&[u32]],
        cache: &mut KvCache,
        positions: usize,
    ) -> Result<Option<Vec<Vec<Vec<f32>>>>, Failure> {
        let wanted = Wanted {
            positions,
            deciding: None,
        };
        let found = self.find(rows, cache, wanted)?;
        let values = found.map(|found| found.all()?.to_vec3::<f32>()).transpose();
        values.map_err(failures::internal)
    }

    /// The same as far as they decide, the positions of all rows behind each other.
    pub(crate) fn read_deciding(
        self,
        rows: &[&[u32]],
        cache: &mut KvCache,
        wanted: Wanted,
    ) -> Result<Option<Vec<Logits>>, Failure> {
        let found = self.find(rows, cache, wanted)?;
        let logits = found.map(Found::rows).transpose();
        logits.map_err(failures::internal)
    }

    fn find(
        self,
        rows: &[&[u32]],
        cache: &mut KvCache,
        wanted: Wanted,
    ) -> Result<Option<Found>, Failure> {
        let length = rows.first().map_or(0, |row| row.len());
        cache.plan(length);
        loop {
            if self.cancel.is_cancelled() {
                return Ok(None);
            }
            let chunk = if self.seat.has_company() {
                SHARED_CHUNK
            } else {
                CHUNK
            };
            let factor = if self.seat.model().is_on_card() {
                CARD_FACTOR
            } else {
                1
            };
            let chunk = factor * chunk;
            let chunk = (chunk / rows.len().max(1)).max(ROW_CHUNK);
            let start = cache.len();
            let is_last = length - start < chunk + wanted.positions;
            let end = if is_last { length } else { start + chunk };
            let ids = rows.iter().flat_map(|row| &row[start..end]);
            let wanted = if is_last { wanted } else { Wanted::NOTHING };
            let found = self
                .seat
                .step(ids.copied().collect(), cache, wanted)
                .map_err(failures::internal)?;
            if is_last {
                return Ok(found);
            }
        }
    }
}
