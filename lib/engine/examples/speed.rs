//! How fast a model runs here (by name; `nf4` with products in f32 or `nf4-bf16`, `llm-int8`, `f32`, `bf16`, or
//! `int8` and `bf16-all` to round activations; and a prompt's
//! length, for that alone, or `load` to do no more): load, prefill and decode, a chat's next turn, several requests at once, and the most memory
//! the process took. For
//! orientation while working on the engine; the figures that are published come from `tests/bench`.

#![expect(clippy::print_stdout, reason = "an example that prints its figures")]

use std::{thread, time::Instant};

use engine::{Cancel, Service};
use wire::{
    Failure,
    generate::{GenerationConfig, Prompt},
    host::{Event, Request, Response, UnloadTarget},
    hub::HubVariables,
    model::{
        Activations, DType, Device, EMBEDDED_REPO, FourBitType, ModelSource, ModelSpec,
        Quantization, QuantizationMethod, Threshold,
    },
};

fn main() -> Result<(), Failure> {
    let name = std::env::args()
        .nth(1)
        .unwrap_or_else(|| EMBEDDED_REPO.to_owned());
    let form = std::env::args().nth(2);
    let nf4 = |compute_dtype| QuantizationMethod::FourBit {
        kind: FourBitType::Nf4,
        double_quant: true,
        compute_dtype,
    };
    let method = match form.as_deref() {
        Some("nf4") => Some(nf4(DType::F32)),
        Some("nf4-bf16") => Some(nf4(DType::BF16)),
        Some("llm-int8") => Some(QuantizationMethod::EightBit {
            threshold: Threshold(6.0),
        }),
        _ => None,
    };
    let model = ModelSpec {
        source: ModelSource::new(name),
        dtype: match form.as_deref() {
            Some("f32") => Some(DType::F32),
            Some("bf16" | "bf16-all") => Some(DType::BF16),
            _ => None,
        },
        auto_dtype: false,
        device_map: Device::Auto.into(),
        quantization: method.map(|method| Quantization {
            method,
            skip_modules: None,
        }),
        activations: match form.as_deref() {
            Some("int8") => Activations::Int8,
            Some("bf16-all") => Activations::BF16,
            _ => Activations::F32,
        },
        cache_dtype: None,
    };
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
    match std::env::args().nth(3).map(|length| length.parse()) {
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

fn ask(service: &Service, request: Request) -> Result<Response, Failure> {
    let mut answer = None;
    let hub = HubVariables::collect(|name| std::env::var(name).ok());
    service.handle(request, &hub, &Cancel::new(), &mut |event| match event {
        Event::Done(response) => answer = Some(Ok(response)),
        Event::Failed(failure) => answer = Some(Err(failure)),
        _ => {}
    });
    answer.expect("a request ends in an answer or a failure")
}
