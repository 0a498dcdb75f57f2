//! What a model's name alone means to a command that uses one: the model in memory, as it was loaded. To load it once
//! more as its files have it would take what quantising it has saved.

use jupyter::{CellError, Publisher};
use wire::model::{EMBEDDED_FILE, EMBEDDED_REPO, ModelInfo, ModelSpec};

use super::{Commands, host, language::say};

/// The model in memory that is as `own`, which was used before, else the one of this name that was used last; told where
/// it is neither `own` nor as its files have it. Without one in memory `own`, else `plain`.
pub(super) fn named(
    commands: &Commands,
    plain: ModelSpec,
    own: Option<&ModelSpec>,
    out: &Publisher,
) -> Result<ModelSpec, CellError> {
    let status = host::status(commands)?;
    let residents = status.map(|status| status.models).unwrap_or_default();
    let known: Vec<(&ModelSpec, f64)> = residents
        .iter()
        .map(|resident| (&resident.spec, resident.idle_seconds))
        .collect();
    let Some(place) = choose(&known, &plain, own) else {
        return Ok(own.cloned().unwrap_or(plain));
    };
    let found = &residents[place];
    if Some(&found.spec) != own && !is_plain(&found.spec, &plain) {
        say(out, &line(&found.info));
    }
    Ok(found.spec.clone())
}

/// Of models in memory, with the seconds since each was used, the place of the one that is meant.
fn choose(
    models: &[(&ModelSpec, f64)],
    plain: &ModelSpec,
    own: Option<&ModelSpec>,
) -> Option<usize> {
    let of_name = || {
        let models = models.iter().enumerate();
        models.filter(|(_, (spec, _))| spec.source.repo == plain.source.repo)
    };
    let same = of_name().find(|(_, (spec, _))| Some(*spec) == own);
    let last = || of_name().min_by(|(_, (_, a)), (_, (_, b))| a.total_cmp(b));
    same.or_else(last).map(|(place, _)| place)
}

/// Whether it was asked for as by its name alone.
fn is_plain(spec: &ModelSpec, plain: &ModelSpec) -> bool {
    let mut spec = spec.clone();
    if spec.source.repo == EMBEDDED_REPO && spec.source.gguf_file.as_deref() == Some(EMBEDDED_FILE)
    {
        spec.source.gguf_file = None;
    }
    spec.source.local_files_only = plain.source.local_files_only;
    spec == *plain
}

fn line(info: &ModelInfo) -> String {
    let ModelInfo {
        name,
        quantization,
        device,
        ..
    } = info;
    format!("{name} as it is in memory: {quantization} on {device}")
}

#[cfg(test)]
mod tests {
    use wire::model::{DType, Device};

    use super::*;
    use crate::commands::model_options;

    #[test]
    fn a_name_means_what_was_used_last_but_the_same_as_before_first() {
        let spec = |arguments| model_options::spec(arguments).expect("is right");
        let specs = ["a/b", "a/b --load-in-4bit", "a/b --dtype bf16", "c/d"].map(spec);
        let models: Vec<_> = specs.iter().zip([3.0, 1.0, 2.0, 0.0]).collect();
        let plain = model_options::plain("a/b");
        assert_eq!(choose(&models, &plain, None), Some(1));
        assert_eq!(choose(&models, &plain, Some(&specs[2])), Some(2));
        let gone = spec("a/b --dtype f32");
        assert_eq!(choose(&models, &plain, Some(&gone)), Some(1));
        assert_eq!(choose(&models, &spec("e/f"), Some(&gone)), None);
    }

    #[test]
    fn options_make_another_model_of_it() {
        let plain = model_options::plain(EMBEDDED_REPO);
        let mut spec = plain.clone();
        spec.source.gguf_file = Some(EMBEDDED_FILE.to_owned());
        assert!(is_plain(&spec, &plain));
        spec.source.gguf_file = Some("other.gguf".to_owned());
        assert!(!is_plain(&spec, &plain));
        let on_cpu = ModelSpec {
            device_map: Device::Cpu.into(),
            ..plain.clone()
        };
        assert!(!is_plain(&on_cpu, &plain));
        let rounded = ModelSpec {
            dtype: Some(DType::BF16),
            ..plain.clone()
        };
        assert!(!is_plain(&rounded, &plain));
    }
}
