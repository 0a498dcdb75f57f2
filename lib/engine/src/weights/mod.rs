//! Weights on disk and how they are read: one table of tensors over a GGUF file, or over a
//! folder of safetensors or pickles, and a [`Loader`] that reads each of them once, with progress, and refuses shapes that
//! the model does not expect. What a tensor means is the families' matter.
//!
//! Files are read, not mapped: a file that shrinks under a map kills the process, and with it every
//! other resident model; reading costs one copy out of the page cache and gives honest progress.

mod archive;
pub(crate) mod blocks;
mod convert;
mod folder;
mod format;
mod gguf;
mod loader;
mod pickle;
mod reader;
mod safetensors;
mod torch;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

pub(crate) use blocks::quantize as quantize_blocks;
pub use format::Format;
#[cfg(target_arch = "x86_64")]
pub(crate) use format::scale_and_minimum;
pub use gguf::{Metadata, Value};
pub use loader::{LoadedPart, Loader};
use wire::{Failure, FailureKind};

use crate::{failures, hub::Layout};

/// Where one tensor lies.
#[derive(Clone, Debug)]
pub struct TensorEntry {
    /// Index into [`Weights::files`].
    file: usize,
    /// First byte in the file.
    offset: u64,
    /// Length in bytes, of values in its format.
    pub bytes: u64,
    /// How the values are stored; of doubles what they are read as.
    pub format: Format,
    /// The file has f64, which are read as f32, as transformers does where no type is asked for.
    doubles: bool,
    /// Shape, outermost dimension first, as `PyTorch` has it (GGUF stores it reversed).
    pub shape: Vec<usize>,
    /// Values between neighbours, for each dimension, where they do not stand one after the other.
    strides: Option<Vec<usize>>,
}

impl TensorEntry {
    /// Number of values.
    pub fn values(&self) -> u64 {
        self.shape.iter().map(|&size| size as u64).product()
    }

    /// Bytes in the file of a block of its format.
    fn stored_block(&self) -> usize {
        self.format.block_bytes() * if self.doubles { 2 } else { 1 }
    }

    /// Bytes in the file of all its values.
    fn stored_bytes(&self) -> u64 {
        self.bytes * if self.doubles { 2 } else { 1 }
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
    /// What the files call the types of tensors that no layer takes, by the tensors' names.
    untaken: Untaken,
    files: Vec<(PathBuf, File)>,
}

impl Weights {
    /// Reads the headers of a model's files. Fails on a file that is missing, damaged or of a format
    /// that is not known.
    pub fn open(layout: &Layout) -> Result<Self, Failure> {
        match layout {
            Layout::Gguf(path) => gguf::open(path),
            Layout::Folder(folder) => folder::open(folder),
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

/// Tensors by name.
type Tensors = BTreeMap<String, TensorEntry>;
/// Types that no layer takes, by the names of tensors.
type Untaken = BTreeMap<String, String>;

/// What the headers of a folder's files say.
#[derive(Default)]
struct Headers {
    tensors: Tensors,
    untaken: Untaken,
    files: Vec<(PathBuf, File)>,
}

/// Refuses tensors of one file that reach past its end or into each other: they would take more
/// memory than the file has bytes. Says what is wrong.
fn check_places(tensors: &Tensors, length: u64) -> Result<(), String> {
    let mut places: Vec<(u64, u64, &str)> = tensors
        .iter()
        .map(|(name, entry)| (entry.offset, entry.stored_bytes(), name.as_str()))
        .filter(|(_, bytes, _)| *bytes > 0)
        .collect();
    places.sort_unstable();
    let mut last_end = 0;
    for (offset, bytes, name) in places {
        let Some(end) = offset.checked_add(bytes).filter(|end| *end <= length) else {
            return Err(format!("tensor `{name}` reaches past the end of the file"));
        };
        if offset < last_end {
            return Err(format!("tensor `{name}` lies over another"));
        }
        last_end = end;
    }
    Ok(())
}

/// A JSON file, if it is no longer than `longest` bytes.
fn read_json<T: serde::de::DeserializeOwned>(path: &Path, longest: u64) -> Result<T, Failure> {
    let (file, length) = open_file(path)?;
    if length > longest {
        let what = format!("it has {length} bytes, over the limit of {longest}");
        return Err(failures::corrupt(path, what));
    }
    let mut text = Vec::new();
    file.take(longest)
        .read_to_end(&mut text)
        .map_err(|error| failures::io(path, &error))?;
    serde_json::from_slice(&text).map_err(|error| failures::corrupt(path, error))
}

/// Opens a file and tells its length; refuses what is no file, and what was put in its place.
fn open_file(path: &Path) -> Result<(File, u64), Failure> {
    let io = |error: std::io::Error| failures::io(path, &error);
    // Before it is opened: a pipe that nobody writes to would be waited for.
    if !fs::metadata(path).map_err(io)?.is_file() {
        let what = format!("cannot read `{}`: it is no regular file", path.display());
        return Err(failures::invalid(what)
            .hint("name a file, or a folder that holds the files of a model"));
    }
    let file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let mut start = [0; 64];
    let read = file.read_at(&mut start, 0).map_err(io)?;
    match stand_in(path, &start[..read]) {
        Some(failure) => Err(failure),
        None => Ok((file, length)),
    }
}

/// The failure of a file that begins as one that often stands in another's place: a pointer of a clone without Git LFS,
/// a page of a site.
fn stand_in(path: &Path, start: &[u8]) -> Option<Failure> {
    let text = start.trim_ascii_start().to_ascii_lowercase();
    let (what, hint) = if text.starts_with(b"version https://git-lfs") {
        (
            "it is a pointer of Git LFS, which stands for the file",
            "run `git lfs pull` in the folder that was cloned",
        )
    } else if text.starts_with(b"<!doctype html") || text.starts_with(b"<html") {
        (
            "it is a page of HTML",
            "fetch the file itself: on the hub, its address has `/resolve/` where that of its page has `/blob/`",
        )
    } else {
        return None;
    };
    let message = format!("cannot read `{}`: {what}", path.display());
    Some(Failure::new(FailureKind::Corrupt, message).hint(hint))
}

/// The failure of a header that cannot be read to its end.
fn header_failure(path: &Path, error: &std::io::Error) -> Failure {
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        failures::corrupt(path, "it ends inside its header")
    } else {
        failures::io(path, error)
    }
}
