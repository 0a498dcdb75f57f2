//! What a model's name alone means to a command that uses one: what the notebook last said of it, else the model in
//! memory, as it was loaded. To load it once more as its files have it would take what quantising it has saved.

use std::collections::HashMap;

use jupyter::{CellError, Publisher};
use wire::model::{EMBEDDED_FILE, EMBEDDED_REPO, ModelSpec, Resident};

use super::{Commands, host, language::say};

/// Models as commands of a notebook last loaded or used them, by their names.
#[derive(Default)]
pub(super) struct Named(HashMap<String, ModelSpec>);

impl Named {
    pub(super) fn note(&mut self, spec: ModelSpec) {
        self.0.insert(spec.source.repo.clone(), spec);
    }
}

/// The model that a name alone means: as the notebook named it last, else the one of this name in memory that was used
/// last, which is told where it is not as its files have it; else `plain`.
pub(super) fn named(
    commands: &Commands,
    plain: ModelSpec,
    out: &Publisher,
) -> Result<ModelSpec, CellError> {
    if let Some(own) = commands.named.0.get(&plain.source.repo) {
        return Ok(own.clone());
    }
    let residents = residents(commands, &plain)?;
    let idle = |a: &&Resident, b: &&Resident| a.idle_seconds.total_cmp(&b.idle_seconds);
    let Some(found) = residents.iter().min_by(idle) else {
        return Ok(plain);
    };
    if !is_plain(&found.spec, &plain) {
        say(out, &line(found, &plain));
    }
    Ok(found.spec.clone())
}

/// The pinned models of a name.
pub(super) fn pinned(commands: &Commands, plain: &ModelSpec) -> Result<Vec<ModelSpec>, CellError> {
    let residents = residents(commands, plain)?.into_iter();
    let pinned = residents.filter(|resident| resident.pinned);
    Ok(pinned.map(|resident| resident.spec).collect())
}

fn residents(commands: &Commands, plain: &ModelSpec) -> Result<Vec<Resident>, CellError> {
    let status = host::status(commands)?;
    let mut models = status.map(|status| status.models).unwrap_or_default();
    models.retain(|model| model.spec.source.repo == plain.source.repo);
    Ok(models)
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

/// What it is, with what was said of it.
fn line(resident: &Resident, plain: &ModelSpec) -> String {
    let (info, spec) = (&resident.info, &resident.spec);
    let mut said = vec![info.quantization.clone()];
    said.extend(spec.source.gguf_file.clone());
    if spec.source.revision != plain.source.revision {
        said.extend(spec.source.revision.clone());
    }
    if spec.activations != plain.activations {
        said.push(format!("activations {}", spec.activations.name()));
    }
    if let Some(dtype) = spec.cache_dtype {
        said.push(format!("a cache of {dtype:?}"));
    }
    let said = said.join(", ");
    format!(
        "{} as it is in memory: {said} on {}",
        info.name, info.device
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::model_options;

    #[test]
    fn options_make_another_model_of_it() {
        let plain = model_options::plain(EMBEDDED_REPO);
        let mut spec = plain.clone();
        spec.source.gguf_file = Some(EMBEDDED_FILE.to_owned());
        assert!(is_plain(&spec, &plain));
        spec.source.gguf_file = Some("other.gguf".to_owned());
        assert!(!is_plain(&spec, &plain));
        for options in [
            "--device cpu",
            "--dtype bf16",
            "--load-in-4bit",
            "--revision v1",
        ] {
            let spec = model_options::spec(&format!("{EMBEDDED_REPO} {options}"));
            assert!(!is_plain(&spec.expect("is right"), &plain), "{options}");
        }
    }

    #[test]
    fn what_was_said_last_of_a_name_is_kept() {
        let mut named = Named::default();
        for said in ["a/b --load-in-4bit", "c/d --dtype f16", "a/b --dtype bf16"] {
            named.note(model_options::spec(said).expect("is right"));
        }
        let expected = model_options::spec("a/b --dtype bf16").expect("is right");
        assert_eq!(named.0.get("a/b"), Some(&expected));
        assert_eq!(named.0.len(), 2);
    }
}
