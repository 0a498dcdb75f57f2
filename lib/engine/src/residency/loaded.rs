//! What a resident model is: a decoder that continues text or writes about a source, or an encoder with its
//! head.

use wire::{
    Failure,
    model::{Activations, DType, ModelSpec, ModuleInfo, QuantizationMethod},
};

use crate::{
    cuda,
    encoders::{self, CausalReader, TextEncoder},
    failures,
    families::{self, ModelSizes},
    generate::{Reclaim, Steps},
    hub::ModelFiles,
    seq2seq::{self, Kind, SourceHalf},
    weights::{Description, Loader, Weights},
};

/// What a model is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To continue text.
    Generation,
    /// For a pipeline that needs an encoder.
    Encoding,
    /// For the hidden states of texts, which decoders have too.
    States,
    /// For these, or for vectors of texts, which the encoder of a whole T5 gives.
    Embedding,
    /// For a pipeline that writes a text about another.
    Rewriting,
    /// Whatever it can do.
    Any,
}

/// A model in memory.
pub(super) enum Loaded {
    Causal {
        steps: Steps,
        /// What its decoder begins with where it is to read a text: of encoder-decoders that do.
        start: Option<seq2seq::Start>,
    },
    Encoder(Box<dyn TextEncoder>),
}

/// Opens a model's weights; fails on those that are of no use for the purpose, before they are read.
pub(super) fn open(
    files: &ModelFiles,
    spec: &ModelSpec,
    purpose: Purpose,
) -> Result<Weights, Failure> {
    let mut weights = Weights::open(&files.layout)?;
    let name = &files.name;
    if spec.activations != Activations::F32 && seq2seq::knows(&weights) {
        return Err(failures::unsupported(format!(
            "`{name}` takes activations as they are: what rounding changes cannot be measured with an encoder"
        ))
        .hint("leave `activations` out"));
    }
    if !reads(&weights) {
        let architecture = architecture(&weights);
        return match purpose {
            Purpose::Encoding => Err(no_encoder(name, architecture.as_deref())),
            Purpose::Rewriting if !seq2seq::knows(&weights) => {
                Err(no_seq2seq(name, architecture.as_deref()))
            }
            Purpose::States | Purpose::Embedding
                if gives_no_states(&weights, purpose, architecture.as_deref()) =>
            {
                Err(no_states(
                    name,
                    architecture.as_deref().unwrap_or("unknown"),
                ))
            }
            _ => Ok(weights),
        };
    }
    match purpose {
        Purpose::Generation => return Err(no_decoder(name)),
        Purpose::Rewriting => return Err(no_seq2seq(name, architecture(&weights).as_deref())),
        Purpose::Encoding | Purpose::States | Purpose::Embedding | Purpose::Any => {}
    }
    let method = spec.quantization.as_ref().map(|wanted| &wanted.method);
    if let Some(QuantizationMethod::Ggml(kind)) = method {
        return Err(failures::unsupported(format!(
            "cannot quantise `{name}` to {}: blocks of ggml are for models that generate text",
            kind.name()
        ))
        .hint("take 4 or 8 bits of bitsandbytes: `quantization_config`, `--load-in-4bit`"));
    }
    encoders::rename(&mut weights);
    Ok(weights)
}

/// Whether weights are of an encoder-decoder that gives neither states of a text alone nor, where these do, its vector.
fn gives_no_states(weights: &Weights, purpose: Purpose, architecture: Option<&str>) -> bool {
    let embeds = architecture.is_some_and(seq2seq::embeds_by_encoder);
    seq2seq::knows(weights)
        && seq2seq::Start::read(weights).is_none()
        && !(purpose == Purpose::Embedding && embeds)
}

/// What a model that is not split over devices is called, in the plural; `None` of decoders, whose layers may be.
pub(super) fn undivided(weights: &Weights) -> Option<&'static str> {
    match (reads(weights), seq2seq::knows(weights)) {
        (_, true) => Some("encoder-decoders"),
        (true, false) => Some("encoders"),
        (false, false) => None,
    }
}

/// Whether it is an encoder, or is used as one.
fn reads(weights: &Weights) -> bool {
    encoders::knows(weights)
        || matches!(
            seq2seq::kind(weights),
            Some(Kind::Classifier | Kind::Encoder)
        )
}

/// Why cards do not run a model as it is asked for; `None` where they do.
pub(super) fn off_cards(spec: &ModelSpec) -> Option<&'static str> {
    if spec.activations != Activations::F32 {
        return Some("cards do not run rounded activations yet");
    }
    let has_brain_floats = cuda::short_dtype() == candle_core::DType::BF16;
    off_cards_with_cache(spec.kept_dtype(), has_brain_floats)
}

fn off_cards_with_cache(dtype: DType, has_brain_floats: bool) -> Option<&'static str> {
    (dtype == DType::BF16 && !has_brain_floats).then_some(
        "kernels for compute capability 7.5 keep no caches of bf16 (of `cache_dtype` f16 they do)",
    )
}

/// What a card computes many tokens with blocks of ggml in, where it would in f16 and the model's activations pass what
/// that holds; `None` of others. Those of Gemmas do: f16 ends at 65,504.
pub(super) fn in_place_of_halves(weights: &Weights) -> Option<DType> {
    let has_brain_floats = cuda::short_dtype() == candle_core::DType::BF16;
    wider_than_halves(architecture(weights).as_deref()?, has_brain_floats)
}

fn wider_than_halves(architecture: &str, has_brain_floats: bool) -> Option<DType> {
    (architecture.starts_with("gemma") && !has_brain_floats).then_some(DType::F32)
}

fn architecture(weights: &Weights) -> Option<String> {
    match &weights.description {
        Description::Json(json) => json["model_type"].as_str().map(str::to_owned),
        Description::Gguf(metadata) => metadata.text("general.architecture").map(str::to_owned),
    }
}

fn no_encoder(name: &str, architecture: Option<&str>) -> Failure {
    let architecture = architecture.unwrap_or("unknown");
    let reason = if seq2seq::has_classifier(architecture) {
        "is supported there as a model `ForSequenceClassification` alone"
    } else {
        "is not supported there"
    };
    let known: Vec<&str> = encoders::names().collect();
    failures::unsupported(format!(
        "cannot load `{name}` for this pipeline: architecture `{architecture}` {reason}"
    ))
    .hint(format!("architectures that load: {}", known.join(", ")))
}

fn no_seq2seq(name: &str, architecture: Option<&str>) -> Failure {
    let known: Vec<&str> = seq2seq::names().collect();
    failures::unsupported(format!(
        "`{name}` cannot write a text about another: architecture `{}` is no encoder-decoder that is supported",
        architecture.unwrap_or("unknown")
    ))
    .hint(format!("architectures that load: {}", known.join(", ")))
}

/// As transformers' own pipeline fails there: these classes want to be told what their decoder reads.
fn no_states(name: &str, architecture: &str) -> Failure {
    failures::unsupported(format!(
        "`{name}` gives no states of a text alone: a decoder of architecture `{architecture}` is to be told what \
         it reads"
    ))
    .hint("choose an encoder, a decoder, or BART, whose decoder reads its source too")
}

pub(super) fn no_decoder(name: &str) -> Failure {
    failures::unsupported(format!("`{name}` is an encoder, which continues no text"))
        .hint("use it by a pipeline: `pipeline_with(\"feature-extraction\").model(…).load()?`")
}

impl Loaded {
    /// A decoder `joins` the steps of several requests or does not; `reclaim` frees memory that a step lacks.
    pub fn build(
        (weights, name): (&Weights, &str),
        mut loader: Loader,
        (joins, reclaim): (bool, Reclaim),
    ) -> Result<Self, Failure> {
        let steps = |model| Steps::new(model, joins).reclaiming(reclaim);
        if encoders::knows(weights) {
            return Ok(Self::Encoder(Box::new(encoders::build(
                weights,
                &mut loader,
            )?)));
        }
        match seq2seq::kind(weights) {
            Some(Kind::Classifier) => {
                let classifier = seq2seq::Classifier::build(weights, &mut loader)?;
                Ok(Self::Encoder(Box::new(classifier)))
            }
            Some(Kind::Encoder) => {
                let encoder = seq2seq::SourceEncoder::build(weights, &mut loader)?;
                Ok(Self::Encoder(Box::new(encoder)))
            }
            Some(Kind::Writer) => {
                let model = seq2seq::build(weights, &mut loader)?;
                Ok(Self::Causal {
                    steps: steps(Box::new(model)),
                    start: seq2seq::Start::read(weights),
                })
            }
            None => Ok(Self::Causal {
                steps: steps(families::build(weights, name, loader)?),
                start: None,
            }),
        }
    }

    /// Fails when it is of no use for the purpose.
    pub fn check(&self, purpose: Purpose, name: &str) -> Result<(), Failure> {
        match purpose {
            Purpose::Any => Ok(()),
            Purpose::Generation => self.steps().map(drop).ok_or_else(|| no_decoder(name)),
            Purpose::Encoding => self.encoder(name).map(drop),
            Purpose::Embedding if self.source_half().is_some() => Ok(()),
            Purpose::States | Purpose::Embedding => self.causal_reader(name).map(drop),
            Purpose::Rewriting => {
                let model = self.steps().map(Steps::model);
                match model.filter(|model| model.source_reader().is_some()) {
                    Some(_) => Ok(()),
                    None => Err(no_seq2seq(name, Some(self.architecture()))),
                }
            }
        }
    }

    /// The steps of a decoder.
    pub fn steps(&self) -> Option<&Steps> {
        match self {
            Self::Causal { steps, .. } => Some(steps),
            Self::Encoder(_) => None,
        }
    }

    pub fn encoder(&self, name: &str) -> Result<&dyn TextEncoder, Failure> {
        match self {
            Self::Causal { steps, .. } => Err(no_encoder(name, Some(steps.model().architecture()))),
            Self::Encoder(encoder) => Ok(encoder.as_ref()),
        }
    }

    /// A decoder as a reader of texts; `None` where it is an encoder. Fails on the decoder of an
    /// encoder-decoder that reads no source.
    pub fn causal_reader(&self, name: &str) -> Result<Option<CausalReader<'_>>, Failure> {
        let Self::Causal { steps, start } = self else {
            return Ok(None);
        };
        let model = steps.model();
        if model.source_reader().is_some() && start.is_none() {
            return Err(no_states(name, model.architecture()));
        }
        Ok(Some(CausalReader::new(model, *start, steps.joins())))
    }

    /// The half of an encoder-decoder that embeds texts; `None` where it is none whose encoder does.
    pub fn source_half(&self) -> Option<SourceHalf<'_>> {
        let steps = self.steps()?;
        SourceHalf::of(steps.model(), steps.joins())
    }

    pub fn architecture(&self) -> &'static str {
        match self {
            Self::Causal { steps, .. } => steps.model().architecture(),
            Self::Encoder(encoder) => encoder.architecture(),
        }
    }

    pub fn sizes(&self) -> ModelSizes {
        match self {
            Self::Causal { steps, .. } => steps.model().sizes().clone(),
            Self::Encoder(encoder) => encoder.sizes(),
        }
    }

    pub fn bytes(&self) -> u64 {
        match self {
            Self::Causal { steps, .. } => steps.model().bytes(),
            Self::Encoder(encoder) => encoder.bytes(),
        }
    }

    /// Its modules, where they are known.
    pub fn modules(&self) -> Option<ModuleInfo> {
        match self {
            Self::Causal { steps, .. } => steps.model().modules().cloned(),
            Self::Encoder(encoder) => encoder.modules().cloned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_of_bf16_need_kernels_that_have_it() {
        let reason = off_cards_with_cache(DType::BF16, false).expect("are off cards");
        assert!(reason.contains("`cache_dtype` f16"), "{reason}");
        assert_eq!(off_cards_with_cache(DType::BF16, true), None);
        assert_eq!(off_cards_with_cache(DType::F16, false), None);
    }

    #[test]
    fn gemmas_are_not_computed_in_halves() {
        for (architecture, has_brain_floats, expected) in [
            ("gemma", false, Some(DType::F32)),
            ("gemma3", false, Some(DType::F32)),
            ("gemma3", true, None),
            ("llama", false, None),
        ] {
            let dtype = wider_than_halves(architecture, has_brain_floats);
            assert_eq!(dtype, expected, "{architecture}");
        }
    }
}
