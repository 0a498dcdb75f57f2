//! The tokenizers in memory. One is read once for all that use it, read again when its files have
//! changed, and let go with the models of its source, or for others when it is the one not used for
//! longest. Whoever works with one keeps it alive meanwhile.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use wire::{
    Failure,
    host::Event,
    model::ModelSource,
    tokenize::{NewToken, TokenizerSpec},
};

use super::Tokenizer;
use crate::{failures, hub::ModelFiles, stamp::Stamp};

/// Tokenizers that are kept in all, variants included: one of a large vocabulary takes 100 MB and more.
const MOST: usize = 16;
/// Variants with added tokens that are kept of one tokenizer.
const VARIANTS: usize = 2;

/// The tokenizers in memory, by where they come from.
#[derive(Default)]
pub struct Shelf(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    entries: HashMap<ModelSource, Entry>,
    /// Counts uses.
    now: u64,
}

struct Entry {
    tokenizer: Arc<Tokenizer>,
    /// The files, as they were when it was read.
    stamps: Vec<Stamp>,
    /// When it or a variant was used last.
    used: u64,
    /// The same with added tokens, the one used last at the end.
    variants: Vec<Variant>,
}

struct Variant {
    added: Vec<NewToken>,
    tokenizer: Arc<Tokenizer>,
    used: u64,
}

impl Entry {
    fn is_current(&self) -> bool {
        self.stamps.iter().all(Stamp::is_current)
    }
}

impl Shelf {
    /// The tokenizer of a source, if it is here and its files are as they were.
    pub fn get(&self, key: &ModelSource) -> Option<Arc<Tokenizer>> {
        let mut kept = self.lock();
        let now = kept.tick();
        let entry = kept.entries.get_mut(key)?;
        if entry.is_current() {
            entry.used = now;
            return Some(Arc::clone(&entry.tokenizer));
        }
        // Handles still have one whose files were all taken away.
        if !entry.stamps.iter().all(Stamp::is_gone) {
            kept.entries.remove(key);
        }
        None
    }

    /// The tokenizer of a source whose files were all taken away, if it is here.
    pub fn outlived(&self, key: &ModelSource) -> Option<Arc<Tokenizer>> {
        let mut kept = self.lock();
        let now = kept.tick();
        let entry = kept.entries.get_mut(key)?;
        let is_gone = entry.stamps.iter().all(Stamp::is_gone);
        is_gone.then(|| {
            entry.used = now;
            Arc::clone(&entry.tokenizer)
        })
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
        let stamps = stamps.collect();
        let mut kept = self.lock();
        let entry = Entry {
            stamps,
            used: kept.tick(),
            variants: Vec::new(),
            tokenizer,
        };
        if kept
            .entries
            .get(&key)
            .is_some_and(|known| !known.is_current())
        {
            kept.entries.remove(&key);
        }
        let tokenizer = Arc::clone(&kept.entries.entry(key).or_insert(entry).tokenizer);
        kept.let_go();
        Ok(tokenizer)
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
        if let Some(variant) = self.lock().variant(key, &spec.added) {
            return Ok(variant);
        }
        let shorter = self.lock().take_shorter(key, &spec.added);
        let variant =
            match shorter.map(|variant| (Arc::try_unwrap(variant.tokenizer), variant.added)) {
                Some((Ok(mut own), known)) => {
                    own.extend(&spec.added[known.len()..])?;
                    own
                }
                Some((Err(shared), known)) => shared.with_added(&spec.added[known.len()..])?,
                None => tokenizer.with_added(&spec.added)?,
            };
        let variant = Arc::new(variant);
        self.lock()
            .keep_variant(key, &spec.added, Arc::clone(&variant));
        Ok(variant)
    }

    /// Lets those go whose source is not wanted any more.
    pub fn retain(&self, mut wanted: impl FnMut(&ModelSource) -> bool) {
        self.lock().entries.retain(|source, _| wanted(source));
    }

    /// Locks; each change to the table is one insertion or removal, so it is right after a panic.
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    fn variant(&mut self, key: &ModelSource, added: &[NewToken]) -> Option<Arc<Tokenizer>> {
        let now = self.tick();
        let entry = self.entries.get_mut(key)?;
        let at = entry
            .variants
            .iter()
            .position(|variant| variant.added == added)?;
        let mut variant = entry.variants.remove(at);
        (entry.used, variant.used) = (now, now);
        let tokenizer = Arc::clone(&variant.tokenizer);
        entry.variants.push(variant);
        Some(tokenizer)
    }

    /// Takes out the variant to which the last of these tokens are to be added, if there is one: a handle that
    /// adds token by token has done with it.
    fn take_shorter(&mut self, key: &ModelSource, added: &[NewToken]) -> Option<Variant> {
        let entry = self.entries.get_mut(key)?;
        let begins = |variant: &Variant| added.starts_with(&variant.added);
        let (at, _) = entry
            .variants
            .iter()
            .enumerate()
            .filter(|(_, variant)| begins(variant))
            .max_by_key(|(_, variant)| variant.added.len())?;
        Some(entry.variants.remove(at))
    }

    /// Keeps a variant, where the tokenizer that it is made from still is.
    fn keep_variant(&mut self, key: &ModelSource, added: &[NewToken], tokenizer: Arc<Tokenizer>) {
        let used = self.tick();
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        // Two that came at once may both have made it.
        entry.variants.retain(|variant| variant.added != added);
        if entry.variants.len() >= VARIANTS {
            entry.variants.remove(0);
        }
        entry.used = used;
        entry.variants.push(Variant {
            added: added.to_vec(),
            tokenizer,
            used,
        });
        self.let_go();
    }

    /// Lets those go that were not used for longest, until the rest is few enough. A tokenizer is used
    /// with its variants, so they go before it.
    fn let_go(&mut self) {
        while self.count() > MOST {
            let oldest_use = |entry: &Entry| entry.variants.first().map_or(entry.used, |v| v.used);
            let oldest = self
                .entries
                .iter()
                .min_by_key(|(_, entry)| oldest_use(entry))
                .map(|(key, _)| key.clone());
            let Some(key) = oldest else {
                return;
            };
            match self.entries.get_mut(&key) {
                Some(entry) if !entry.variants.is_empty() => {
                    entry.variants.remove(0);
                }
                _ => {
                    self.entries.remove(&key);
                }
            }
        }
    }

    fn count(&self) -> usize {
        let entries = self.entries.values();
        entries.map(|entry| 1 + entry.variants.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::hub::Layout;

    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let json = serde_json::json!({
                "version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null,
                "post_processor": null, "decoder": null,
                "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []},
            });
            fs::write(folder.path().join("tokenizer.json"), json.to_string()).expect("writes");
            Self(folder)
        }

        fn load(&self, into: &Shelf, source: &ModelSource) -> Arc<Tokenizer> {
            let files = ModelFiles {
                name: source.repo.clone(),
                layout: Layout::Folder(self.0.path().to_owned()),
            };
            into.load(source.clone(), &files, &mut |_| ())
                .expect("loads")
        }
    }

    fn source(at: usize) -> ModelSource {
        ModelSource::new(format!("tokenizer {at}"))
    }

    fn with(source: &ModelSource, token: &str) -> TokenizerSpec {
        let mut spec = TokenizerSpec::from(source.clone());
        spec.added.push(NewToken::new(token));
        spec
    }

    #[test]
    fn those_not_used_for_longest_are_let_go() {
        let (files, shelf) = (Files::new(), Shelf::default());
        let first = files.load(&shelf, &source(0));
        for at in 1..MOST {
            files.load(&shelf, &source(at));
        }
        assert!(shelf.get(&source(0)).is_some());
        files.load(&shelf, &source(MOST));
        let gone: Vec<usize> = (0..=MOST)
            .filter(|&at| shelf.get(&source(at)).is_none())
            .collect();
        assert_eq!(gone, [1]);
        assert_eq!(shelf.lock().count(), MOST);
        // Whoever uses one has it for as long; who asks later reads it again.
        shelf.retain(|_| false);
        assert_eq!(Arc::strong_count(&first), 1);
        assert_eq!(
            files.load(&shelf, &source(1)).fingerprint(),
            first.fingerprint()
        );
    }

    /// A handle whose folder was removed once failed at its next use.
    #[test]
    fn one_whose_files_are_gone_is_there_for_handles_alone() {
        let (files, shelf) = (Files::new(), Shelf::default());
        let first = files.load(&shelf, &source(0));
        assert!(shelf.outlived(&source(0)).is_none());
        let path = files.0.path().join("tokenizer.json");
        let text = fs::read(&path).expect("reads");
        fs::remove_file(&path).expect("removes");
        assert!(shelf.get(&source(0)).is_none());
        let kept = shelf.outlived(&source(0)).expect("is kept");
        assert!(Arc::ptr_eq(&kept, &first));
        fs::write(&path, text).expect("writes");
        assert!(!Arc::ptr_eq(&files.load(&shelf, &source(0)), &first));
    }

    #[test]
    fn variants_count_and_are_few() {
        let (files, shelf) = (Files::new(), Shelf::default());
        let own = files.load(&shelf, &source(0));
        for token in ["x", "y", "x", "z"] {
            let spec = with(&source(0), token);
            let variant = shelf.of_handle(&source(0), Arc::clone(&own), &spec);
            assert_eq!(variant.expect("is made").token_to_id(token), Some(1));
        }
        let kept = |shelf: &Shelf| {
            let kept = shelf.lock();
            let variants = kept.entries[&source(0)].variants.iter();
            variants
                .map(|variant| variant.added[0].content.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(kept(&shelf), ["x", "z"]);
        for at in 1..=MOST - 2 {
            files.load(&shelf, &source(at));
        }
        assert_eq!(kept(&shelf), ["z"]);
        assert_eq!(shelf.lock().count(), MOST);
    }
    /// A handle that adds token by token once had all of it read and made anew each time.
    #[test]
    fn tokens_added_one_by_one_go_on_from_those_before() {
        let (files, shelf) = (Files::new(), Shelf::default());
        let own = files.load(&shelf, &source(0));
        let mut spec = TokenizerSpec::from(source(0));
        for token in ["x", "y", "a", "x"] {
            spec.added.push(NewToken::new(token));
            let variant = shelf.of_handle(&source(0), Arc::clone(&own), &spec);
            let at_once = own.with_added(&spec.added).expect("adds");
            assert_eq!(variant.expect("adds").info(), at_once.info());
            assert_eq!(shelf.lock().entries[&source(0)].variants.len(), 1);
        }
    }
}
