//! How fast models run on a device, as JSON, a line a model: loads, prompts, tokens, several requests at once.
//!
//! `measure DEVICE CONTEXTS TOGETHER MODEL=FORM…`, as `measure cuda:0 128,512,4096 1,8,32 /models/llama=nf4`; forms are
//! `plain`, `bf16`, `nf4` (double quantised, computed in bf16), `int8` and the blocks of ggml. A model is loaded twice: the
//! first load opens the device, too. `tests/gpu/measure.py` calls it and makes a table of it.

#![expect(clippy::print_stdout, reason = "an example that prints its figures")]

mod service;

use std::{sync::Barrier, thread, time::Instant};

use engine::Service;
use serde_json::{Value, json};
use wire::{
    Failure, FailureKind,
    generate::{GenerationConfig, Prompt},
    host::{Request, Response, UnloadTarget},
    model::{
        Activations, DType, Device, FourBitType, GgmlType, ModelInfo, ModelSource, ModelSpec,
        Quantization, QuantizationMethod, Threshold,
    },
};

use service::ask;

/// Tokens that are generated after a context.
const TOKENS: u32 = 64;
/// Tokens of each prompt where several requests run at once, and those that are generated after the first.
const SHORT: usize = 64;
const SHARED: u32 = 128;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [device, contexts, together, models @ ..] = &arguments[..] else {
        return Err(invalid("measure DEVICE CONTEXTS TOGETHER MODEL=FORM…"));
    };
    let device = device_of(device)?;
    let (contexts, together) = (numbers(contexts)?, numbers(together)?);
    for model in models {
        let found = match model.rsplit_once('=') {
            Some((path, form)) => of_model(&spec(path, form, device)?, &contexts, &together),
            None => return Err(invalid("a model is PATH=FORM")),
        };
        // One that does not fit is a line, too.
        let mut line = found.unwrap_or_else(|failure| json!({"error": failure.to_string()}));
        line["model"] = json!(model);
        println!("{line}");
    }
    Ok(())
}

fn invalid(message: &str) -> Failure {
    Failure::new(FailureKind::InvalidArgument, message)
}

fn device_of(name: &str) -> Result<Device, Failure> {
    match (name, name.strip_prefix("cuda:").map(str::parse)) {
        ("cpu", _) => Ok(Device::Cpu),
        (_, Some(Ok(number))) => Ok(Device::Cuda(number)),
        _ => Err(invalid("the device is cpu or cuda:0")),
    }
}

fn numbers(list: &str) -> Result<Vec<usize>, Failure> {
    let numbers = list.split(',').filter(|number| !number.is_empty());
    let numbers = numbers.map(|number| number.parse().map_err(|_| invalid("a list of numbers")));
    numbers.collect()
}

fn spec(path: &str, form: &str, device: Device) -> Result<ModelSpec, Failure> {
    let (method, dtype) = match form {
        "plain" => (None, None),
        "bf16" => (None, Some(DType::BF16)),
        "nf4" => (
            Some(QuantizationMethod::FourBit {
                kind: FourBitType::Nf4,
                double_quant: true,
                compute_dtype: DType::BF16,
            }),
            Some(DType::BF16),
        ),
        "int8" => (
            Some(QuantizationMethod::EightBit {
                threshold: Threshold(6.0),
            }),
            None,
        ),
        name => match GgmlType::from_name(name) {
            Some(kind) => (Some(QuantizationMethod::Ggml(kind)), None),
            None => return Err(invalid(&format!("`{name}` is no form"))),
        },
    };
    Ok(ModelSpec {
        source: ModelSource::new(path),
        dtype,
        auto_dtype: false,
        device_map: device.into(),
        quantization: method.map(|method| Quantization {
            method,
            skip_modules: None,
        }),
        activations: Activations::F32,
        // As many bytes as the peers' on a card, in a type that all cards have.
        cache_dtype: matches!(device, Device::Cuda(_)).then_some(DType::F16),
    })
}

fn of_model(model: &ModelSpec, contexts: &[usize], together: &[usize]) -> Result<Value, Failure> {
    let service = Service::new();
    let load = || -> Result<(Box<ModelInfo>, f64), Failure> {
        let started = Instant::now();
        match ask(&service, Request::LoadModel(model.clone()))? {
            Response::Model(info) => Ok((Box::new(info), started.elapsed().as_secs_f64())),
            _ => Err(invalid("another answer than was asked for")),
        }
    };
    let (_, first_load) = load()?;
    ask(&service, Request::Unload(UnloadTarget::All))?;
    let (info, seconds) = load()?;
    let (_, resident) = load()?;
    let mut by_context = Vec::new();
    for &length in contexts {
        // What is first touched by a prompt of this length is not what is measured.
        generate(&service, model, (length, 2))?;
        let (prefill, decode) = generate(&service, model, (length, TOKENS))?;
        by_context.push(json!({
            "context": length,
            "prefill": length as f64 / prefill,
            "first_token": prefill,
            "decode": f64::from(TOKENS - 1) / decode,
        }));
    }
    let mut at_once = Vec::new();
    for &requests in together {
        let rate = several(&service, model, requests)?;
        at_once.push(json!({"requests": requests, "tokens": rate}));
    }
    ask(&service, Request::Unload(UnloadTarget::All))?;
    let devices = info.device_bytes.iter();
    let devices = devices.map(|(device, bytes)| (device.to_string(), json!(bytes)));
    Ok(json!({
        "device": info.device,
        "bytes": devices.collect::<serde_json::Map<_, _>>(),
        "footprint": info.memory_footprint,
        "first_load": first_load,
        "load": seconds,
        "resident": resident,
        "contexts": by_context,
        "together": at_once,
    }))
}

/// Seconds for a prompt and for the tokens after the first.
fn generate(
    service: &Service,
    model: &ModelSpec,
    (length, tokens): (usize, u32),
) -> Result<(f64, f64), Failure> {
    let request = Request::Generate {
        model: model.clone(),
        prompts: vec![Prompt::Ids {
            ids: (0..length as u32).map(|at| 3 + at * 7 % 89).collect(),
            fingerprint: None,
        }],
        config: GenerationConfig {
            max_new_tokens: Some(tokens),
            min_new_tokens: Some(0),
            eos_token_id: Some(Vec::new()),
            do_sample: Some(false),
            use_cache: Some(false),
            ..Default::default()
        },
        generation_config: None,
        stream: None,
        assistant: None,
    };
    match ask(service, request)? {
        Response::Generated(generated) => {
            let one = generated.first().ok_or_else(|| invalid("no sequence"))?;
            if one.ids.len() != tokens as usize {
                return Err(invalid("a sequence ended early"));
            }
            Ok((one.timing.prefill, one.timing.decode))
        }
        _ => Err(invalid("another answer than was asked for")),
    }
}

/// Tokens a second of so many requests at once, as of several notebooks, after their prompts: what more tokens take
/// than one.
fn several(service: &Service, model: &ModelSpec, requests: usize) -> Result<f64, Failure> {
    // What is first touched by so many is not what is measured.
    at_once(service, model, (requests, 2))?;
    let first = at_once(service, model, (requests, 1))?;
    let rest = at_once(service, model, (requests, 1 + SHARED))? - first;
    Ok(requests as f64 * f64::from(SHARED) / rest)
}

/// Seconds until the last of so many requests that begin together has its tokens.
fn at_once(
    service: &Service,
    model: &ModelSpec,
    (requests, tokens): (usize, u32),
) -> Result<f64, Failure> {
    let start = Barrier::new(requests + 1);
    thread::scope(|scope| {
        let work = || {
            start.wait();
            generate(service, model, (SHORT, tokens))
        };
        let threads: Vec<_> = (0..requests).map(|_| scope.spawn(work)).collect();
        start.wait();
        let started = Instant::now();
        for thread in threads {
            let result = thread.join();
            result.map_err(|_| invalid("a request panicked"))??;
        }
        Ok(started.elapsed().as_secs_f64())
    })
}
