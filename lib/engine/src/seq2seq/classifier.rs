//! An encoder-decoder that labels texts: `BartForSequenceClassification`, of which `bart-large-mnli` is one, and mBART's.
//! The decoder reads the text too, moved on by a token, and the state of its last end-of-sequence token
//! stands for the whole.

use candle_core::{Result as TensorResult, Tensor, bail};
use wire::{Failure, model::ModuleInfo};

use super::{Kind, Seq2Seq, Start, assemble};
use crate::{
    encoders::{CausalReader, HeadKind, Labels, Row, TextEncoder},
    failures,
    families::{CausalLm, ModelSizes, SourceReader},
    layers::Linear,
    weights::{Loader, Weights},
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

impl Classifier {
    /// Reads the head of an encoder-decoder. Fails where there is none.
    pub fn build(weights: &Weights, loader: &mut Loader) -> Result<Self, Failure> {
        let (json, plan, names) = super::blueprint(weights, loader)?;
        let mut model = assemble::assemble((&plan, &names), Kind::Classifier, json, loader)?;
        let defaults = super::special_ids(weights);
        let json = json.with_defaults(&defaults);
        let labels = Labels::read(json);
        let hidden = model.sizes.hidden_size;
        let count = labels.names.len();
        let end = json.number("eos_token_id").unwrap_or(2) as u32;
        let start = Start::read(weights).ok_or_else(|| {
            let name = model.architecture();
            failures::unsupported(format!(
                "the decoder of `{name}` reads no text of its source"
            ))
        })?;
        let dense = loader.linear("classification_head.dense", (hidden, hidden))?;
        let output = loader.linear("classification_head.out_proj", (count, hidden))?;
        super::finish((&plan, &names), Kind::Classifier, loader);
        model.modules = super::modules((&plan, &names), Kind::Classifier, weights, loader);
        Ok(Self {
            model,
            dense,
            output,
            labels,
            start,
            end,
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

    fn modules(&self) -> Option<&ModuleInfo> {
        self.model.modules.as_ref()
    }

    fn limit(&self) -> Option<usize> {
        Some(self.model.sizes().context_length)
    }

    fn mixes_tokens(&self) -> bool {
        self.model.mixes_tokens
    }

    fn hidden_states(&self, rows: &[Row]) -> TensorResult<Tensor> {
        let joins = !self.mixes_tokens();
        CausalReader::new(&self.model, Some(self.start), joins).hidden_states(rows)
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

    fn logits(&self, kind: HeadKind, states: &Tensor) -> TensorResult<Tensor> {
        if kind != HeadKind::Sequence {
            bail!("the model has no head of a model `{}`", kind.class());
        }
        self.output.forward(&self.dense.forward(states)?.tanh()?)
    }
}
