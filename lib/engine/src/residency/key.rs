//! Keys of the table of models: one for all spellings of the same weights, also when their files are gone.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Mutex,
};

use wire::{
    Failure,
    embedded::SENTENCE_ENCODER,
    model::{
        DType, Device, DeviceMap, EMBEDDED_FILE, EMBEDDED_REPO, EMBEDDED_REVISION, ModelSource,
        ModelSpec, QuantizationMethod,
    },
};

use super::lock;
use crate::{cuda, placement::resolve};

/// Where paths led when they were last there: what was loaded from one is found by it once its files are gone.
#[derive(Default)]
pub(super) struct Paths(Mutex<HashMap<String, String>>);

impl Paths {
    /// Where an absolute path leads, or led; `None` of names of repositories, and of what was never there.
    fn target(&self, repo: &str) -> Option<String> {
        let path = Path::new(repo);
        if !path.is_absolute() {
            return None;
        }
        let found = path.canonicalize();
        let mut known = lock(&self.0);
        let Ok(found) = found else {
            return known.get(repo).cloned();
        };
        let target = found.display().to_string();
        known.insert(repo.to_owned(), target.clone());
        Some(target)
    }
}

/// The table's key: one for all spellings of the same weights. Fails on a device that the engine does not
/// have.
pub(super) fn key(spec: &ModelSpec, paths: &Paths) -> Result<ModelSpec, Failure> {
    let device_map = map_key(&spec.device_map)?;
    let default = match spec
        .quantization
        .as_ref()
        .map(|quantization| &quantization.method)
    {
        // The files decide: they may hold weights that are quantised already.
        None => None,
        Some(QuantizationMethod::Ggml(_)) => Some(DType::F32),
        Some(_) if spec.auto_dtype => None,
        Some(QuantizationMethod::FourBit { .. } | QuantizationMethod::EightBit { .. }) => {
            Some(DType::F16)
        }
    };
    Ok(ModelSpec {
        source: source_key(&spec.source, paths),
        dtype: spec.dtype.or(default),
        auto_dtype: spec.auto_dtype && spec.dtype.or(default).is_none(),
        device_map,
        quantization: spec.quantization.clone(),
        activations: spec.activations,
        cache_dtype: spec
            .cache_dtype
            .filter(|&dtype| dtype != spec.activations.cache_dtype()),
    })
}

/// Keys under which the same weights may be where this one's would be: a card's model is where `auto` may put it, and
/// what `auto` put whole on a device is that device's.
pub(super) fn others(key: &ModelSpec) -> Vec<ModelSpec> {
    let on = |device: Device| ModelSpec {
        device_map: device.into(),
        ..key.clone()
    };
    match key.device_map {
        DeviceMap::Whole(Device::Auto) => cuda::cards().into_iter().map(on).collect(),
        DeviceMap::Whole(Device::Cpu | Device::Cuda(_)) => vec![on(Device::Auto)],
        DeviceMap::Modules(_) => Vec::new(),
    }
}

/// The same for the devices: `auto` is the processor where there is no card, and a map of the whole model no map. One by
/// modules stays as it is: what its names mean, and whether there are such, only the files say.
fn map_key(map: &DeviceMap) -> Result<DeviceMap, Failure> {
    Ok(match map {
        // Whether a card has room, only the load finds out.
        DeviceMap::Whole(Device::Auto) if resolve(Device::Auto)? != Device::Cpu => map.clone(),
        DeviceMap::Whole(device) => resolve(*device)?.into(),
        DeviceMap::Modules(modules) => {
            let modules: BTreeMap<String, Device> = modules
                .iter()
                .map(|(name, device)| Ok((name.clone(), resolve(*device)?)))
                .collect::<Result<_, Failure>>()?;
            match modules.iter().next() {
                Some((name, device)) if name.is_empty() && modules.len() == 1 => (*device).into(),
                _ => DeviceMap::Modules(modules),
            }
        }
    })
}

/// The same for the files alone.
pub(super) fn source_key(source: &ModelSource, paths: &Paths) -> ModelSource {
    let mut key = ModelSource {
        local_files_only: false,
        ..source.clone()
    };
    if let Some(path) = paths.target(&source.repo) {
        key.repo = path;
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
