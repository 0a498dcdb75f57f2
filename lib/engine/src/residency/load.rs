//! A load from its files to a model in memory: where it goes, who goes for it, what is told of it.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use wire::{
    Failure,
    host::{Event, Progress, Stage},
    model::{Activations, Agreement, Device, DeviceMap, ModelInfo, ModelSpec},
};

use super::{
    Client, Residency, ResidentModel, Table, Usage, agreement,
    fit::Used,
    license::license,
    loaded::{self, Loaded, Purpose},
    room::{Need, Promise},
    stale,
};
use crate::{
    Cancel,
    bitsandbytes::{self, Plan},
    generate::{Defaults, PrefixCaches, Reclaim},
    hub::{self, HubConfig, Layout, ModelFiles, Wanted},
    pipelines::TaskParams,
    placement::Placement,
    sentences::Sentences,
    tokenizer::Tokenizer,
    unsafe_memory::ReturnMemory,
    weights::{Loader, Weights},
};

impl Residency {
    /// Loads a model from its files, with progress.
    pub(super) fn load(
        &self,
        (spec, key, purpose): (&ModelSpec, &ModelSpec, Purpose),
        client: &Client<'_>,
        sink: &mut dyn FnMut(Event),
    ) -> Result<Arc<ResidentModel>, Failure> {
        let started = Instant::now();
        let config = HubConfig::new(client.hub);
        let files = hub::resolve(&config, &spec.source, Wanted::Model, client.cancel, sink)?;
        let weights = loaded::open(&files, spec, purpose)?;
        let stamps = stale::stamps(&files, &weights);
        let plan = Plan::of(spec, &weights)?;
        let (placement, need) = self.placed(spec, (&files.name, &weights), plan.as_ref())?;
        let shares = need.on(&placement);
        let promise = self.make_room((&need, &shares), sink)?;
        let used = Used::on(&placement);
        // Before what it outlives: a load that fails gives back what it took, too.
        let memory = ReturnMemory {
            of_cards: !placement.is_on_cpu(),
        };
        let tokenizer = self.tokenizers.load(key.source.clone(), &files, sink)?;
        let (defaults, notices) = Defaults::read(&files.layout, &weights)?;
        let notices = noted(&files.name, (&placement, plan.as_ref()), notices);
        notices.map(Event::Notice).for_each(&mut *sink);
        let model = self.built(
            spec,
            (&files.name, &weights),
            (plan.as_ref(), &placement),
            (client.cancel, &mut counted(&promise, sink)),
        )?;
        let device_bytes = used.taken((&shares, &promise), model.bytes());
        let agreement = agreement_of((spec, &files), &model, &tokenizer, (client.cancel, sink))?;
        let told = Plan::told(plan.clone(), spec, &weights);
        let info = ModelInfo {
            load_seconds: started.elapsed().as_secs_f64(),
            agreement: agreement.map(Box::new),
            device: placement.name(),
            device_map: placement.map().to_vec(),
            device_bytes,
            memory_footprint: bitsandbytes::footprint(&weights, told.as_ref()),
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
            stamps,
            loaded: now,
            usage: Mutex::new(Usage {
                last_used: now,
                users: 0,
                pinned: false,
            }),
            memory,
        }))
    }

    /// Where a model goes, and what it takes.
    fn placed(
        &self,
        spec: &ModelSpec,
        (name, weights): (&str, &Weights),
        plan: Option<&Plan>,
    ) -> Result<(Placement, Need), Failure> {
        let mut placement = Placement::new(&spec.device_map, weights)?;
        if let Some(reason) = loaded::off_cards(spec) {
            placement = placement.off_cards(&spec.device_map, name, reason)?;
        }
        let undivided = loaded::undivided(weights);
        if let Some(what) = undivided {
            placement.check_undivided(name, what)?;
        }
        let need = Need::of(name, weights, plan, spec.kept_dtype());
        let need = need.undivided(undivided.is_some());
        if spec.device_map == DeviceMap::Whole(Device::Auto) && !placement.is_on_cpu() {
            placement = self.fit(&need, weights)?;
        }
        Ok((placement, need))
    }

    /// The model itself.
    fn built(
        &self,
        spec: &ModelSpec,
        (name, weights): (&str, &Weights),
        (plan, placement): (Option<&Plan>, &Placement),
        (cancel, tell): (&Cancel, &mut dyn FnMut(Event)),
    ) -> Result<Loaded, Failure> {
        let loader = Loader::new(weights, name, cancel, tell)
            .with_plan(plan)
            .with_placement(placement)
            .with_activations(spec.activations)
            .with_asked_dtype(spec.dtype.or_else(|| loaded::in_place_of_halves(weights)))
            .with_cache_dtype(spec.kept_dtype());
        let joins = !plan.is_some_and(Plan::mixes_tokens);
        let table = Arc::downgrade(&self.table);
        let reclaim = move |device, missing| {
            let table = table.upgrade();
            table.is_some_and(|table: Arc<Table>| table.reclaim(device, missing))
        };
        let reclaim: Reclaim = Box::new(reclaim);
        Loaded::build((weights, name), loader, (joins, reclaim))
    }
}

/// Tells progress, and the promise how much of it has been taken.
fn counted<'a>(promise: &'a Promise<'_>, sink: &'a mut dyn FnMut(Event)) -> impl FnMut(Event) + 'a {
    move |event| {
        if let Event::Progress(Progress {
            stage: Stage::Load | Stage::Quantize,
            done,
            total,
            ..
        }) = event
        {
            promise.taken(done, total.unwrap_or(done));
        }
        sink(event);
    }
}

/// Lines on where a model goes and what becomes of it, before those of its configuration.
fn noted(
    name: &str,
    (placement, plan): (&Placement, Option<&Plan>),
    others: impl IntoIterator<Item = String>,
) -> impl Iterator<Item = String> {
    let placed = placement.notice(name).into_iter();
    let placed = placed.chain(placement.choice().map(str::to_owned));
    let overruled = plan.and_then(|plan| plan.overruled.clone());
    placed.chain(overruled).chain(others)
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

/// A size as it is told: no configuration's is too large to be read, and one may be too large to be told.
fn shown(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
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
        memory_footprint: 0,
        context_length: shown(sizes.context_length),
        vocab_size: shown(sizes.vocab_size),
        layers: shown(sizes.layers),
        hidden_size: shown(sizes.hidden_size),
        load_seconds: 0.0,
        was_resident: false,
        dtype: plan.and_then(|plan| plan.quantization.as_ref().map(|_| plan.dtype)),
        license: license(&files.layout, weights).map(Into::into),
        modules: model.modules().map(Box::new),
        agreement: None,
    }
}

#[cfg(test)]
mod tests {
    use super::shown;

    /// A context of 2^32 and one tokens was once told as one of one.
    #[test]
    fn a_size_that_is_too_long_to_tell_is_not_wrapped() {
        assert_eq!(shown((1 << 32) + 1), u32::MAX);
        assert_eq!(shown(8192), 8192);
    }
}
