//! Where the files of a model are. For now only what is on this machine: a folder, a `.gguf` file, or
//! the embedded default; fetching comes with the hub client.

use std::path::{Path, PathBuf};

use wire::{
    Failure, FailureKind,
    host::Event,
    model::{EMBEDDED_FILE, EMBEDDED_REPO, ModelSource},
};

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

/// Finds the files of a model.
pub fn resolve(
    source: &ModelSource,
    _wanted: Wanted,
    cancel: &Cancel,
    _sink: &mut dyn FnMut(Event),
) -> Result<ModelFiles, Failure> {
    cancel.check()?;
    let path = if source.repo == EMBEDDED_REPO {
        data_dir().join("models").join(EMBEDDED_FILE)
    } else {
        PathBuf::from(&source.repo)
    };
    let layout = if path.is_dir() {
        match &source.gguf_file {
            Some(file) => Layout::Gguf(path.join(file)),
            None => Layout::Folder(path),
        }
    } else if path.is_file() {
        Layout::Gguf(path)
    } else {
        return Err(Failure::new(
            FailureKind::NotFound,
            format!(
                "cannot load `{}`: `{}` does not exist",
                source.repo,
                path.display()
            ),
        ));
    };
    Ok(ModelFiles {
        name: source.repo.clone(),
        layout,
    })
}

fn data_dir() -> PathBuf {
    if let Some(folder) = std::env::var_os("WARMCELL_DATA_DIR") {
        return PathBuf::from(folder);
    }
    let base = std::env::var_os("XDG_DATA_HOME").map_or_else(
        || {
            let home = std::env::var_os("HOME").unwrap_or_default();
            Path::new(&home).join(".local/share")
        },
        PathBuf::from,
    );
    base.join("warmcell")
}
