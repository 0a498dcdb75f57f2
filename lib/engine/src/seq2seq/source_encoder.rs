//! The half of an encoder-decoder that reads, by itself: `T5EncoderModel` and `MT5EncoderModel`, of which
//! sentence-t5 and gtr are, or that half of a whole T5. It has no head; what becomes of its states is the pipelines'
//! matter.

use candle_core::{Result as TensorResult, Tensor, bail};
use wire::{Failure, model::ModuleInfo};

use super::{Kind, assemble, encoder::Encoder};
use crate::{
    encoders::{HeadKind, Labels, Row, TextEncoder},
    families::{CausalLm, ModelSizes, SourceReader},
    weights::{Loader, Weights},
};

/// A loaded encoder.
#[derive(Debug)]
pub struct SourceEncoder {
    architecture: &'static str,
    sizes: ModelSizes,
    encoder: Encoder,
    labels: Labels,
    modules: Option<ModuleInfo>,
    bytes: u64,
    mixes_tokens: bool,
}

impl SourceEncoder {
    /// Reads the encoder's weights alone.
    pub fn build(weights: &Weights, loader: &mut Loader) -> Result<Self, Failure> {
        let (json, plan, names) = super::blueprint(weights, loader)?;
        let encoder = assemble::encoder(&plan, &names, loader)?;
        super::finish((&plan, &names), Kind::Encoder, loader);
        let modules = super::modules((&plan, &names), Kind::Encoder, weights, loader);
        Ok(Self {
            modules,
            architecture: plan.architecture,
            sizes: ModelSizes {
                vocab_size: plan.encoder.vocab_size,
                context_length: plan.positions.trained(json),
                layers: plan.encoder.layers,
                hidden_size: plan.hidden,
            },
            encoder,
            labels: Labels::default(),
            bytes: loader.bytes(),
            mixes_tokens: loader.mixes_tokens(),
        })
    }
}

impl TextEncoder for SourceEncoder {
    fn architecture(&self) -> &'static str {
        self.architecture
    }

    fn sizes(&self) -> ModelSizes {
        self.sizes.clone()
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn head(&self) -> Option<HeadKind> {
        None
    }

    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn modules(&self) -> Option<&ModuleInfo> {
        self.modules.as_ref()
    }

    fn limit(&self) -> Option<usize> {
        None
    }

    fn mixes_tokens(&self) -> bool {
        self.mixes_tokens
    }

    fn hidden_states(&self, rows: &[Row]) -> TensorResult<Tensor> {
        let sources: Vec<&[u32]> = rows.iter().map(|row| row.ids).collect();
        self.encoder.forward(&sources)
    }

    fn pooled(&self, _states: &Tensor, _rows: &[Row]) -> TensorResult<Tensor> {
        bail!("the encoder has no head for sequences")
    }

    fn logits(&self, _kind: HeadKind, _states: &Tensor) -> TensorResult<Tensor> {
        bail!("the encoder has no head")
    }
}

/// The encoder of a model that has both halves, as a reader of texts: sentence-transformers reads no more of one.
pub struct SourceHalf<'a> {
    model: &'a dyn CausalLm,
    reader: &'a dyn SourceReader,
    /// Whether rows may be read together without changing what each gives.
    joins: bool,
    labels: Labels,
}

impl<'a> SourceHalf<'a> {
    /// The encoder of a model; `None` of one whose texts other states stand for.
    pub fn of(model: &'a dyn CausalLm, joins: bool) -> Option<Self> {
        let reader = model.source_reader()?;
        super::embeds_by_encoder(model.architecture()).then(|| Self {
            model,
            reader,
            joins,
            labels: Labels::default(),
        })
    }
}

impl TextEncoder for SourceHalf<'_> {
    fn architecture(&self) -> &'static str {
        self.model.architecture()
    }

    fn sizes(&self) -> ModelSizes {
        ModelSizes {
            vocab_size: self.reader.vocab_size(),
            ..self.model.sizes().clone()
        }
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
        self.reader.longest()
    }

    fn mixes_tokens(&self) -> bool {
        !self.joins
    }

    fn hidden_states(&self, rows: &[Row]) -> TensorResult<Tensor> {
        let sources: Vec<&[u32]> = rows.iter().map(|row| row.ids).collect();
        self.reader.states(&sources)
    }

    fn pooled(&self, _states: &Tensor, _rows: &[Row]) -> TensorResult<Tensor> {
        bail!("the encoder has no head for sequences")
    }

    fn logits(&self, _kind: HeadKind, _states: &Tensor) -> TensorResult<Tensor> {
        bail!("the encoder has no head")
    }
}
