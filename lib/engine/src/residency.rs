//! Which models are in memory. One table owns them, keyed by what determines the weights; two requests
//! for one model at once end in one load. Whether a load fits is `room`'s question, what goes to make
//! it fit `evict`'s.

mod agreement;
mod cache_shape;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails says where")]
mod cards_tests;
mod evict;
mod fit;
mod key;
mod license;
mod load;
mod loaded;
mod room;
mod stale;

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use wire::{
    Failure, FailureKind,
    host::{Event, UnloadTarget},
    hub::HubVariables,
    model::{Device, DeviceMap, ModelInfo, ModelSource, ModelSpec, Resident},
    tokenize::TokenizerSpec,
};

use crate::{
    Cancel, cuda,
    encoders::{CausalReader, TextEncoder},
    generate::{Defaults, Generator, PrefixCaches, Seat, Steps},
    hub::{self, HubConfig, Wanted},
    pipelines::TaskParams,
    sentences::Sentences,
    seq2seq::SourceHalf,
    stamp::Stamp,
    tokenizer::{Shelf, Tokenizer},
    unsafe_memory::{ReturnMemory, return_memory},
};
use key::{Paths, key, others, source_key};
pub use loaded::Purpose;
use loaded::{Loaded, no_decoder};
use room::Room;

/// How often a waiting request looks at its cancel flag.
const WAIT: Duration = Duration::from_millis(20);

/// On whose behalf something is loaded.
pub struct Client<'a> {
    /// Its way to the hub.
    pub hub: &'a HubVariables,
    /// Its flag to end the request.
    pub cancel: &'a Cancel,
}

/// A model in memory.
pub struct ResidentModel {
    /// What is known of it.
    pub info: ModelInfo,
    /// As it was first asked for.
    spec: ModelSpec,
    model: Loaded,
    /// Its tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    defaults: Defaults,
    /// What its configuration says of pipelines.
    pub task_params: TaskParams,
    /// How its texts become vectors; or why that is not known.
    pub sentences: Result<Sentences, Failure>,
    prefixes: PrefixCaches,
    /// Its files, as they were when it was read.
    stamps: Vec<Stamp>,
    loaded: Instant,
    usage: Mutex<Usage>,
    /// Stays last: it runs when the others are gone.
    memory: ReturnMemory,
}

struct Usage {
    last_used: Instant,
    /// Requests that run.
    users: u32,
    pinned: bool,
}

/// A request's place at a model. Others may have theirs at the same time.
pub struct Place<'a> {
    resident: &'a ResidentModel,
    /// `None` at an encoder, which has no steps to share.
    seat: Option<Seat<'a>>,
    /// Where the model is on a card.
    _work: Option<cuda::Work>,
}

impl ResidentModel {
    /// Takes a place.
    pub fn place(&self) -> Place<'_> {
        lock(&self.usage).users += 1;
        Place {
            resident: self,
            seat: self.model.steps().map(Steps::seat),
            _work: self.memory.of_cards.then(cuda::Work::begin),
        }
    }

    /// What it was first asked for as.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// It, as an encoder.
    pub fn encoder(&self) -> Result<&dyn TextEncoder, Failure> {
        self.model.encoder(&self.info.name)
    }

    /// It, as a reader of texts, where it is a decoder.
    pub fn causal_reader(&self) -> Result<Option<CausalReader<'_>>, Failure> {
        self.model.causal_reader(&self.info.name)
    }

    /// Its half that embeds texts, where it is an encoder-decoder whose encoder does.
    pub fn source_half(&self) -> Option<SourceHalf<'_>> {
        self.model.source_half()
    }

    fn resident(&self) -> Resident {
        let usage = lock(&self.usage);
        Resident {
            info: self.info.clone(),
            spec: self.spec.clone(),
            age_seconds: self.loaded.elapsed().as_secs_f64(),
            idle_seconds: if usage.users > 0 {
                0.0
            } else {
                usage.last_used.elapsed().as_secs_f64()
            },
            users: usage.users,
            cache_bytes: self.prefixes.bytes() as u64,
            pinned: usage.pinned,
        }
    }

    /// Keeps it when others need room, or no longer.
    pub fn set_pinned(&self, pinned: bool) {
        lock(&self.usage).pinned = pinned;
    }
}

impl Place<'_> {
    /// The model, for generation. Fails on an encoder.
    pub fn generator(&self) -> Result<Generator<'_>, Failure> {
        let resident = self.resident;
        let Some(seat) = &self.seat else {
            return Err(no_decoder(&resident.info.name));
        };
        Ok(Generator {
            seat,
            tokenizer: &resident.tokenizer,
            defaults: &resident.defaults,
            prefixes: &resident.prefixes,
            about: None,
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut usage = lock(&self.resident.usage);
        usage.users -= 1;
        usage.last_used = Instant::now();
    }
}

/// The models that are in memory, or on their way.
#[derive(Default)]
struct Table {
    slots: Mutex<HashMap<ModelSpec, Slot>>,
    /// Lines on models that went for a conversation, which nobody was told yet.
    freed: Mutex<Vec<String>>,
}

/// The table of models, and the tokenizers that were loaded.
#[derive(Default)]
pub struct Residency {
    table: Arc<Table>,
    tokenizers: Shelf,
    paths: Paths,
    room: Room,
}

enum Slot {
    Loading(Arc<Load>),
    Ready(Arc<ResidentModel>),
}

/// A load that is under way, watched by every request for its model.
struct Load {
    /// Where the files may come from.
    terms: Terms,
    state: Mutex<LoadState>,
    changed: Condvar,
}

/// How a request may get at a model's files. Two that differ here can end differently.
#[derive(Clone, PartialEq, Eq)]
struct Terms {
    purpose: Purpose,
    local_files_only: bool,
    hub: HubVariables,
}

#[derive(Default)]
struct LoadState {
    events: Vec<Event>,
    outcome: Option<Result<Arc<ResidentModel>, Failure>>,
}

impl Residency {
    /// The model of a specification, loaded when it is not, and whether it was there. Progress goes to
    /// `sink`, also that of a load which another request started. Fails on one of no use for the purpose.
    /// What is in memory serves, whatever became of its files: [`Self::current_model`] looks at them.
    pub fn model(
        &self,
        (spec, purpose): (&ModelSpec, Purpose),
        client: &Client<'_>,
        sink: &mut dyn FnMut(Event),
    ) -> Result<(Arc<ResidentModel>, bool), Failure> {
        let key = key(spec, &self.paths)?;
        let terms = Terms {
            purpose,
            local_files_only: spec.source.local_files_only,
            hub: client.hub.clone(),
        };
        loop {
            let load = match self.find(&key, &terms) {
                Found::Ready(model) => {
                    model.model.check(purpose, &model.info.name)?;
                    return Ok((model, true));
                }
                Found::Mine(load) => {
                    return Ok((self.lead(spec, &key, (&load, client), sink)?, false));
                }
                Found::Theirs(load) => load,
                Found::Elsewhere(load) => {
                    // It may come to be what is wanted; that is seen once it is there.
                    let _ = follow(&load, client.cancel, sink);
                    client.cancel.check()?;
                    continue;
                }
            };
            match follow(&load, client.cancel, sink) {
                Ok(model) => return Ok((model, false)),
                // Whoever started the load gave up; this request still wants the model.
                Err(failure) if failure.kind == FailureKind::Interrupted => {
                    client.cancel.check()?;
                }
                // It looked in another cache, or was not allowed what this request is.
                Err(_) if load.terms != terms => {}
                Err(failure) => return Err(failure),
            }
        }
    }

    /// The tokenizer of a source, loaded when it is not. Where its files are gone and a model that was loaded from
    /// them is not, it is that model's.
    pub fn tokenizer(
        &self,
        source: &ModelSource,
        client: &Client<'_>,
        sink: &mut dyn FnMut(Event),
    ) -> Result<Arc<Tokenizer>, Failure> {
        let key = source_key(source, &self.paths);
        if let Some(tokenizer) = self.tokenizers.get(&key) {
            return Ok(tokenizer);
        }
        if let Some(model) = self.outlived(&key) {
            return Ok(Arc::clone(&model.tokenizer));
        }
        let config = HubConfig::new(client.hub);
        let files = hub::resolve(&config, source, Wanted::Tokenizer, client.cancel, sink)?;
        self.tokenizers.load(key, &files, sink)
    }

    /// The tokenizer that a handle stands for, with what its owner added. It is there also when its files are gone.
    pub fn tokenizer_of_handle(
        &self,
        spec: &TokenizerSpec,
        client: &Client<'_>,
        sink: &mut dyn FnMut(Event),
    ) -> Result<Arc<Tokenizer>, Failure> {
        let key = source_key(&spec.source, &self.paths);
        let tokenizer = match self.tokenizers.outlived(&key) {
            Some(tokenizer) => tokenizer,
            None => self.tokenizer(&spec.source, client, sink)?,
        };
        self.tokenizers.of_handle(&key, tokenizer, spec)
    }

    /// Lines on models that went for a conversation since this was last asked.
    pub fn take_freed(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.table.freed))
    }

    /// What is resident, the longest loaded first.
    pub fn residents(&self) -> Vec<Resident> {
        let mut residents: Vec<Resident> =
            self.table.ready().iter().map(|m| m.resident()).collect();
        residents.sort_by(|a, b| b.age_seconds.total_cmp(&a.age_seconds));
        residents
    }

    /// Lets models go. Their memory comes back when the requests that use them have ended.
    pub fn unload(&self, target: &UnloadTarget) -> Result<Vec<Resident>, Failure> {
        let wanted_key = match target {
            UnloadTarget::Spec(spec) => Some(key(spec, &self.paths)?),
            UnloadTarget::Name(_) | UnloadTarget::All => None,
        };
        let (mut removed, mut gone) = (Vec::new(), Vec::new());
        let mut slots = lock(&self.table.slots);
        let elsewhere = wanted_key.as_ref().and_then(|key| elsewhere(&slots, key));
        slots.retain(|key, slot| {
            let Slot::Ready(model) = slot else {
                return true;
            };
            let wanted = match target {
                UnloadTarget::Spec(_) => {
                    let other = elsewhere.as_ref();
                    Some(key) == wanted_key.as_ref()
                        || other.is_some_and(|other| Arc::ptr_eq(other, model))
                }
                UnloadTarget::Name(name) => model.info.name == *name || key.source.repo == *name,
                UnloadTarget::All => true,
            };
            if wanted {
                removed.push(model.resident());
                gone.push(Arc::clone(model));
            }
            !wanted
        });
        drop((slots, elsewhere));
        // Cards are waited for as they go, and nobody else for that.
        drop(gone);
        self.release_tokenizers(target, wanted_key.as_ref());
        return_memory();
        Ok(removed)
    }

    /// Lets the tokenizers go that were asked for, except those of models that stay.
    fn release_tokenizers(&self, target: &UnloadTarget, key: Option<&ModelSpec>) {
        let staying: Vec<ModelSource> = lock(&self.table.slots)
            .keys()
            .map(|key| key.source.clone())
            .collect();
        self.tokenizers.retain(|source| {
            let named = match target {
                UnloadTarget::Spec(_) => key.is_some_and(|key| key.source == *source),
                UnloadTarget::Name(name) => source.repo == *name,
                UnloadTarget::All => true,
            };
            !named || staying.contains(source)
        });
    }

    fn find(&self, key: &ModelSpec, terms: &Terms) -> Found {
        let mut models = lock(&self.table.slots);
        if let Some(model) = elsewhere(&models, key) {
            return Found::Ready(model);
        }
        let own = models.get(key);
        let loading = |slot: &Slot| match slot {
            Slot::Loading(load) => Some(Arc::clone(load)),
            Slot::Ready(_) => None,
        };
        let other = others(key)
            .iter()
            .find_map(|other| loading(models.get(other)?));
        match (own, other) {
            (Some(Slot::Ready(model)), _) => Found::Ready(Arc::clone(model)),
            (Some(Slot::Loading(load)), _) => Found::Theirs(Arc::clone(load)),
            (None, Some(load)) => Found::Elsewhere(load),
            (None, None) => {
                let load = Arc::new(Load {
                    terms: terms.clone(),
                    state: Mutex::default(),
                    changed: Condvar::new(),
                });
                models.insert(key.clone(), Slot::Loading(Arc::clone(&load)));
                Found::Mine(load)
            }
        }
    }

    /// Loads on behalf of all who ask, and tells them.
    fn lead(
        &self,
        spec: &ModelSpec,
        key: &ModelSpec,
        (load, client): (&Load, &Client<'_>),
        sink: &mut dyn FnMut(Event),
    ) -> Result<Arc<ResidentModel>, Failure> {
        let mut tell = |event: Event| {
            lock(&load.state).events.push(event.clone());
            load.changed.notify_all();
            sink(event);
        };
        // A panic must not leave the others waiting for ever.
        let keys = (spec, key, load.terms.purpose);
        let work = AssertUnwindSafe(|| self.load(keys, client, &mut tell));
        let outcome = catch_unwind(work).unwrap_or_else(|_| {
            let message = format!("loading `{}` failed inside the engine", spec.source.repo);
            Err(Failure::new(FailureKind::Internal, message))
        });
        {
            let mut models = lock(&self.table.slots);
            match &outcome {
                Ok(model) => models.insert(key.clone(), Slot::Ready(Arc::clone(model))),
                Err(_) => models.remove(key),
            };
        }
        lock(&load.state).outcome = Some(outcome.clone());
        load.changed.notify_all();
        outcome
    }
}

impl Table {
    fn ready(&self) -> Vec<Arc<ResidentModel>> {
        let models = lock(&self.slots);
        let ready = models.values().filter_map(|slot| match slot {
            Slot::Ready(model) => Some(Arc::clone(model)),
            Slot::Loading(_) => None,
        });
        ready.collect()
    }
}

/// The model of another key that is where this key's would be.
fn elsewhere(slots: &HashMap<ModelSpec, Slot>, key: &ModelSpec) -> Option<Arc<ResidentModel>> {
    others(key).iter().find_map(|other| {
        let Slot::Ready(model) = slots.get(other)? else {
            return None;
        };
        let is_there = match (&key.device_map, &other.device_map) {
            (DeviceMap::Whole(device), DeviceMap::Whole(Device::Auto)) => {
                model.info.device == device.to_string()
            }
            _ => true,
        };
        is_there.then(|| Arc::clone(model))
    })
}

enum Found {
    Ready(Arc<ResidentModel>),
    /// This request is to load it.
    Mine(Arc<Load>),
    /// Another request loads it.
    Theirs(Arc<Load>),
    /// Another request loads what may turn out to be it.
    Elsewhere(Arc<Load>),
}

/// Waits for another request's load, with its progress.
fn follow(
    load: &Load,
    cancel: &Cancel,
    sink: &mut dyn FnMut(Event),
) -> Result<Arc<ResidentModel>, Failure> {
    let mut seen = 0;
    loop {
        cancel.check()?;
        let (news, outcome) = {
            let state = lock(&load.state);
            let (state, _) = load
                .changed
                .wait_timeout_while(state, WAIT, |state| {
                    state.events.len() == seen && state.outcome.is_none()
                })
                .unwrap_or_else(PoisonError::into_inner);
            (state.events[seen..].to_vec(), state.outcome.clone())
        };
        seen += news.len();
        news.into_iter().for_each(&mut *sink);
        if let Some(outcome) = outcome {
            return outcome;
        }
    }
}

/// Locks; a panic elsewhere leaves these tables in a state that is still right, since each change to
/// them is one insertion or removal.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
