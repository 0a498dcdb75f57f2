//! Making room: for a load on the devices where it lacks memory, and for a conversation that grows. Models that nobody
//! uses go, the longest unused first, and the user is told; or, where that would not suffice, no model goes and the load
//! is refused.

use std::sync::Arc;

use wire::{Failure, host::Event, model::Device};

use super::{
    Residency, ResidentModel, Slot, Table, lock,
    room::{Need, Promise, Share},
};
use crate::memory::megabytes;

impl Residency {
    /// Promises a load its memory, for which others may have to go.
    pub(super) fn make_room(
        &self,
        (need, shares): (&Need, &[Share]),
        sink: &mut dyn FnMut(Event),
    ) -> Result<Promise<'_>, Failure> {
        loop {
            let refused = match self.room.promise((need, shares), || self.residents()) {
                Ok(promise) => return Ok(promise),
                Err(refused) => refused,
            };
            // What is kept for a conversation's next turn goes before any model does.
            if self.table.forget_prefixes(Some(refused.device)) {
                continue;
            }
            let Some(freed) = self.table.evict(Some(refused.device), refused.missing) else {
                return Err(refused.failure);
            };
            let resident = freed.resident();
            sink(Event::Notice(format!(
                "freed `{}` ({}, unused for {:.0} s) to make room for `{}`; its next use loads it again",
                resident.info.name,
                megabytes(resident.info.bytes),
                resident.idle_seconds,
                need.name
            )));
            // The last handle: its memory is back before the next look.
            drop(freed);
        }
    }
}

impl Table {
    /// Whether something was freed for a conversation that lacks memory on a device, or on any card; who asks next is
    /// told which model it was.
    pub(super) fn reclaim(&self, device: Option<Device>, missing: u64) -> bool {
        if self.forget_prefixes(device) {
            return true;
        }
        let Some(model) = self.evict(device, missing) else {
            return false;
        };
        lock(&self.freed).push(format!(
            "freed `{}` ({}), which nobody used, for a conversation that grew; its next use loads it again",
            model.info.name,
            megabytes(model.info.bytes)
        ));
        true
    }

    /// Bytes on a device of the models that may go.
    pub(super) fn idle_bytes(&self, device: Device) -> u64 {
        let slots = lock(&self.slots);
        let idle = slots.values().filter_map(|slot| match slot {
            Slot::Ready(model) if is_idle(model) => Some(model.info.bytes_on(device)),
            _ => None,
        });
        idle.sum()
    }

    /// Whether any conversations had been kept, with something on a device, or on any card.
    pub(super) fn forget_prefixes(&self, device: Option<Device>) -> bool {
        let mut forgot = false;
        for model in self.ready() {
            forgot |= model.prefixes.forget(device);
        }
        forgot
    }

    /// Takes the model that was unused for longest out of the table, if all that may go have as many
    /// bytes as are missing on a device, or on any card.
    fn evict(&self, device: Option<Device>, missing: u64) -> Option<Arc<ResidentModel>> {
        let bytes = |model: &ResidentModel| -> u64 {
            let parts = model.info.device_bytes.iter();
            let parts = parts.filter(|(known, _)| match device {
                Some(device) => *known == device,
                None => matches!(known, Device::Cuda(_)),
            });
            parts.map(|(_, bytes)| bytes).sum()
        };
        let mut slots = lock(&self.slots);
        let mut idle: Vec<_> = slots
            .iter()
            .filter_map(|(key, slot)| match slot {
                Slot::Ready(model) if is_idle(model) && bytes(model) > 0 => {
                    Some((key.clone(), Arc::clone(model)))
                }
                _ => None,
            })
            .collect();
        let freed: u64 = idle.iter().map(|(_, model)| bytes(model)).sum();
        if freed < missing {
            return None;
        }
        idle.sort_by_key(|(_, model)| lock(&model.usage).last_used);
        let (key, model) = idle.into_iter().next()?;
        slots.remove(&key);
        Some(model)
    }
}

/// Whether a model may go: nobody runs, waits or is about to, and nobody has pinned it.
fn is_idle(model: &Arc<ResidentModel>) -> bool {
    let usage = lock(&model.usage);
    usage.users == 0 && !usage.pinned && Arc::strong_count(model) == 1
}

#[cfg(test)]
pub(super) mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
        sync::Mutex,
    };

    use wire::{
        FailureKind,
        hub::HubVariables,
        model::{Activations, DType, Device, ModelSource, ModelSpec},
    };

    use super::{super::Client, *};
    use crate::{
        Cancel,
        hub::Layout,
        residency::{
            Purpose,
            room::{HEADROOM, Room},
        },
        weights::Weights,
    };

    /// Copies of the tests' tiny model, each a model of its own.
    pub(in super::super) fn copies(root: &Path, count: usize) -> Vec<PathBuf> {
        let origin =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/families/llama_long_prompt");
        let tokenizer = r#"{"version": "1.0", "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}"#;
        let copy = |index| {
            let folder = root.join(format!("model{index}"));
            fs::create_dir(&folder).expect("a folder");
            for name in ["config.json", "model.safetensors"] {
                fs::copy(origin.join(name), folder.join(name)).expect("is copied");
            }
            fs::write(folder.join("tokenizer.json"), tokenizer).expect("is written");
            folder
        };
        (0..count).map(copy).collect()
    }

    pub(in super::super) fn spec(folder: &Path) -> ModelSpec {
        ModelSpec {
            source: ModelSource::new(folder.display().to_string()),
            dtype: None,
            auto_dtype: false,
            device_map: Device::Cpu.into(),
            quantization: None,
            activations: Activations::F32,
            cache_dtype: None,
        }
    }

    fn load(
        residency: &Residency,
        folder: &Path,
    ) -> (Result<Arc<ResidentModel>, Failure>, Vec<String>) {
        load_spec(residency, &spec(folder))
    }

    pub(in super::super) fn load_spec(
        residency: &Residency,
        spec: &ModelSpec,
    ) -> (Result<Arc<ResidentModel>, Failure>, Vec<String>) {
        let (hub, cancel) = (HubVariables::default(), Cancel::new());
        let client = Client {
            hub: &hub,
            cancel: &cancel,
        };
        let mut notices = Vec::new();
        let mut sink = |event| {
            if let Event::Notice(line) = event {
                notices.push(line);
            }
        };
        let model = residency.model((spec, Purpose::Any), &client, &mut sink);
        (model.map(|(model, _)| model), notices)
    }

    /// A table that is told these figures of available memory, one a look; then there is plenty.
    fn table(figures: Vec<u64>) -> Residency {
        let figures = Mutex::new(figures.into_iter());
        Residency {
            room: Room::with_memory(move |_| Some(lock(&figures).next().unwrap_or(u64::MAX))),
            ..Residency::default()
        }
    }

    pub(in super::super) fn names(residency: &Residency) -> Vec<String> {
        let names = residency
            .residents()
            .into_iter()
            .map(|resident| resident.info.name);
        let mut names: Vec<String> = names
            .map(|name| name.rsplit('/').next().expect("has a name").to_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_longest_unused_goes_and_the_user_is_told() {
        let root = tempfile::tempdir().expect("a folder");
        let folders = copies(root.path(), 4);
        let weights = Weights::open(&Layout::Folder(folders[0].clone())).expect("opens");
        let need = Need::of("m", &weights, None, DType::F32);
        let need = need.weights + need.cache;
        let short = HEADROOM + need - 1;
        // Three loads find room; the fourth is short by one byte, and again after the first has gone.
        let residency = table(vec![u64::MAX, u64::MAX, u64::MAX, short, short]);
        for folder in &folders[..3] {
            load(&residency, folder).0.expect("there is room");
        }
        // Used again: model1 is the longest unused, then model2.
        load(&residency, &folders[0]).0.expect("is resident");
        {
            let (model, _) = load(&residency, &folders[0]);
            let model = model.expect("is resident");
            drop(model.place());
        }
        let (model, notices) = load(&residency, &folders[3]);
        drop(model.expect("room was made"));
        assert_eq!(names(&residency), ["model0", "model3"]);
        assert_eq!(notices.len(), 2, "{notices:?}");
        assert!(
            notices[0].contains("model1") && notices[1].contains("model2"),
            "{notices:?}"
        );
    }

    #[test]
    fn what_is_used_or_pinned_stays_and_too_little_frees_nothing() {
        let root = tempfile::tempdir().expect("a folder");
        let folders = copies(root.path(), 3);
        let figures = vec![u64::MAX, u64::MAX, HEADROOM, HEADROOM, HEADROOM, HEADROOM];
        let residency = table(figures);
        let used = load(&residency, &folders[0]).0.expect("there is room");
        load(&residency, &folders[1])
            .0
            .expect("there is room")
            .set_pinned(true);
        let refused = |residency: &Residency| {
            let (model, notices) = load(residency, &folders[2]);
            let failure = model.err().expect("is refused");
            assert_eq!(failure.kind, FailureKind::OutOfMemory);
            assert!(failure.message.contains("model0"), "{failure}");
            assert!(notices.is_empty());
            assert_eq!(names(residency), ["model0", "model1"]);
        };
        refused(&residency);
        drop(used);
        // Its weights alone are less than what is missing: weights and cache.
        refused(&residency);
    }
}
