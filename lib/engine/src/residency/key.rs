//! Keys of the table of models: one for all spellings of the same weights.

use std::path::Path;

use wire::{
    Failure, FailureKind,
    embedded::SENTENCE_ENCODER,
    model::{
        DType, Device, EMBEDDED_FILE, EMBEDDED_REPO, EMBEDDED_REVISION, ModelSource, ModelSpec,
        QuantizationMethod,
    },
};

/// The table's key: one for all spellings of the same weights. Fails on a device that the engine does not
/// have.
pub(super) fn key(spec: &ModelSpec) -> Result<ModelSpec, Failure> {
    if let Device::Cuda(number) = spec.device {
        return Err(Failure::new(
            FailureKind::Device,
            format!("cannot use `cuda:{number}`: this build runs on the processor only"),
        )
        .hint("use the device `cpu` or `auto`"));
    }
    let default = match spec
        .quantization
        .as_ref()
        .map(|quantization| &quantization.method)
    {
        // The files decide: they may hold weights that are quantised already.
        None => None,
        Some(QuantizationMethod::Ggml(_)) => Some(DType::F32),
        Some(QuantizationMethod::FourBit { .. } | QuantizationMethod::EightBit { .. }) => {
            Some(DType::F16)
        }
    };
    Ok(ModelSpec {
        source: source_key(&spec.source),
        dtype: spec.dtype.or(default),
        device: Device::Cpu,
        quantization: spec.quantization.clone(),
        activations: spec.activations,
        cache_dtype: spec.cache_dtype.filter(|&dtype| dtype != DType::F32),
    })
}

/// The same for the files alone.
pub(super) fn source_key(source: &ModelSource) -> ModelSource {
    let mut key = ModelSource {
        local_files_only: false,
        ..source.clone()
    };
    if Path::new(&source.repo).is_absolute()
        && let Ok(path) = Path::new(&source.repo).canonicalize()
    {
        key.repo = path.display().to_string();
        key.revision = None;
        return key;
    }
    key.revision.get_or_insert_with(|| "main".to_owned());
    if key.repo == EMBEDDED_REPO {
        // The embedded file is a copy of this revision, and stands for `main` too.
        if key.revision.as_deref() == Some(EMBEDDED_REVISION) {
            key.revision = Some("main".to_owned());
        }
        key.gguf_file
            .get_or_insert_with(|| EMBEDDED_FILE.to_owned());
    }
    if key.repo == SENTENCE_ENCODER.repo
        && key.revision.as_deref() == Some(SENTENCE_ENCODER.revision)
    {
        key.revision = Some("main".to_owned());
    }
    key
}
