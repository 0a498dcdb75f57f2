//! Models whose files are no longer those that they were read from. Who asks for the files of a local folder gets what
//! is in them now; who has a handle keeps what was loaded, until somebody does.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use wire::{
    Failure,
    host::Event,
    model::{ModelSource, ModelSpec},
};

use super::{Client, Purpose, Residency, ResidentModel, Slot, elsewhere, key::key, loaded, lock};
use crate::{
    hub::{self, HubConfig, Layout, ModelFiles, Wanted},
    stamp::Stamp,
    weights::Weights,
};

impl Residency {
    /// The model of a specification, as its files are now, and whether it was in memory. Where they have changed, the
    /// old one goes, and `sink` is told. Fails on files that are gone or cannot be read, and the old one stays for those
    /// who have it.
    pub fn current_model(
        &self,
        (spec, purpose): (&ModelSpec, Purpose),
        client: &Client<'_>,
        sink: &mut dyn FnMut(Event),
    ) -> Result<(Arc<ResidentModel>, bool), Failure> {
        let Some((old, file)) = self.stale(spec)? else {
            return self.model((spec, purpose), client, sink);
        };
        let config = HubConfig::new(client.hub);
        let files = hub::resolve(&config, &spec.source, Wanted::Model, client.cancel, sink)?;
        loaded::open(&files, spec, purpose)?;
        self.let_go(&old);
        sink(Event::Notice(format!(
            "the files of `{}` have changed since it was loaded (`{}`): it is read again, and earlier handles to it \
             have what is read now",
            old.info.name,
            file.display()
        )));
        let is_pinned = lock(&old.usage).pinned;
        drop(old);
        let (model, was_resident) = self.model((spec, purpose), client, sink)?;
        if is_pinned {
            model.set_pinned(true);
        }
        Ok((model, was_resident))
    }

    /// The same for who may have a handle: where nothing is left at its path, what is in memory serves.
    pub fn current_or_outlived(
        &self,
        wanted: (&ModelSpec, Purpose),
        client: &Client<'_>,
        sink: &mut dyn FnMut(Event),
    ) -> Result<(Arc<ResidentModel>, bool), Failure> {
        if is_gone(&wanted.0.source) {
            return self.model(wanted, client, sink);
        }
        self.current_model(wanted, client, sink)
    }

    /// A model that was loaded from a path where nothing is left.
    pub(super) fn outlived(&self, source: &ModelSource) -> Option<Arc<ResidentModel>> {
        if !is_gone(source) {
            return None;
        }
        let slots = lock(&self.table.slots);
        slots.iter().find_map(|(key, slot)| match slot {
            Slot::Ready(model) if key.source == *source => Some(Arc::clone(model)),
            _ => None,
        })
    }

    /// The resident model of a specification, and its first file that has changed; `None` where none has.
    fn stale(&self, spec: &ModelSpec) -> Result<Option<(Arc<ResidentModel>, PathBuf)>, Failure> {
        let key = key(spec, &self.paths)?;
        let model = {
            let slots = lock(&self.table.slots);
            let own = match slots.get(&key) {
                Some(Slot::Ready(model)) => Some(Arc::clone(model)),
                _ => None,
            };
            elsewhere(&slots, &key).or(own)
        };
        // Without the lock: the files may lie on a disk that takes its time.
        Ok(model.and_then(|model| {
            let changed = model.stamps.iter().find(|stamp| !stamp.is_current())?;
            let file = changed.path().to_owned();
            Some((model, file))
        }))
    }

    /// Takes a model out of the table, and its tokenizer.
    fn let_go(&self, old: &Arc<ResidentModel>) {
        let mut source = None;
        lock(&self.table.slots).retain(|key, slot| {
            let is_old = matches!(slot, Slot::Ready(model) if Arc::ptr_eq(model, old));
            if is_old {
                source = Some(key.source.clone());
            }
            !is_old
        });
        self.tokenizers
            .retain(|known| Some(known) != source.as_ref());
    }
}

/// The files of a load, as they are now. What was fetched never changes, and has none.
pub(super) fn stamps(files: &ModelFiles, weights: &Weights) -> Vec<Stamp> {
    if !Path::new(&files.name).is_absolute() {
        return Vec::new();
    }
    let mut paths: Vec<PathBuf> = weights.files().map(Path::to_owned).collect();
    if let Layout::Folder(folder) = &files.layout {
        paths.extend(hub::files_read(folder));
    }
    paths.sort();
    paths.dedup();
    paths.into_iter().map(Stamp::of).collect()
}

fn is_gone(source: &ModelSource) -> bool {
    let path = Path::new(&source.repo);
    path.is_absolute() && !path.exists()
}
