//! Requests of pipelines: their models are resident beside all others.

use std::sync::Arc;

use wire::{
    Failure,
    host::Event,
    model::{ModelInfo, ModelSource, ModelSpec},
    pipeline::{EncoderTask, PipelineAnswer, PipelineCall, PipelineRun, PipelineTask},
    tokenize::TokenizerSpec,
};

use super::Service;
use crate::{
    encoders::TextEncoder,
    failures,
    generate::Generator,
    pipelines,
    residency::{Client, Purpose},
    tokenizer::Tokenizer,
};

/// What a task wants a model for.
fn purpose(task: PipelineTask) -> Purpose {
    match task {
        // What is loaded may be asked for either.
        PipelineTask::Encoder(EncoderTask::FeatureExtraction) => Purpose::Embedding,
        PipelineTask::Encoder(_) => Purpose::Encoding,
        PipelineTask::Text2Text(_) => Purpose::Rewriting,
        PipelineTask::TextGeneration => Purpose::Generation,
    }
}

impl Service {
    pub(super) fn load_pipeline(
        &self,
        task: PipelineTask,
        model: &ModelSpec,
        client: &Client<'_>,
        sink: &mut dyn FnMut(Event),
    ) -> Result<ModelInfo, Failure> {
        let wanted = (model, purpose(task));
        let (model, was_resident) = self.residency.current_or_outlived(wanted, client, sink)?;
        if let PipelineTask::Encoder(task) = task
            && model.source_half().is_none()
            && model.causal_reader()?.is_none()
        {
            pipelines::check_head(task, model.encoder()?, &model.info.name)?;
        }
        Ok(ModelInfo {
            was_resident,
            ..model.info.clone()
        })
    }

    pub(super) fn run_pipeline(
        &self,
        run: &PipelineRun,
        client: &Client<'_>,
        sink: &mut dyn FnMut(Event),
    ) -> Result<PipelineAnswer, Failure> {
        if !matches!(run.call.task(), PipelineTask::Encoder(_)) {
            return self.write(run, client, sink);
        }
        let embeds = matches!(run.call, PipelineCall::Embeddings { .. });
        let purpose = match purpose(run.call.task()) {
            Purpose::Embedding if !embeds => Purpose::States,
            purpose => purpose,
        };
        let (model, _) = self.residency.model((&run.model, purpose), client, sink)?;
        let tokenizer = match &run.tokenizer {
            Some(source) => self.tokenizer_of_pipeline(source, client, sink)?,
            None => Arc::clone(&model.tokenizer),
        };
        let _place = model.place();
        let half = model.source_half().filter(|_| embeds);
        let decoder = match &half {
            Some(_) => None,
            None => model.causal_reader()?,
        };
        let encoder: &dyn TextEncoder = match (&half, &decoder) {
            (Some(half), _) => half,
            (None, Some(decoder)) => decoder,
            (None, None) => model.encoder()?,
        };
        let mut reader = pipelines::Reader {
            task: run.call.task(),
            name: &model.info.name,
            encoder,
            tokenizer: &tokenizer,
            batch_size: run.batch_size.map(|size| size as usize),
            cancel: client.cancel,
            sink,
        };
        pipelines::run(&run.call, model.sentences.as_ref(), &mut reader)
    }

    /// A tokenizer that was loaded for a pipeline.
    fn tokenizer_of_pipeline(
        &self,
        source: &ModelSource,
        client: &Client<'_>,
        sink: &mut dyn FnMut(Event),
    ) -> Result<Arc<Tokenizer>, Failure> {
        let spec = TokenizerSpec::from(source.clone());
        self.residency.tokenizer_of_handle(&spec, client, sink)
    }

    fn write(
        &self,
        run: &PipelineRun,
        client: &Client<'_>,
        sink: &mut dyn FnMut(Event),
    ) -> Result<PipelineAnswer, Failure> {
        let wanted = (&run.model, purpose(run.call.task()));
        let (model, _) = self.residency.model(wanted, client, sink)?;
        let tokenizer = match &run.tokenizer {
            Some(source) => self.tokenizer_of_pipeline(source, client, sink)?,
            None => Arc::clone(&model.tokenizer),
        };
        let assistant = match &run.assistant {
            Some(spec) => {
                let wanted = (spec, Purpose::Generation);
                Some(self.residency.model(wanted, client, sink)?.0)
            }
            None => None,
        };
        let place = model.place();
        // A model that assists itself has one place for both.
        let other = assistant.iter().find(|other| !Arc::ptr_eq(other, &model));
        let other = other.map(|other| other.place());
        let assists = other.as_ref().unwrap_or(&place);
        let generator = Generator {
            tokenizer: &tokenizer,
            ..place.generator()?
        };
        let mut writer = pipelines::Writer {
            name: &model.info.name,
            generator,
            task_params: &model.task_params,
            batch_size: run.batch_size.map(|size| size as usize),
            stream: run.stream,
            assistant: assistant
                .as_ref()
                .map(|_| assists.generator())
                .transpose()?,
            cancel: client.cancel,
            sink,
        };
        match &run.call {
            PipelineCall::TextGeneration { inputs, options } => {
                let found = writer.continue_all(inputs, options)?;
                Ok(PipelineAnswer::Generations(found))
            }
            PipelineCall::Text2Text { inputs, options } => {
                Ok(PipelineAnswer::Texts(writer.write_about(inputs, options)?))
            }
            _ => Err(failures::unsupported(
                "a task of encoders came to the models that write",
            )),
        }
    }
}
