//! Weights on disk and how they are read: one table of tensors over a GGUF file or a folder of
//! safetensors, and a [`Loader`] that reads each of them once, with progress, and refuses shapes that
//! the model does not expect. What a tensor means is the families' matter.
//!
//! Files are read, not mapped: a file that shrinks under a map kills the process, and with it every
//! other resident model; reading costs one copy out of the page cache and gives honest progress.

mod format;
mod gguf;
mod loader;
mod safetensors;

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
};

pub use format::Format;
pub use gguf::{Metadata, Value};
pub use loader::Loader;
use wire::Failure;

use crate::{failures, hub::Layout};

/// Where one tensor lies.
#[derive(Clone, Debug)]
pub struct TensorEntry {
    /// Index into [`Weights::files`].
    file: usize,
    /// First byte in the file.
    offset: u64,
    /// Length in bytes.
    bytes: u64,
    /// How the values are stored.
    pub format: Format,
    /// Shape, outermost dimension first, as `PyTorch` has it (GGUF stores it reversed).
    pub shape: Vec<usize>,
}

impl TensorEntry {
    /// Number of values.
    pub fn values(&self) -> u64 {
        self.shape.iter().map(|&size| size as u64).product()
    }
}

/// What describes the model beside its weights.
#[derive(Debug)]
pub enum Description {
    /// The key-value section of a GGUF file.
    Gguf(Metadata),
    /// A folder's `config.json`.
    Json(serde_json::Value),
}

/// The tensors of a model on disk, and its description. Nothing is read but headers.
#[derive(Debug)]
pub struct Weights {
    /// What describes the model.
    pub description: Description,
    /// Tensors by name, as the file names them.
    pub tensors: BTreeMap<String, TensorEntry>,
    files: Vec<(PathBuf, File)>,
}

impl Weights {
    /// Reads the headers of a model's files. Fails on a file that is missing, damaged or of a format
    /// that is not known.
    pub fn open(layout: &Layout) -> Result<Self, Failure> {
        match layout {
            Layout::Gguf(path) => gguf::open(path),
            Layout::Folder(folder) => safetensors::open(folder),
        }
    }

    /// The files the weights come from.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|(path, _)| path.as_path())
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> u64 {
        self.tensors.values().map(|entry| entry.bytes).sum()
    }

    /// Number of values of all tensors.
    pub fn parameters(&self) -> u64 {
        self.tensors.values().map(TensorEntry::values).sum()
    }

    /// The format that most matrices are stored in: what a user calls the quantisation.
    pub fn main_format(&self) -> Format {
        let mut counts: Vec<(Format, usize)> = Vec::new();
        for entry in self.tensors.values().filter(|entry| entry.shape.len() > 1) {
            match counts
                .iter_mut()
                .find(|(format, _)| *format == entry.format)
            {
                Some((_, count)) => *count += 1,
                None => counts.push((entry.format, 1)),
            }
        }
        counts
            .into_iter()
            .max_by_key(|(_, count)| *count)
            .map_or(Format::F32, |(format, _)| format)
    }
}

/// Opens a file and tells its length.
fn open_file(path: &Path) -> Result<(File, u64), Failure> {
    let file = File::open(path).map_err(|error| failures::io(path, &error))?;
    let length = file
        .metadata()
        .map_err(|error| failures::io(path, &error))?
        .len();
    Ok((file, length))
}
