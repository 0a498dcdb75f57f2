//! The tokenizers in memory. One is read once for all that use it, read again when its files have
//! changed, and let go with the models of its source.

use std::{
    collections::HashMap,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use wire::{
    Failure,
    host::Event,
    model::ModelSource,
    tokenize::{NewToken, TokenizerSpec},
};

use super::Tokenizer;
use crate::{failures, hub::ModelFiles};

/// Variants with added tokens that are kept of one tokenizer.
const VARIANTS: usize = 8;

/// The tokenizers in memory, by where they come from.
#[derive(Default)]
pub struct Shelf(Mutex<HashMap<ModelSource, Entry>>);

struct Entry {
    tokenizer: Arc<Tokenizer>,
    /// The files, as they were when it was read.
    stamps: Vec<Stamp>,
    /// The same with added tokens, the last made at the end.
    variants: Vec<(Vec<NewToken>, Arc<Tokenizer>)>,
}

/// A file's size and time of change.
#[derive(PartialEq)]
struct Stamp(PathBuf, Option<(u64, Option<SystemTime>)>);

impl Stamp {
    fn of(path: PathBuf) -> Self {
        let metadata = fs::metadata(&path).ok();
        let seen = metadata.map(|metadata| (metadata.len(), metadata.modified().ok()));
        Self(path, seen)
    }

    fn is_current(&self) -> bool {
        Self::of(self.0.clone()) == *self
    }
}

impl Shelf {
    /// The tokenizer of a source, if it is here and its files are as they were.
    pub fn get(&self, key: &ModelSource) -> Option<Arc<Tokenizer>> {
        let mut entries = self.lock();
        let entry = entries.get(key)?;
        if entry.stamps.iter().all(Stamp::is_current) {
            return Some(Arc::clone(&entry.tokenizer));
        }
        entries.remove(key);
        None
    }

    /// Reads a tokenizer and keeps it. Two that come at once may both read it; the first to finish is
    /// kept.
    pub fn load(
        &self,
        key: ModelSource,
        files: &ModelFiles,
        sink: &mut dyn FnMut(Event),
    ) -> Result<Arc<Tokenizer>, Failure> {
        if let Some(tokenizer) = self.get(&key) {
            return Ok(tokenizer);
        }
        let tokenizer = Arc::new(Tokenizer::load(files)?);
        if let Some(notice) = &tokenizer.parts.notice {
            sink(Event::Notice(notice.clone()));
        }
        let stamps = tokenizer.parts.files.iter().cloned().map(Stamp::of);
        let entry = Entry {
            stamps: stamps.collect(),
            variants: Vec::new(),
            tokenizer,
        };
        Ok(Arc::clone(
            &self.lock().entry(key).or_insert(entry).tokenizer,
        ))
    }

    /// The tokenizer that a handle stands for: with what its owner added. Fails when the files have
    /// changed since the handle was made.
    pub fn of_handle(
        &self,
        key: &ModelSource,
        tokenizer: Arc<Tokenizer>,
        spec: &TokenizerSpec,
    ) -> Result<Arc<Tokenizer>, Failure> {
        if spec
            .fingerprint
            .as_deref()
            .is_some_and(|known| known != tokenizer.fingerprint())
        {
            return Err(failures::invalid(format!(
                "the files of the tokenizer `{}` have changed since it was loaded, and its ids with \
                 them",
                spec.source.repo
            ))
            .hint("load it again: `AutoTokenizer::from_pretrained(…)`"));
        }
        if spec.added.is_empty() {
            return Ok(tokenizer);
        }
        if let Some(entry) = self.lock().get(key)
            && let Some((_, variant)) = entry
                .variants
                .iter()
                .find(|(added, _)| *added == spec.added)
        {
            return Ok(Arc::clone(variant));
        }
        let variant = Arc::new(tokenizer.with_added(&spec.added)?);
        if let Some(entry) = self.lock().get_mut(key) {
            if entry.variants.len() >= VARIANTS {
                entry.variants.remove(0);
            }
            entry
                .variants
                .push((spec.added.clone(), Arc::clone(&variant)));
        }
        Ok(variant)
    }

    /// Lets those go whose source is not wanted any more.
    pub fn retain(&self, mut wanted: impl FnMut(&ModelSource) -> bool) {
        self.lock().retain(|source, _| wanted(source));
    }

    /// Locks; each change to the table is one insertion or removal, so it is right after a panic.
    fn lock(&self) -> MutexGuard<'_, HashMap<ModelSource, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
