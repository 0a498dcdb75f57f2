//! Requests to their answers. One [`Service`] serves all threads: it holds what is resident and runs
//! each request on the thread that brings it. Connections, ids and who may cancel are the host's.

mod pipelines;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
    time::Instant,
};

use wire::{
    Failure, FailureKind,
    host::{Event, HostStatus, Request, Response, UnloadTarget},
    hub::HubVariables,
    model::{ModelInfo, ModelSpec, Resident},
    quantization_report::QuantizationReport,
};

use crate::{
    Cancel, failures, generate,
    hub::{self, HubConfig, Wanted},
    memory, report,
    residency::{Client, Purpose, Residency},
    save,
};

/// The engine behind one door.
pub struct Service {
    residency: Residency,
    started: Instant,
}

impl Default for Service {
    fn default() -> Self {
        Self::new()
    }
}

impl Service {
    /// A service that holds nothing yet.
    pub fn new() -> Self {
        Self {
            residency: Residency::default(),
            started: Instant::now(),
        }
    }

    #[cfg(test)]
    pub(crate) fn of(residency: Residency) -> Self {
        Self {
            residency,
            started: Instant::now(),
        }
    }

    /// Runs a request on this thread, for a client with these variables. News go to `sink` as they come;
    /// the last is always one `Event::Done` or `Event::Failed`, also when the engine itself is at fault.
    pub fn handle(
        &self,
        request: Request,
        hub: &HubVariables,
        cancel: &Cancel,
        sink: &mut dyn FnMut(Event),
    ) {
        let client = Client { hub, cancel };
        let work = AssertUnwindSafe(|| self.answer(request, &client, sink));
        let outcome = catch_unwind(work).unwrap_or_else(|panic| {
            let what = failures::panic_message(&*panic);
            Err(Failure::new(
                FailureKind::Internal,
                format!("the engine panicked: {what}"),
            )
            .hint("this is a fault of Warmcell; other models and requests are not affected"))
        });
        let freed = self.residency.take_freed().into_iter();
        freed.map(Event::Notice).for_each(&mut *sink);
        sink(match outcome {
            Ok(response) => Event::Done(response),
            Err(failure) => Event::Failed(failure),
        });
    }

    /// What is resident, the longest loaded first.
    pub fn residents(&self) -> Vec<Resident> {
        self.residency.residents()
    }

    fn answer(
        &self,
        request: Request,
        client: &Client<'_>,
        sink: &mut dyn FnMut(Event),
    ) -> Result<Response, Failure> {
        let cancel = client.cancel;
        cancel.check()?;
        Ok(match request {
            Request::LoadTokenizer(source) => {
                let tokenizer = self.residency.tokenizer(&source, client, sink)?;
                Response::Tokenizer(Box::new(tokenizer.info().clone()))
            }
            Request::LoadModel(spec) => Response::Model(self.load_model(&spec, client, sink)?),
            Request::Tokenize {
                tokenizer: spec,
                call,
            } => {
                let tokenizer = self.residency.tokenizer_of_handle(&spec, client, sink)?;
                Response::Tokenize(tokenizer.answer(call, cancel)?)
            }
            Request::ApplyChatTemplate {
                tokenizer: spec,
                conversations,
                options,
            } => {
                let tokenizer = self.residency.tokenizer_of_handle(&spec, client, sink)?;
                Response::Chats(tokenizer.apply_chat_templates(&conversations, &options, cancel)?)
            }
            Request::Generate {
                model,
                prompts,
                config,
                generation_config,
                stream,
                assistant,
            } => {
                let (model, _) =
                    self.residency
                        .model((&model, Purpose::Generation), client, sink)?;
                let assistant = match assistant {
                    Some(spec) => {
                        let wanted = (&spec, Purpose::Generation);
                        Some(self.residency.model(wanted, client, sink)?.0)
                    }
                    None => None,
                };
                let place = model.place();
                // A model that assists itself has one place for both.
                let other = assistant.iter().find(|other| !Arc::ptr_eq(other, &model));
                let other = other.map(|other| other.place());
                let assists = other.as_ref().unwrap_or(&place);
                let task = generate::Task {
                    prompts: &prompts,
                    config: &config,
                    generation_config: generation_config.as_ref(),
                    stream,
                    assistant: assistant
                        .as_ref()
                        .map(|_| assists.generator())
                        .transpose()?,
                };
                let generated = generate::run(place.generator()?, task, cancel, sink)?;
                Response::Generated(generated)
            }
            Request::Forward {
                model,
                prompts,
                output_hidden_states,
            } => {
                let (model, _) =
                    self.residency
                        .model((&model, Purpose::Generation), client, sink)?;
                let place = model.place();
                let forward = generate::forward(
                    place.generator()?,
                    &prompts,
                    output_hidden_states,
                    cancel,
                    sink,
                )?;
                Response::Forward(Box::new(forward))
            }
            Request::LoadPipeline { task, model } => {
                Response::Model(self.load_pipeline(task, &model, client, sink)?)
            }
            Request::RunPipeline(run) => Response::Pipeline(self.run_pipeline(&run, client, sink)?),
            Request::Status => Response::Status(self.status()),
            Request::Unload(target) => Response::Unloaded(self.residency.unload(&target)?),
            Request::Pin { model, pinned } => {
                let (model, was_resident) =
                    self.residency.model((&model, Purpose::Any), client, sink)?;
                model.set_pinned(pinned);
                Response::Model(ModelInfo {
                    was_resident,
                    ..model.info.clone()
                })
            }
            Request::SaveModel { model, folder } => {
                Response::Saved(self.save_model(&model, &folder, client, sink)?)
            }
            Request::QuantizationReport { model } => {
                let report = self.quantization_report(&model, client, sink)?;
                Response::QuantizationReport(Box::new(report))
            }
            Request::Shutdown => Response::Stopping,
        })
    }

    fn load_model(
        &self,
        spec: &ModelSpec,
        client: &Client<'_>,
        sink: &mut dyn FnMut(Event),
    ) -> Result<ModelInfo, Failure> {
        let wanted = (spec, Purpose::Generation);
        let (model, was_resident) = self.residency.current_model(wanted, client, sink)?;
        Ok(ModelInfo {
            was_resident,
            ..model.info.clone()
        })
    }

    fn save_model(
        &self,
        spec: &ModelSpec,
        folder: &str,
        client: &Client<'_>,
        sink: &mut dyn FnMut(Event),
    ) -> Result<Vec<String>, Failure> {
        let config = HubConfig::new(client.hub);
        let files = hub::resolve(&config, &spec.source, Wanted::Model, client.cancel, sink)?;
        let written = save::save(&files, spec, Path::new(folder), (client.cancel, sink))?;
        // What was loaded from there before is not what is there now.
        if let Ok(path) = Path::new(folder).canonicalize() {
            let target = UnloadTarget::Name(path.display().to_string());
            self.residency.unload(&target)?;
        }
        Ok(written)
    }

    fn quantization_report(
        &self,
        spec: &ModelSpec,
        client: &Client<'_>,
        sink: &mut dyn FnMut(Event),
    ) -> Result<QuantizationReport, Failure> {
        let wanted = (spec, Purpose::Any);
        let (model, _) = self.residency.model(wanted, client, sink)?;
        let config = HubConfig::new(client.hub);
        let source = &model.spec().source;
        let files = hub::resolve(&config, source, Wanted::Model, client.cancel, sink)?;
        report::report(&files, &model, (client.cancel, sink))
    }

    /// What the engine knows of the process; a host adds its clients and its time-out.
    fn status(&self) -> HostStatus {
        HostStatus {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            idle_timeout_seconds: 0.0,
            process_bytes: memory::process_bytes(),
            models: self.residents(),
            clients: 0,
        }
    }
}
