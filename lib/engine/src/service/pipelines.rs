//! Requests of pipelines: their models are resident beside all others.

use std::sync::Arc;

use wire::{
    Failure,
    host::Event,
    model::{ModelInfo, ModelSpec},
    pipeline::{PipelineAnswer, PipelineCall, PipelineRun, PipelineTask},
    text2text::Text2TextOptions,
};

use super::Service;
use crate::{
    generate::Generator,
    pipelines,
    residency::{Client, Purpose},
};

impl Service {
    pub(super) fn load_pipeline(
        &self,
        task: PipelineTask,
        model: &ModelSpec,
        client: &Client<'_>,
        sink: &mut dyn FnMut(Event),
    ) -> Result<ModelInfo, Failure> {
        let purpose = match task {
            PipelineTask::Encoder(_) => Purpose::Encoding,
            PipelineTask::Text2Text(_) => Purpose::Rewriting,
        };
        let (model, was_resident) = self.residency.model((model, purpose), client, sink)?;
        if let PipelineTask::Encoder(task) = task {
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
        if let PipelineCall::Text2Text { inputs, options } = &run.call {
            return self.run_text2text(run, (inputs, options), client, sink);
        }
        let wanted = (&run.model, Purpose::Encoding);
        let (model, _) = self.residency.model(wanted, client, sink)?;
        let tokenizer = match &run.tokenizer {
            Some(source) => self.residency.tokenizer(source, client, sink)?,
            None => Arc::clone(&model.tokenizer),
        };
        let _place = model.place();
        let mut reader = pipelines::Reader {
            name: &model.info.name,
            encoder: model.encoder()?,
            tokenizer: &tokenizer,
            batch_size: run.batch_size.map(|size| size as usize),
            cancel: client.cancel,
            sink,
        };
        pipelines::run(&run.call, &mut reader)
    }

    fn run_text2text(
        &self,
        run: &PipelineRun,
        (inputs, options): (&[String], &Text2TextOptions),
        client: &Client<'_>,
        sink: &mut dyn FnMut(Event),
    ) -> Result<PipelineAnswer, Failure> {
        let wanted = (&run.model, Purpose::Rewriting);
        let (model, _) = self.residency.model(wanted, client, sink)?;
        let tokenizer = match &run.tokenizer {
            Some(source) => self.residency.tokenizer(source, client, sink)?,
            None => Arc::clone(&model.tokenizer),
        };
        let place = model.place();
        let generator = Generator {
            tokenizer: &tokenizer,
            ..place.generator()?
        };
        let mut writer = pipelines::Writer {
            name: &model.info.name,
            generator,
            task_params: &model.task_params,
            batch_size: run.batch_size.map(|size| size as usize),
            cancel: client.cancel,
            sink,
        };
        Ok(PipelineAnswer::Texts(writer.run(inputs, options)?))
    }
}
