//! The models that the set-up put on this machine, by the names that they have on the hub. Their copies
//! stand for the main revision and for the commit that they were made of; any other is the hub's.

use std::path::{Path, PathBuf};

use wire::{
    Failure, FailureKind,
    embedded::{Embedded, FETCHED, SENTENCE_ENCODER, SENTIMENT_FOLDER, SENTIMENT_REPO},
    host::Event,
    model::ModelSource,
};

use super::{HubConfig, Layout};

/// The files of an embedded model; `None` of any other, and of one that is not there. An encoder's copy is
/// told, because on the hub its main revision may have moved on.
pub fn find(
    config: &HubConfig,
    source: &ModelSource,
    sink: &mut dyn FnMut(Event),
) -> Result<Option<Layout>, Failure> {
    if source.repo == SENTIMENT_REPO {
        return sentiment(config, source).map(Some);
    }
    let model = FETCHED.iter().find(|model| model.repo == source.repo);
    let Some(model) = model.filter(|model| means(source, model)) else {
        return Ok(None);
    };
    let folder = config.models().join(model.folder);
    if model
        .files
        .iter()
        .all(|file| !folder.join(file.name).exists())
    {
        return Ok(None);
    }
    check(&folder, model)?;
    if let [file] = model.files {
        return Ok(Some(Layout::Gguf(folder.join(file.name))));
    }
    sink(Event::Notice(format!(
        "Using the copy of {} that Warmcell's set-up installed (revision {}).",
        model.repo,
        &model.revision[..7]
    )));
    Ok(Some(Layout::Folder(folder)))
}

/// Names of the embedded models that are on this machine.
pub fn names(config: &HubConfig) -> Vec<&'static str> {
    let fetched = FETCHED.iter().filter(|model| {
        let folder = config.models().join(model.folder);
        check(&folder, model).is_ok()
    });
    let mut names: Vec<&str> = fetched.map(|model| model.repo).collect();
    if names.contains(&SENTENCE_ENCODER.repo) && head(config).is_file() {
        names.push(SENTIMENT_REPO);
    }
    names
}

/// Whether the files that are asked for are those of the copy.
fn means(source: &ModelSource, model: &Embedded) -> bool {
    let file = source.gguf_file.as_deref();
    let own_file = file.is_none_or(|file| matches!(model.files, [one] if one.name == file));
    let revision = source.revision.as_deref();
    own_file && revision.is_none_or(|revision| revision == "main" || revision == model.revision)
}

fn check(folder: &Path, model: &Embedded) -> Result<(), Failure> {
    for file in model.files {
        let path = folder.join(file.name);
        let bytes = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        if bytes != file.bytes {
            let message = format!(
                "the embedded model `{}` is damaged: {bytes} bytes, expected {}",
                path.display(),
                file.bytes
            );
            return Err(Failure::new(FailureKind::Corrupt, message)
                .hint("delete the file and run the set-up again"));
        }
    }
    Ok(())
}

fn head(config: &HubConfig) -> PathBuf {
    config
        .models()
        .join(SENTIMENT_FOLDER)
        .join("head.safetensors")
}

/// The sentiment model is nowhere else, so that a hub need not be asked.
fn sentiment(config: &HubConfig, source: &ModelSource) -> Result<Layout, Failure> {
    if source.gguf_file.is_some()
        || source
            .revision
            .as_deref()
            .is_some_and(|name| name != "main")
    {
        let message =
            format!("the embedded model `{SENTIMENT_REPO}` has one revision and no GGUF file");
        return Err(Failure::new(FailureKind::InvalidArgument, message)
            .hint("leave the revision and the file out"));
    }
    let encoder = config.models().join(SENTENCE_ENCODER.folder);
    if !head(config).is_file() || !encoder.exists() {
        let message = format!("the embedded model `{SENTIMENT_REPO}` is not on this machine");
        return Err(
            Failure::new(FailureKind::NotFound, message).hint("`warmcell setup` puts it there")
        );
    }
    check(&encoder, &SENTENCE_ENCODER)?;
    Ok(Layout::Folder(config.models().join(SENTIMENT_FOLDER)))
}
