//! Which models are in memory. One table owns them, keyed by what determines the weights; two requests
//! for one model at once end in one load. Whether a load fits is `room`'s question, what goes to make
//! it fit `evict`'s.

mod agreement;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails says where")]
mod cards_tests;
mod evict;
mod fit;
mod key;
mod license;
mod loaded;
mod room;

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use wire::{
    Failure, FailureKind,
    host::{Event, Progress, Stage, UnloadTarget},
    hub::HubVariables,
    model::{
        Activations, Agreement, Device, DeviceMap, ModelInfo, ModelSource, ModelSpec, Resident,
    },
    tokenize::TokenizerSpec,
};

use crate::{
    Cancel,
    bitsandbytes::{self, Plan},
    encoders::{CausalReader, TextEncoder},
    generate::{Defaults, Generator, PrefixCaches, Reclaim, Seat, Steps},
    hub::{self, HubConfig, Layout, ModelFiles, Wanted},
    pipelines::TaskParams,
    placement::Placement,
    sentences::Sentences,
    tokenizer::{Shelf, Tokenizer},
    unsafe_memory::{ReturnMemory, return_memory},
    weights::{Loader, Weights},
};
use fit::Free;
use key::{key, others, source_key};
use license::license;
pub use loaded::Purpose;
use loaded::{Loaded, no_decoder};
use room::{Need, Room};

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
    loaded: Instant,
    usage: Mutex<Usage>,
    /// Stays last: it runs when the others are gone.
    _memory: ReturnMemory,
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
}

impl ResidentModel {
    /// Takes a place.
    pub fn place(&self) -> Place<'_> {
        lock(&self.usage).users += 1;
        Place {
            resident: self,
            seat: self.model.steps().map(Steps::seat),
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
}

/// The table of models, and the tokenizers that were loaded.
#[derive(Default)]
pub struct Residency {
    table: Arc<Table>,
    tokenizers: Shelf,
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
    pub fn model(
        &self,
        (spec, purpose): (&ModelSpec, Purpose),
        client: &Client<'_>,
        sink: &mut dyn FnMut(Event),
    ) -> Result<(Arc<ResidentModel>, bool), Failure> {
        let key = key(spec)?;
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

    /// The tokenizer of a source, loaded when it is not.
    pub fn tokenizer(
        &self,
        source: &ModelSource,
        client: &Client<'_>,
        sink: &mut dyn FnMut(Event),
    ) -> Result<Arc<Tokenizer>, Failure> {
        let key = source_key(source);
        if let Some(tokenizer) = self.tokenizers.get(&key) {
            return Ok(tokenizer);
        }
        let config = HubConfig::new(client.hub);
        let files = hub::resolve(&config, source, Wanted::Tokenizer, client.cancel, sink)?;
        self.tokenizers.load(key, &files, sink)
    }

    /// The tokenizer that a handle stands for, with what its owner added.
    pub fn tokenizer_of_handle(
        &self,
        spec: &TokenizerSpec,
        client: &Client<'_>,
        sink: &mut dyn FnMut(Event),
    ) -> Result<Arc<Tokenizer>, Failure> {
        let tokenizer = self.tokenizer(&spec.source, client, sink)?;
        let key = source_key(&spec.source);
        self.tokenizers.of_handle(&key, tokenizer, spec)
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
            UnloadTarget::Spec(spec) => Some(key(spec)?),
            UnloadTarget::Name(_) | UnloadTarget::All => None,
        };
        let mut removed = Vec::new();
        lock(&self.table.slots).retain(|key, slot| {
            let Slot::Ready(model) = slot else {
                return true;
            };
            let wanted = match target {
                UnloadTarget::Spec(_) => Some(key) == wanted_key.as_ref(),
                UnloadTarget::Name(name) => model.info.name == *name || key.source.repo == *name,
                UnloadTarget::All => true,
            };
            if wanted {
                removed.push(model.resident());
            }
            !wanted
        });
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
        match models.get(key) {
            Some(Slot::Ready(model)) => Found::Ready(Arc::clone(model)),
            Some(Slot::Loading(load)) => Found::Theirs(Arc::clone(load)),
            None => {
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

    fn load(
        &self,
        (spec, key, purpose): (&ModelSpec, &ModelSpec, Purpose),
        client: &Client<'_>,
        sink: &mut dyn FnMut(Event),
    ) -> Result<Arc<ResidentModel>, Failure> {
        let started = Instant::now();
        let config = HubConfig::new(client.hub);
        let files = hub::resolve(&config, &spec.source, Wanted::Model, client.cancel, sink)?;
        let weights = loaded::open(&files, spec, purpose)?;
        let mut placement = Placement::new(&spec.device_map, &weights)?;
        let plan = Plan::of(spec, &weights)?;
        if let Some(what) = loaded::off_cards(spec) {
            placement = placement.off_cards(&spec.device_map, &files.name, what)?;
        }
        if let Some(what) = loaded::undivided(&weights) {
            placement.check_undivided(&files.name, what)?;
        }
        let need = Need::of(&files.name, &weights, plan.as_ref(), spec.kept_dtype());
        if spec.device_map == DeviceMap::Whole(Device::Auto) && !placement.is_on_cpu() {
            placement = self.fit(&need, &weights)?;
        }
        let shares = need.on(&placement);
        let promise = self.make_room((&need, &shares), sink)?;
        let free = Free::on(&placement);
        let tokenizer = self.tokenizers.load(key.source.clone(), &files, sink)?;
        let (defaults, notices) = Defaults::read(&files.layout, &weights)?;
        let overruled = plan.as_ref().and_then(|plan| plan.overruled.clone());
        let placed = placement.notice(&files.name).into_iter();
        let placed = placed.chain(placement.choice().map(str::to_owned));
        let notices = placed.chain(overruled).chain(notices);
        notices.map(Event::Notice).for_each(&mut *sink);
        let mut tell = |event: Event| {
            if let Event::Progress(Progress {
                stage: Stage::Load | Stage::Quantize,
                done,
                ..
            }) = event
            {
                promise.taken(done);
            }
            sink(event);
        };
        let loader = Loader::new(&weights, &files.name, client.cancel, &mut tell);
        let loader = loader
            .with_plan(plan.as_ref())
            .with_placement(&placement)
            .with_activations(spec.activations)
            .with_asked_dtype(spec.dtype)
            .with_cache_dtype(spec.kept_dtype());
        let joins = !plan.as_ref().is_some_and(Plan::mixes_tokens);
        let table = Arc::downgrade(&self.table);
        let reclaim = move |device, missing| {
            let table = table.upgrade();
            table.is_some_and(|table: Arc<Table>| table.reclaim(device, missing))
        };
        let reclaim: Reclaim = Box::new(reclaim);
        let model = Loaded::build((&weights, &files.name), loader, (joins, reclaim))?;
        let device_bytes = free.taken((&shares, &promise), model.bytes());
        let agreement = agreement_of((spec, &files), &model, &tokenizer, (client.cancel, sink))?;
        let info = ModelInfo {
            load_seconds: started.elapsed().as_secs_f64(),
            agreement: agreement.map(Box::new),
            device: placement.name(),
            device_map: placement.map().to_vec(),
            device_bytes,
            ..describe(&files, &weights, plan.as_ref(), &model)
        };
        let sentences = sentences_of(&files, client.cancel)?;
        let now = Instant::now();
        Ok(Arc::new(ResidentModel {
            info,
            spec: spec.clone(),
            prefixes: PrefixCaches::new(model.bytes()),
            model,
            tokenizer,
            defaults,
            task_params: TaskParams::read(&weights),
            sentences,
            loaded: now,
            usage: Mutex::new(Usage {
                last_used: now,
                users: 0,
                pinned: false,
            }),
            _memory: ReturnMemory,
        }))
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

/// What rounded activations change, where a decoder was asked for them; it is told.
fn agreement_of(
    (spec, files): (&ModelSpec, &ModelFiles),
    model: &Loaded,
    tokenizer: &Tokenizer,
    (cancel, sink): (&Cancel, &mut dyn FnMut(Event)),
) -> Result<Option<Agreement>, Failure> {
    let (Activations::Int8 | Activations::BF16, Loaded::Causal { steps, .. }) =
        (spec.activations, model)
    else {
        return Ok(None);
    };
    if steps.model().source_reader().is_some() {
        return Ok(None);
    }
    let found = agreement::measure(steps.model(), tokenizer, cancel)?;
    sink(Event::Notice(rounding(
        &files.name,
        spec.activations,
        found,
    )));
    Ok(Some(found))
}

/// How texts become vectors, or why they do not. A load that is cancelled meanwhile fails: it is no failure of
/// the files, which would stay with the model.
fn sentences_of(
    files: &ModelFiles,
    cancel: &Cancel,
) -> Result<Result<Sentences, Failure>, Failure> {
    let sentences = match &files.layout {
        Layout::Folder(folder) => Sentences::read(folder, cancel),
        Layout::Gguf(_) => Ok(Sentences::bare(true)),
    };
    cancel.check()?;
    Ok(sentences)
}

fn rounding(name: &str, activations: Activations, found: Agreement) -> String {
    let form = match activations {
        Activations::Int8 => "8 bits",
        Activations::F32 | Activations::BF16 => activations.name(),
    };
    format!(
        "`{name}` rounds activations to {form}, which changes answers: of {} positions in sample texts {} \
         keep their most likely token; KL divergence {:.1e} nats",
        found.positions, found.same_top, found.divergence
    )
}

enum Found {
    Ready(Arc<ResidentModel>),
    /// This request is to load it.
    Mine(Arc<Load>),
    /// Another request loads it.
    Theirs(Arc<Load>),
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

/// What is known of a model that was just loaded.
fn describe(
    files: &ModelFiles,
    weights: &Weights,
    plan: Option<&Plan>,
    model: &Loaded,
) -> ModelInfo {
    let sizes = model.sizes();
    ModelInfo {
        name: files.name.clone(),
        files: weights
            .files()
            .map(|path| path.display().to_string())
            .collect(),
        architecture: model.architecture().to_owned(),
        quantization: plan.map_or_else(|| weights.main_format().name().to_owned(), Plan::name),
        device: String::new(),
        device_map: Vec::new(),
        device_bytes: Vec::new(),
        parameters: plan.map_or_else(
            || weights.parameters(),
            |plan| bitsandbytes::parameters(weights, plan),
        ),
        bytes: model.bytes(),
        memory_footprint: bitsandbytes::footprint(weights, plan),
        context_length: sizes.context_length as u32,
        vocab_size: sizes.vocab_size as u32,
        layers: sizes.layers as u32,
        hidden_size: sizes.hidden_size as u32,
        load_seconds: 0.0,
        was_resident: false,
        dtype: plan.and_then(|plan| plan.quantization.as_ref().map(|_| plan.dtype)),
        license: license(&files.layout, weights).map(Into::into),
        modules: model.modules().map(Box::new),
        agreement: None,
    }
}

/// Locks; a panic elsewhere leaves these tables in a state that is still right, since each change to
/// them is one insertion or removal.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
