//! A decoder, or the decoder of an encoder-decoder, as a reader of texts: its last hidden states, for
//! `feature-extraction` and embeddings. It has no head here; what it would write next is `generate`'s.

use candle_core::{Error, Result as TensorResult, Tensor, bail};
use wire::model::ModuleInfo;

use super::{HeadKind, Labels, Row, TextEncoder};
use crate::{
    families::{CausalLm, ModelSizes, Part},
    layers::{KvCache, split},
    seq2seq::Start,
};

/// A decoder that reads.
pub struct CausalReader<'a> {
    /// The model.
    pub model: &'a dyn CausalLm,
    /// What the text begins with that the decoder of an encoder-decoder reads: the source, moved on by a token.
    pub start: Option<Start>,
    /// Whether rows may be read together without changing what each gives.
    pub joins: bool,
    labels: Labels,
}

impl<'a> CausalReader<'a> {
    /// A reader without labels.
    pub fn new(model: &'a dyn CausalLm, start: Option<Start>, joins: bool) -> Self {
        Self {
            model,
            start,
            joins,
            labels: Labels::default(),
        }
    }

    /// The last hidden states of each row, `(1, tokens, hidden)`.
    fn read(&self, rows: &[Row]) -> TensorResult<Vec<Tensor>> {
        let ids: Vec<Vec<u32>> = rows
            .iter()
            .map(|row| match self.start {
                Some(start) => start.shifted(row.ids),
                None => row.ids.to_vec(),
            })
            .collect();
        let caches = rows.iter().map(|row| match self.model.source_reader() {
            Some(reader) => self.model.new_cache().about(reader.memory(&[row.ids])?),
            None => Ok(self.model.new_cache()),
        });
        let mut caches: Vec<KvCache> = caches.collect::<TensorResult<_>>()?;
        let parts = ids.iter().zip(&mut caches);
        let mut parts: Vec<Part> = parts.map(|(ids, cache)| Part { ids, cache }).collect();
        let (states, sizes) = self.model.read(&mut parts)?;
        split(&states, &sizes)
    }
}

impl TextEncoder for CausalReader<'_> {
    fn architecture(&self) -> &'static str {
        self.model.architecture()
    }

    fn sizes(&self) -> ModelSizes {
        self.model.sizes().clone()
    }

    fn bytes(&self) -> u64 {
        self.model.bytes()
    }

    fn head(&self) -> Option<HeadKind> {
        None
    }

    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn modules(&self) -> Option<&ModuleInfo> {
        self.model.modules()
    }

    fn limit(&self) -> Option<usize> {
        self.model.position_limit()
    }

    fn hidden_states(&self, rows: &[Row]) -> TensorResult<Tensor> {
        let states = if self.joins {
            self.read(rows)?
        } else {
            let alone = rows.iter().map(|row| self.read(std::slice::from_ref(row)));
            alone.collect::<TensorResult<Vec<_>>>()?.concat()
        };
        if states.is_empty() {
            return Err(Error::msg("there is no row to read"));
        }
        Tensor::cat(&states, 1)
    }

    fn pooled(&self, _states: &Tensor, _rows: &[Row]) -> TensorResult<Tensor> {
        bail!("a decoder has no head for sequences")
    }

    fn logits(&self, _kind: HeadKind, _states: &Tensor) -> TensorResult<Tensor> {
        bail!("a decoder has no head for texts")
    }
}
