//! Reads ids into a cache, in parts between which an interrupt is heard.

use candle_core::Tensor;
use wire::Failure;

use crate::{Cancel, failures, families::CausalLm, layers::KvCache};

/// Tokens that are read at once: long enough for the matrix products, short enough for an interrupt to
/// be heard.
const CHUNK: usize = 256;
/// The same of one row of a batch, at least.
const ROW_CHUNK: usize = 16;

/// A model, and whether the request for it still stands.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    /// What reads.
    pub model: &'a dyn CausalLm,
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
        let Some(hidden) = self.hidden_states(rows, cache, positions)? else {
            return Ok(None);
        };
        // (batch, positions, vocabulary)
        let logits = hidden
            .narrow(
                1,
                hidden.dim(1).map_err(failures::internal)? - positions,
                positions,
            )
            .and_then(|last| self.model.logits(&last.contiguous()?))
            .and_then(|logits| logits.to_vec3::<f32>())
            .map_err(failures::internal)?;
        Ok(Some(logits))
    }

    /// Hidden states `(batch, tokens, hidden)` of the last part, which has `positions` tokens or more.
    fn hidden_states(
        self,
        rows: &[&[u32]],
        cache: &mut KvCache,
        positions: usize,
    ) -> Result<Option<Tensor>, Failure> {
        let length = rows.first().map_or(0, |row| row.len());
        let chunk = (CHUNK / rows.len().max(1)).max(ROW_CHUNK);
        loop {
            if self.cancel.is_cancelled() {
                return Ok(None);
            }
            let start = cache.len();
            let end = if length - start < chunk + positions {
                length
            } else {
                start + chunk
            };
            let ids: Vec<u32> = rows
                .iter()
                .flat_map(|row| &row[start..end])
                .copied()
                .collect();
            let hidden = self
                .model
                .hidden_states(&ids, cache)
                .map_err(failures::internal)?;
            if end == length {
                return Ok(Some(hidden));
            }
        }
    }
}
