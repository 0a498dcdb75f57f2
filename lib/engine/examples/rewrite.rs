//! How fast an encoder-decoder writes here: 64 tokens by 4 beams about a source of so many tokens (a folder, and
//! the length), the median of seven. `tests/bench/seq2seq.py` makes checkpoints of random weights and times
//! transformers at the same.

#![expect(clippy::print_stdout, reason = "an example that prints its figures")]

use std::time::Instant;

use engine::{Cancel, Service};
use wire::{
    Failure,
    generate::{GenerationConfig, Prompt},
    host::{Event, Request, Response},
    hub::HubVariables,
    model::{Activations, Device, ModelSource, ModelSpec},
};

const NEW: u32 = 64;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().unwrap_or_default();
    let length = arguments.next().and_then(|length| length.parse().ok());
    let model = ModelSpec {
        source: ModelSource::new(folder),
        dtype: None,
        auto_dtype: false,
        device_map: Device::Auto.into(),
        quantization: None,
        activations: Activations::F32,
        cache_dtype: None,
    };
    let ids = (0..length.unwrap_or(128)).map(|index: u32| 5 + (7 * index * index + index) % 30_000);
    let request = Request::Generate {
        model,
        prompts: vec![Prompt::Ids {
            ids: ids.collect(),
            fingerprint: None,
        }],
        config: GenerationConfig {
            num_beams: Some(4),
            max_new_tokens: Some(NEW),
            min_new_tokens: Some(NEW),
            ..GenerationConfig::default()
        },
        generation_config: None,
        stream: None,
        assistant: None,
    };
    let service = Service::new();
    let mut seconds = Vec::new();
    let mut last = None;
    for turn in 0..8 {
        let started = Instant::now();
        let generated = generate(&service, request.clone())?;
        if turn > 0 {
            seconds.push(started.elapsed().as_secs_f64());
        }
        last = generated.into_iter().next();
    }
    seconds.sort_by(f64::total_cmp);
    println!(
        "{:.3} s ({:.3}–{:.3}), encoder and first step {:.3} s",
        seconds[seconds.len() / 2],
        seconds[0],
        seconds[seconds.len() - 1],
        last.as_ref().map_or(0.0, |one| one.timing.prefill)
    );
    println!("ids {:?}", last.map(|one| one.ids[..8].to_vec()));
    Ok(())
}

fn generate(
    service: &Service,
    request: Request,
) -> Result<Vec<wire::generate::Generated>, Failure> {
    let mut outcome = Ok(Vec::new());
    service.handle(
        request,
        &HubVariables::default(),
        &Cancel::new(),
        &mut |event| match event {
            Event::Done(Response::Generated(generated)) => outcome = Ok(generated),
            Event::Failed(failure) => outcome = Err(failure),
            _ => {}
        },
    );
    outcome
}
