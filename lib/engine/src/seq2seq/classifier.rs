//! An encoder-decoder that labels texts: `BartForSequenceClassification`, of which `bart-large-mnli` is one, and mBART's.
//! The decoder reads the text too, moved on by a token, and the state of its last end-of-sequence token
//! stands for the whole.

use candle_core::{Error, Result as TensorResult, Tensor};
use wire::Failure;

use super::Seq2Seq;
use crate::{
    encoders::{HeadKind, Labels, Row, TextEncoder},
    families::{CausalLm, ModelSizes, Part, SourceReader, json::Json},
    layers::{KvCache, Linear},
    weights::{Description, Loader, Weights},
};

/// A loaded classifier.
#[derive(Debug)]
pub struct Classifier {
    model: Seq2Seq,
    dense: Linear,
    output: Linear,
    labels: Labels,
    start: Start,
    end: u32,
}

/// What the decoder begins with.
#[derive(Clone, Copy, Debug)]
enum Start {
    /// This token.
    Token(u32),
    /// mBART: the text's own last token, which names its language, by the count of those that are not this
    /// padding.
    Last { padding: u32 },
}

impl Start {
    fn of(self, ids: &[u32]) -> u32 {
        match self {
            Self::Token(id) => id,
            Self::Last { padding } => {
                let count = ids.iter().filter(|&&id| id != padding).count();
                ids.get(count.saturating_sub(1)).copied().unwrap_or(padding)
            }
        }
    }
}

impl Classifier {
    /// Reads the head of an encoder-decoder. Fails where there is none.
    pub fn build(weights: &Weights, loader: &mut Loader) -> Result<Self, Failure> {
        let model = super::build(weights, loader)?;
        let defaults = super::special_ids(weights);
        let empty = serde_json::Value::Null;
        let json = match &weights.description {
            Description::Json(json) => json,
            Description::Gguf(_) => &empty,
        };
        let json = Json::new(json).with_defaults(&defaults);
        let labels = Labels::read(json);
        let hidden = model.sizes.hidden_size;
        let count = labels.names.len();
        let end = json.number("eos_token_id").unwrap_or(2) as u32;
        let start = if model.architecture() == "mbart" {
            let padding = json.number("pad_token_id").unwrap_or(1) as u32;
            Start::Last { padding }
        } else {
            let start = json.number("decoder_start_token_id");
            Start::Token(start.map_or(end, |id| id as u32))
        };
        Ok(Self {
            dense: loader.linear("classification_head.dense", (hidden, hidden))?,
            output: loader.linear("classification_head.out_proj", (count, hidden))?,
            labels,
            start,
            end,
            model,
        })
    }
}

impl TextEncoder for Classifier {
    fn architecture(&self) -> &'static str {
        self.model.architecture()
    }

    fn sizes(&self) -> ModelSizes {
        ModelSizes {
            vocab_size: self.model.vocab_size(),
            ..self.model.sizes().clone()
        }
    }

    fn bytes(&self) -> u64 {
        self.model.bytes()
    }

    fn head(&self) -> Option<HeadKind> {
        Some(HeadKind::Sequence)
    }

    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn limit(&self) -> Option<usize> {
        Some(self.model.sizes().context_length)
    }

    fn hidden_states(&self, rows: &[Row]) -> TensorResult<Tensor> {
        // `shift_tokens_right`
        let shifted = |ids: &[u32]| -> Vec<u32> {
            let before = &ids[..ids.len().saturating_sub(1)];
            std::iter::once(self.start.of(ids))
                .chain(before.iter().copied())
                .collect()
        };
        let shifted: Vec<Vec<u32>> = rows.iter().map(|row| shifted(row.ids)).collect();
        let caches = rows.iter().map(|row| {
            let memory = self.model.memory(&[row.ids])?;
            self.model.new_cache().about(memory)
        });
        let mut caches: Vec<KvCache> = caches.collect::<TensorResult<_>>()?;
        let parts = shifted.iter().zip(&mut caches);
        let mut parts: Vec<Part> = parts.map(|(ids, cache)| Part { ids, cache }).collect();
        let states = self.model.read(&mut parts)?;
        if states.is_empty() {
            return Err(Error::msg("there is no row to read"));
        }
        Tensor::cat(&states, 1)
    }

    /// Each row's last end.
    fn pooled(&self, states: &Tensor, rows: &[Row]) -> TensorResult<Tensor> {
        let mut start = 0;
        let ends = rows.iter().map(|row| {
            let last = row.ids.len().saturating_sub(1);
            let end = row.ids.iter().rposition(|&id| id == self.end);
            let at = start + end.unwrap_or(last);
            start += row.ids.len();
            at as u32
        });
        let ends: Vec<u32> = ends.collect();
        states.index_select(&Tensor::new(ends, states.device())?, 1)
    }

    fn logits(&self, states: &Tensor) -> TensorResult<Tensor> {
        self.output.forward(&self.dense.forward(states)?.tanh()?)
    }
}
