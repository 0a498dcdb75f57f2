//! What a cell shows whose last line sets something up and lacks the call that does it: what it would do,
//! and that call.

use ::display::{Pending, RichDisplay};
use wire::{
    mime::Bundle,
    model::{Activations, Device, DeviceMap, ModelSource, ModelSpec, QuantizationMethod},
};

/// Shows a value as what is pending by it.
macro_rules! shows_pending {
    ($($type:ty),*) => {$(
        impl RichDisplay for $type {
            fn bundle(&self) -> Bundle {
                self.pending().bundle()
            }
        }
    )*};
}

shows_pending!(
    crate::Forward,
    crate::Generate,
    crate::ModelBuilder,
    crate::PipelineBuilder,
    crate::StreamedPipeline,
    crate::tokenizer::TokenizerBuilder
);

/// Something that `run` does.
pub(crate) fn run(task: String, missing: &str) -> Pending {
    Pending {
        task,
        missing: missing.to_owned(),
        call: ".run()?",
        ..Default::default()
    }
}

/// Something that `load` does.
pub(crate) fn load(task: String) -> Pending {
    Pending {
        task,
        missing: "nothing was loaded yet".to_owned(),
        call: ".load()?",
        ..Default::default()
    }
}

/// How many prompts, of which model.
pub(crate) fn of_prompts(count: usize, model: &ModelSpec) -> String {
    let prompts = ::display::units::plural(count, "prompt");
    format!("{prompts} with {}", model.source.repo)
}

/// What was said of where files come from.
pub(crate) fn source(pending: Pending, source: &ModelSource) -> Pending {
    let only_local = source.local_files_only.then_some(true);
    pending
        .with("revision", source.revision.as_ref())
        .with("gguf_file", source.gguf_file.as_ref())
        .with("local_files_only", only_local)
}

/// What was said of a model; what is left as it is by default is not told.
pub(crate) fn model(spec: &ModelSpec) -> Pending {
    let device = match &spec.device_map {
        DeviceMap::Whole(Device::Auto) => None,
        DeviceMap::Whole(device) => Some(device.to_string()),
        DeviceMap::Modules(modules) => Some(format!("{modules:?}")),
    };
    let activations = spec.activations;
    let is_set = activations != Activations::default();
    let blocks = spec.quantization.as_ref().map(|one| match &one.method {
        QuantizationMethod::Ggml(kind) => kind.name().to_owned(),
        other => format!("{other:?}"),
    });
    let pending = load(format!("load the model {}", spec.source.repo));
    source(pending, &spec.source)
        .with("device_map", device)
        .with("dtype", spec.dtype.map(|dtype| format!("{dtype:?}")))
        .with(
            "cache_dtype",
            spec.cache_dtype.map(|dtype| format!("{dtype:?}")),
        )
        .with("activations", is_set.then(|| activations.name()))
        .with("quantize", blocks)
}
