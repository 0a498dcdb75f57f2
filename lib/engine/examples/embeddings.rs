//! Times embeddings of sentences by the embedded encoder in this process: the figure that a cell's is
//! compared with. `embeddings FILE [BATCH_SIZE]`, a sentence a line; prints sentences a second.

#![expect(clippy::print_stdout, reason = "an example that prints its figures")]

use std::time::Instant;

use engine::{Cancel, Service};
use wire::{
    embedded::SENTENCE_ENCODER,
    host::{Event, Request, Response},
    hub::HubVariables,
    model::{Activations, Device, ModelSource, ModelSpec},
    pipeline::{PipelineCall, PipelineRun},
};

const ROUNDS: usize = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("which file?")?;
    let batch_size = arguments.next().map(|size| size.parse()).transpose()?;
    let inputs: Vec<String> = std::fs::read_to_string(file)?
        .lines()
        .map(str::to_owned)
        .collect();
    let request = Request::RunPipeline(PipelineRun {
        model: ModelSpec {
            source: ModelSource::new(SENTENCE_ENCODER.repo),
            dtype: None,
            auto_dtype: false,
            device_map: Device::Cpu.into(),
            quantization: None,
            activations: Activations::F32,
            cache_dtype: None,
        },
        tokenizer: None,
        call: PipelineCall::Embeddings {
            prompt: wire::pipeline::EmbeddingPrompt::Default,
            inputs: inputs.clone(),
            normalize: true,
        },
        batch_size,
        stream: None,
        assistant: None,
    });
    let service = Service::new();
    let run = || -> Result<(), Box<dyn std::error::Error>> {
        let (variables, cancel) = (HubVariables::default(), Cancel::new());
        let mut last = None;
        service.handle(request.clone(), &variables, &cancel, &mut |event| {
            last = Some(event);
        });
        match last {
            Some(Event::Done(Response::Pipeline(_))) => Ok(()),
            Some(Event::Failed(failure)) => Err(failure.to_string().into()),
            other => Err(format!("answered {other:?}").into()),
        }
    };
    run()?;
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        run()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    println!("{:.1}", inputs.len() as f64 / best);
    Ok(())
}
