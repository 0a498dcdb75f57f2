//! Which files of a repository are needed, from their names: one GGUF, or configuration, tokenizer
//! and safetensors, or pickled weights where there are no others. The same rules read the hub's
//! listing and a snapshot on disk.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use wire::{Failure, FailureKind, model::ModelSource};

use super::{
    Layout, Wanted,
    cache::safe_relative,
    parts::parts_of,
    selection::{missing_file, shown_names},
};
use crate::sentences::PREPARATION_FILES;

/// What weights are called, in the order in which transformers looks for them (`_get_resolved_checkpoint_files`,
/// `modeling_utils.py`): the one file before an index over several.
const WEIGHTS: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// Files that carry a vocabulary; without one of them there is no tokenizer.
const VOCABULARIES: [&str; 10] = [
    "tokenizer.json",
    "vocab.json",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "spm.model",
    "spm_char.model",
    "source.spm",
    "target.spm",
];

/// Small files that go with a tokenizer or a model, taken when they are there.
const COMPANIONS: [&str; 8] = [
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
];

/// What to take from a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// One file that holds all, or the first of its parts.
    Gguf(String),
    /// These files; an index among them ([`index_of`]) names more.
    Folder {
        /// Names in the order of fetching, the small ones first.
        files: Vec<String>,
    },
}

/// Chooses among the names of a repository.
pub(super) fn choose(
    source: &ModelSource,
    wanted: Wanted,
    names: &[String],
) -> Result<Choice, Failure> {
    if let Some(file) = &source.gguf_file {
        return if names.contains(file) {
            whole_gguf(&source.repo, file, names).map(Choice::Gguf)
        } else {
            Err(missing_file(&source.repo, file, names))
        };
    }
    let has = |name: &str| names.iter().any(|known| known == name);
    let mut files: Vec<String> = COMPANIONS
        .iter()
        .chain(&VOCABULARIES)
        .filter(|name| has(name))
        .map(|name| (*name).to_owned())
        .collect();
    let named_templates = |name: &&String| {
        let path = Path::new(name);
        path.starts_with("additional_chat_templates") && path.extension() == Some("jinja".as_ref())
    };
    files.extend(names.iter().filter(named_templates).cloned());
    if wanted == Wanted::Model {
        files.extend(sentence_files(names));
    }
    let complete = match wanted {
        Wanted::Tokenizer => VOCABULARIES.iter().any(|name| has(name)),
        Wanted::Model if !has("config.json") => false,
        Wanted::Model => {
            let weights = WEIGHTS.iter().find(|name| has(name));
            files.extend(weights.map(|name| (*name).to_owned()));
            weights.is_some()
        }
    };
    if complete {
        return Ok(Choice::Folder { files });
    }
    match only_gguf(&source.repo, names)? {
        Some(name) => Ok(Choice::Gguf(name)),
        None => Err(nothing_to_load(&source.repo, wanted, names)),
    }
}

/// The files of sentence-transformers, where `modules.json` is one: what it says of texts, and the folders of
/// its modules, `1_Pooling` and the like, each with the better of its weights.
fn sentence_files(names: &[String]) -> Vec<String> {
    let has = |name: &str| names.iter().any(|known| known == name);
    if !has("modules.json") {
        return Vec::new();
    }
    let is_wanted = |name: &&String| match name.split_once('/') {
        None => {
            let own = ["modules.json", "config_sentence_transformers.json"].into_iter();
            own.chain(PREPARATION_FILES).any(|own| own == name.as_str())
        }
        Some((folder, file)) => {
            let is_module = folder.starts_with(|first: char| first.is_ascii_digit());
            let is_file = match file {
                "config.json" | "model.safetensors" => true,
                "pytorch_model.bin" => !has(&format!("{folder}/model.safetensors")),
                _ => false,
            };
            is_module && is_file
        }
    };
    names.iter().filter(is_wanted).cloned().collect()
}

/// The index among the files, which names more.
pub(super) fn index_of(files: &[String]) -> Option<&String> {
    files.iter().find(|name| name.ends_with(".index.json"))
}

/// The only GGUF file among the names; several are an error that lists them.
pub(super) fn only_gguf(repo: &str, names: &[String]) -> Result<Option<String>, Failure> {
    let files: Vec<String> = names
        .iter()
        .filter(|name| name.to_lowercase().ends_with(".gguf"))
        .cloned()
        .collect();
    match files.as_slice() {
        [] => Ok(None),
        [file, ..] if files.len() == 1 || parts_of(file).is_some_and(|parts| parts == files) => {
            whole_gguf(repo, file, names).map(Some)
        }
        _ => {
            let message = format!(
                "`{repo}` has {} GGUF files and none was chosen",
                files.len()
            );
            let hint = format!("set `gguf_file` to one of {}", shown_names(&files));
            Err(Failure::new(FailureKind::InvalidArgument, message).hint(hint))
        }
    }
}

/// The shards that an index names, in its order, each once.
pub(super) fn shards(index: &Path) -> Result<Vec<String>, Failure> {
    let damaged = |what: String| {
        Failure::new(
            FailureKind::Corrupt,
            format!("`{}` is no index of weights: {what}", index.display()),
        )
        .hint("the repository is at fault; report it to its owner")
    };
    let text = fs::read(index).map_err(|error| damaged(error.to_string()))?;
    let json: serde_json::Value =
        serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    let Some(map) = json["weight_map"].as_object() else {
        return Err(damaged("it has no `weight_map`".to_owned()));
    };
    let mut names = BTreeSet::new();
    for name in map.values() {
        match name.as_str().and_then(safe_relative) {
            Some(name) => names.insert(name.to_owned()),
            None => return Err(damaged(format!("{name} is no file name"))),
        };
    }
    Ok(names.into_iter().collect())
}

/// What a snapshot on disk serves.
pub(super) struct Found {
    /// Where it is.
    pub(super) layout: Layout,
    /// Whether the hub could not offer more for the same commit. A folder without its tokenizer, or a
    /// GGUF that nobody named, may be a part of what the repository has.
    pub(super) certain: bool,
}

/// The layout in a snapshot, if all that is needed is there.
pub(super) fn complete_in(folder: &Path, source: &ModelSource, wanted: Wanted) -> Option<Found> {
    let names = names_in(folder);
    match choose(source, wanted, &names).ok()? {
        Choice::Gguf(file) => Some(Found {
            layout: Layout::Gguf(folder.join(file)),
            certain: source.gguf_file.is_some(),
        }),
        Choice::Folder { files } => {
            if let Some(index) = index_of(&files) {
                let shards = shards(&folder.join(index)).ok()?;
                if !shards.iter().all(|shard| folder.join(shard).is_file()) {
                    return None;
                }
            }
            Some(Found {
                layout: Layout::Folder(folder.to_owned()),
                // One fetched for its tokenizer alone, or by Python file by file, can lack companions.
                certain: VOCABULARIES
                    .iter()
                    .any(|name| files.iter().any(|file| file == name))
                    && files.iter().any(|file| file == "config.json"),
            })
        }
    }
}

/// What a snapshot lacks, where [`complete_in`] finds nothing to serve: a sentence about it. Fails where several
/// files might be meant.
pub(super) fn lacking_in(
    folder: &Path,
    source: &ModelSource,
    wanted: Wanted,
) -> Result<String, Failure> {
    let names = names_in(folder);
    // A link that points nowhere was a file that is needed once.
    let known = names_below(folder, |path| path.is_file() || path.is_symlink());
    let files = match choose(source, wanted, &known) {
        Ok(Choice::Gguf(file)) => parts_of(&file).unwrap_or_else(|| vec![file]),
        Ok(Choice::Folder { mut files }) => {
            if let Some(index) = index_of(&files) {
                files.extend(shards(&folder.join(index)).unwrap_or_default());
            }
            files
        }
        Err(failure) if failure.kind == FailureKind::InvalidArgument => return Err(failure),
        Err(_) => match (&source.gguf_file, wanted) {
            (Some(file), _) => parts_of(file).unwrap_or_else(|| vec![file.clone()]),
            (None, Wanted::Model) => vec!["config.json".to_owned()],
            (None, Wanted::Tokenizer) => Vec::new(),
        },
    };
    Ok(
        match (files.iter().find(|file| !names.contains(file)), wanted) {
            (Some(file), _) => format!("`{file}` is not in the cache"),
            (None, Wanted::Model) => "its weights are not in the cache".to_owned(),
            (None, Wanted::Tokenizer) => "its tokenizer is not in the cache".to_owned(),
        },
    )
}

/// Files of a local folder that a load reads where they are there, beside the shards of an index.
pub(crate) fn files_read(folder: &Path) -> Vec<PathBuf> {
    let own = [
        "modules.json",
        "config_sentence_transformers.json",
        "target_vocab.json",
    ];
    let names = WEIGHTS.iter().chain(&COMPANIONS).chain(&VOCABULARIES);
    let names = names.chain(&own).chain(&PREPARATION_FILES);
    let mut files: Vec<PathBuf> = names.map(|name| folder.join(name)).collect();
    if folder.join("modules.json").is_file() {
        let modules = sentence_files(&names_in(folder)).into_iter();
        files.extend(
            modules
                .filter(|name| name.contains('/'))
                .map(|name| folder.join(name)),
        );
    }
    files
}

/// Files below a folder by relative name; links that point nowhere are left out.
fn names_in(folder: &Path) -> Vec<String> {
    names_below(folder, Path::is_file)
}

/// What is below a folder and as it should be, by relative name.
fn names_below(folder: &Path, is_wanted: impl Fn(&Path) -> bool) -> Vec<String> {
    let mut names = Vec::new();
    let mut open: Vec<(PathBuf, String)> = vec![(folder.to_owned(), String::new())];
    while let Some((folder, prefix)) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.filter_map(Result::ok) {
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let path = entry.path();
            if is_wanted(&path) {
                names.push(format!("{prefix}{name}"));
            } else if path.is_dir() {
                open.push((path, format!("{prefix}{name}/")));
            }
        }
    }
    names.sort();
    names
}

/// A GGUF file by name, or the first of its parts, if the others are there too.
fn whole_gguf(repo: &str, file: &str, names: &[String]) -> Result<String, Failure> {
    let Some(parts) = parts_of(file) else {
        return Ok(file.to_owned());
    };
    match parts.iter().find(|part| !names.contains(part)) {
        Some(part) => Err(missing_file(repo, part, names)),
        None => Ok(parts[0].clone()),
    }
}

fn nothing_to_load(repo: &str, wanted: Wanted, names: &[String]) -> Failure {
    let pickled = names
        .iter()
        .any(|name| name.to_lowercase().ends_with(".bin"));
    match wanted {
        Wanted::Tokenizer => Failure::new(
            FailureKind::NotFound,
            format!("`{repo}` has no tokenizer files"),
        )
        .hint(format!("its files: {}", shown_names(names))),
        Wanted::Model if pickled => Failure::new(
            FailureKind::Unsupported,
            format!("`{repo}` has its weights in files of unknown names"),
        )
        .hint("weights that load: `model.safetensors`, `pytorch_model.bin`, or a GGUF file"),
        Wanted::Model => Failure::new(
            FailureKind::NotFound,
            format!("`{repo}` has neither `config.json` with weights nor a GGUF file"),
        )
        .hint(format!("its files: {}", shown_names(names))),
    }
}
