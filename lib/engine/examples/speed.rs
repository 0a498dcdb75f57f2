//! How fast a model runs here (by name; `plain`, `nf4` with products in f32 or `nf4-bf16`, `llm-int8`, `f32`, `bf16`, or
//! `int8` and `bf16-all` to round activations; and a prompt's
//! length, for that alone, or `load` to do no more): load, prefill and decode, a chat's next turn, several requests at once, and the most memory
//! the process took. For
//! orientation while working on the engine; the figures that are published come from `tests/bench`.

#![expect(clippy::print_stdout, reason = "an example that prints its figures")]

mod service;

use std::{thread, time::Instant};

use engine::Service;
use wire::{
    Failure, FailureKind,
    generate::{GenerationConfig, Prompt},
    host::{Request, Response, UnloadTarget},
    model::{
        Activations, DType, Device, EMBEDDED_REPO, FourBitType, ModelSource, ModelSpec,
        Quantization, QuantizationMethod, Threshold,
    },
};

use service::ask;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next();
    let name = name.unwrap_or_else(|| EMBEDDED_REPO.to_owned());
    let model = spec(name, arguments.next().as_deref().unwrap_or("plain"))?;
    let service = Service::new();
    print_memory();
    if let Response::Model(info) = ask(&service, Request::LoadModel(model.clone()))? {
        println!(
            "load     {:.3} s, {:.1} MB of weights, footprint {} bytes",
            info.load_seconds,
            info.bytes as f64 / 1e6,
            info.memory_footprint
        );
        if let Some(found) = info.agreement {
            println!(
                "the same most likely token at {} of {} positions, KL divergence {:.2e} nats",
                found.same_top, found.positions, found.divergence
            );
        }
    }
    match arguments.next().map(|length| length.parse()) {
        Some(Ok(length)) => depth(&service, &model, length)?,
        Some(Err(_)) => {}
        None => {
            for length in [512, 64, 2048] {
                depth(&service, &model, length)?;
            }
            two_turns(&service, &model)?;
            for requests in [1, 2, 4] {
                together(&service, &model, requests)?;
            }
        }
    }
    print_memory();
    ask(&service, Request::Unload(UnloadTarget::All))?;
    println!("after it was freed:");
    print_memory();
    Ok(())
}

/// A model in one of the forms that have names here.
fn spec(name: String, form: &str) -> Result<ModelSpec, Failure> {
    let nf4 = |compute_dtype| QuantizationMethod::FourBit {
        kind: FourBitType::Nf4,
        double_quant: true,
        compute_dtype,
    };
    let int8 = QuantizationMethod::EightBit {
        threshold: Threshold(6.0),
    };
    let (method, dtype, activations) = match form {
        "plain" => (None, None, Activations::F32),
        "nf4" => (Some(nf4(DType::F32)), None, Activations::F32),
        "nf4-bf16" => (Some(nf4(DType::BF16)), None, Activations::F32),
        "llm-int8" => (Some(int8), None, Activations::F32),
        "f32" => (None, Some(DType::F32), Activations::F32),
        "bf16" => (None, Some(DType::BF16), Activations::F32),
        "bf16-all" => (None, Some(DType::BF16), Activations::BF16),
        "int8" => (None, None, Activations::Int8),
        other => {
            let message = format!("`{other}` is no form of a model");
            return Err(Failure::new(FailureKind::InvalidArgument, message)
                .hint("plain, nf4, nf4-bf16, llm-int8, f32, bf16, bf16-all or int8"));
        }
    };
    Ok(ModelSpec {
        source: ModelSource::new(name),
        dtype,
        auto_dtype: false,
        device_map: Device::Auto.into(),
        quantization: method.map(|method| Quantization {
            method,
            skip_modules: None,
        }),
        activations,
        cache_dtype: None,
    })
}

fn print_memory() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in status
        .lines()
        .filter(|line| line.starts_with("VmHWM") || line.starts_with("VmRSS"))
    {
        println!("{line}");
    }
}

/// So many tokens after a prompt of this length.
fn after(model: &ModelSpec, length: usize, tokens: u32) -> Request {
    Request::Generate {
        model: model.clone(),
        prompts: vec![Prompt::Ids {
            ids: (0..length as u32).map(|i| 1000 + i * 7).collect(),
            fingerprint: None,
        }],
        config: GenerationConfig {
            max_new_tokens: Some(tokens),
            min_new_tokens: Some(tokens),
            use_cache: Some(false),
            ..Default::default()
        },
        generation_config: None,
        stream: None,
        assistant: None,
    }
}

fn depth(service: &Service, model: &ModelSpec, length: usize) -> Result<(), Failure> {
    // What is first touched by a prompt of this length is not what is measured.
    ask(service, after(model, length, 2))?;
    if let Response::Generated(generated) = ask(service, after(model, length, 64))? {
        let timing = generated[0].timing;
        println!(
            "{length:4} tokens: prefill {:.1} tokens/s, decode {:.1} tokens/s",
            length as f64 / timing.prefill,
            (generated[0].ids.len() - 1) as f64 / timing.decode
        );
    }
    Ok(())
}

/// Several requests at once, as of several notebooks.
fn together(service: &Service, model: &ModelSpec, requests: usize) -> Result<(), Failure> {
    let started = Instant::now();
    thread::scope(|scope| {
        let work = || ask(service, after(model, 64, 64)).map(drop);
        let threads: Vec<_> = (0..requests).map(|_| scope.spawn(work)).collect();
        let mut answers = threads.into_iter().map(thread::ScopedJoinHandle::join);
        answers.try_for_each(|answer| answer.expect("no panic"))
    })?;
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{requests} requests at once: {:.1} tokens/s in all, their prompts of 64 tokens read too",
        (64 * requests) as f64 / seconds
    );
    Ok(())
}

/// A chat of a thousand tokens, and its next turn: what was read stays with the model.
fn two_turns(service: &Service, model: &ModelSpec) -> Result<(), Failure> {
    let mut ids: Vec<u32> = (0..1000).map(|i| 1000 + i * 7).collect();
    let mut seconds = Vec::new();
    for turn in ["first", "second"] {
        let request = Request::Generate {
            model: model.clone(),
            prompts: vec![Prompt::Ids {
                ids: ids.clone(),
                fingerprint: None,
            }],
            config: GenerationConfig {
                max_new_tokens: Some(32),
                min_new_tokens: Some(32),
                ..Default::default()
            },
            generation_config: None,
            stream: None,
            assistant: None,
        };
        if let Response::Generated(mut generated) = ask(service, request)? {
            let one = generated.remove(0);
            println!(
                "{turn} turn: {} tokens, {} of them from before, first token after {:.3} s",
                one.prompt_ids.len(),
                one.details.reused,
                one.timing.first_token
            );
            seconds.push(one.timing.prefill);
            // The answer, and a question of twenty tokens.
            ids.extend(one.ids);
            ids.extend((0..20).map(|i| 9000 + i * 11));
        }
    }
    if let [first, second] = seconds[..] {
        println!(
            "second turn's prefill: {:.3} of the first's",
            second / first
        );
    }
    Ok(())
}
