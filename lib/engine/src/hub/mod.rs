//! Where the files of a model are: a local folder or file, an embedded model, the hub's cache, or
//! the hub. Cache layout, locks and variables are `huggingface_hub`'s, so that Python and Rust share
//! downloads. What the files mean is left to the loaders.

mod cache;
mod choose;
mod config;
mod download;
mod embedded;
mod parts;
mod refusal;
mod remote;
mod selection;

use std::path::{Path, PathBuf};

use wire::{
    Failure, FailureKind,
    host::Event,
    model::{EMBEDDED_FILE, EMBEDDED_REPO, EMBEDDED_REVISION, ModelSource},
};

pub use self::config::HubConfig;
use self::{cache::RepoCache, choose::Choice, selection::shown_names};
pub(crate) use self::{cache::safe_relative, choose::files_read, parts::parts_of};
use crate::Cancel;

/// Which files are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Weights, configuration and tokenizer.
    Model,
    /// The tokenizer alone.
    Tokenizer,
}

/// How the files of a model lie on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One GGUF file that holds all.
    Gguf(PathBuf),
    /// A folder with `config.json`, `tokenizer.json`, `*.safetensors`, …
    Folder(PathBuf),
}

/// Files of a model on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFiles {
    /// What a user calls the model.
    pub name: String,
    /// Where its files are.
    pub layout: Layout,
}

/// Finds the files of a model and fetches what is missing. Errors say what failed on which
/// repository or file, and the next step. `sink` is called on the caller's thread.
pub fn resolve(
    config: &HubConfig,
    source: &ModelSource,
    wanted: Wanted,
    cancel: &Cancel,
    sink: &mut dyn FnMut(Event),
) -> Result<ModelFiles, Failure> {
    cancel.check()?;
    let layout = match local(source)? {
        Some(layout) => layout,
        None => match embedded::find(config, source, sink)? {
            Some(layout) => layout,
            None => from_repository(config, &with_defaults(source), wanted, cancel, sink)?,
        },
    };
    Ok(ModelFiles {
        name: source.repo.clone(),
        layout,
    })
}

/// A path that exists wins over a repository of the same name, as in transformers.
fn local(source: &ModelSource) -> Result<Option<Layout>, Failure> {
    let path = Path::new(&source.repo);
    // The library makes paths absolute: this process's own folder is nobody's.
    if path.is_absolute() && path.is_file() {
        return Ok(Some(Layout::Gguf(first_part(path))));
    }
    if path.is_absolute() && path.is_dir() {
        return local_folder(path, source).map(Some);
    }
    let is_path = path.is_absolute()
        || source.repo.starts_with('.')
        || source.repo.starts_with('~')
        || Path::new(&source.repo)
            .extension()
            .is_some_and(|extension| extension == "gguf");
    if is_path {
        let message = format!("cannot load `{}`: no such file or folder", source.repo);
        return Err(Failure::new(FailureKind::NotFound, message)
            .hint("give an existing path, or a repository as `owner/name`"));
    }
    Ok(None)
}

/// The first part of a file that is one part of several, else the file itself.
fn first_part(path: &Path) -> PathBuf {
    let parts = path.file_name().and_then(|name| parts_of(name.to_str()?));
    match parts {
        Some(parts) => path.with_file_name(&parts[0]),
        None => path.to_owned(),
    }
}

fn local_folder(folder: &Path, source: &ModelSource) -> Result<Layout, Failure> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .map_err(|error| cache::write_failure("read", folder, &error))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    if let Some(file) = &source.gguf_file {
        let path = folder.join(file);
        return if path.is_file() {
            Ok(Layout::Gguf(first_part(&path)))
        } else {
            Err(selection::missing_file(&source.repo, file, &names))
        };
    }
    if names.iter().any(|name| name == "config.json") {
        return Ok(Layout::Folder(folder.to_owned()));
    }
    match choose::only_gguf(&source.repo, &names)? {
        Some(name) => Ok(Layout::Gguf(folder.join(name))),
        // A tokenizer's own folder has no `config.json`; its loader says what is missing.
        None => Ok(Layout::Folder(folder.to_owned())),
    }
}

/// The embedded default's repository holds many quantisations; without a choice it means the
/// embedded one, at the revision that the copy was made of.
fn with_defaults(source: &ModelSource) -> ModelSource {
    let mut source = source.clone();
    if source.repo == EMBEDDED_REPO && source.gguf_file.is_none() {
        source.gguf_file = Some(EMBEDDED_FILE.to_owned());
        source
            .revision
            .get_or_insert_with(|| EMBEDDED_REVISION.to_owned());
    }
    source
}

fn from_repository(
    config: &HubConfig,
    source: &ModelSource,
    wanted: Wanted,
    cancel: &Cancel,
    sink: &mut dyn FnMut(Event),
) -> Result<Layout, Failure> {
    check_repository_name(&source.repo)?;
    let cache = RepoCache::new(&config.cache_dir, &source.repo);
    let revision = source.revision.as_deref().unwrap_or("main");
    let cached = cache
        .snapshot(revision)
        .and_then(|folder| choose::complete_in(&folder, source, wanted));
    if config.offline || source.local_files_only {
        return cached
            .map(|found| found.layout)
            .ok_or_else(|| not_cached(config, source, wanted));
    }
    // A commit never changes, so what is complete needs no question to the hub.
    if let Some(found) = &cached
        && cache::is_commit(revision)
        && found.certain
    {
        return Ok(found.layout.clone());
    }
    match remote::fetch(config, source, wanted, cancel, sink) {
        Ok((folder, Choice::Gguf(file))) => Ok(Layout::Gguf(folder.join(file))),
        Ok((folder, Choice::Folder { .. })) => Ok(Layout::Folder(folder)),
        Err(failure) => {
            let cached = cached.map(|found| found.layout);
            fall_back((config, &source.repo), cached, failure, sink)
        }
    }
}

/// What is cached serves when the hub is away or refuses, as in `huggingface_hub`, and says so.
fn fall_back(
    (config, repo): (&HubConfig, &str),
    cached: Option<Layout>,
    failure: Failure,
    sink: &mut dyn FnMut(Event),
) -> Result<Layout, Failure> {
    let may = matches!(
        failure.kind,
        FailureKind::Offline | FailureKind::Gated | FailureKind::Unauthorized
    );
    match cached {
        Some(layout) if may => {
            let notice = format!("{}; using the cached files", failure.message);
            sink(Event::Notice(notice));
            Ok(layout)
        }
        None if failure.kind == FailureKind::Offline && failure.hint.is_none() => {
            Err(failure.hint(alternatives(config, repo)))
        }
        _ => Err(failure),
    }
}

fn check_repository_name(repo: &str) -> Result<(), Failure> {
    let parts: Vec<&str> = repo.split('/').collect();
    let well_formed = parts.len() <= 2
        && parts.iter().all(|part| {
            !part.is_empty()
                && !part.starts_with(['.', '-'])
                && part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        });
    if well_formed {
        return Ok(());
    }
    let message = format!("`{repo}` is neither a path that exists nor a repository's name");
    Err(Failure::new(FailureKind::InvalidArgument, message)
        .hint("a repository is named `owner/name`, as in its address on the hub"))
}

/// The failure where the hub must not be used and the cache lacks something.
fn not_cached(config: &HubConfig, source: &ModelSource, wanted: Wanted) -> Failure {
    let cache = RepoCache::new(&config.cache_dir, &source.repo);
    let revision = source.revision.as_deref().unwrap_or("main");
    let lacking = match cache.snapshot(revision) {
        Some(folder) => match choose::lacking_in(&folder, source, wanted) {
            Ok(lacking) => lacking,
            Err(failure) => return failure,
        },
        None if cache.has_snapshots() => {
            format!("its revision `{revision}` is not in the cache")
        }
        None => "its files are not in the cache".to_owned(),
    };
    let message = format!(
        "cannot load `{}`: the hub must not be used, and {lacking}",
        source.repo
    );
    Failure::new(FailureKind::Offline, message).hint(alternatives(config, &source.repo))
}

/// What is on this machine beside a repository that is not, or not all of it.
fn alternatives(config: &HubConfig, repo: &str) -> String {
    let mut cached = cache::repositories(&config.cache_dir);
    let is_empty = cached.is_empty();
    cached.retain(|name| name != repo);
    let mut hint = match embedded::names(config).as_slice() {
        [] => String::new(),
        [one] => format!("`{one}` is on this machine; "),
        names => format!("`{}` are on this machine; ", names.join("`, `")),
    };
    if is_empty {
        hint.push_str("no repository is in the cache yet");
    } else if cached.is_empty() {
        hint.push_str("no other repository is in the cache");
    } else {
        hint = format!("{hint}in the cache: {}", shown_names(&cached));
    }
    if config.offline {
        hint.push_str("; unset HF_HUB_OFFLINE to use the hub");
    }
    hint
}
