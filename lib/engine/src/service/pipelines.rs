//! Requests of pipelines: their models are resident beside all others.

use std::sync::Arc;

use wire::{
    Failure,
    host::Event,
    model::{ModelInfo, ModelSpec},
    pipeline::{EncoderTask, PipelineAnswer, PipelineRun},
};

use super::Service;
use crate::{
    pipelines,
    residency::{Client, Purpose},
};

impl Service {
    pub(super) fn load_pipeline(
        &self,
        task: EncoderTask,
        model: &ModelSpec,
        client: &Client<'_>,
        sink: &mut dyn FnMut(Event),
    ) -> Result<ModelInfo, Failure> {
        let wanted = (model, Purpose::Encoding);
        let (model, was_resident) = self.residency.model(wanted, client, sink)?;
        pipelines::check_head(task, model.encoder()?, &model.info.name)?;
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
}
