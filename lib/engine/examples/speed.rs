//! How fast a model runs here (by name, `nf4` to quantise it or `int8` to round activations, and `load` to do
//! no more): load, prefill and
//! decode, and the most memory the process took. For
//! orientation while working on the engine; the figures that are published come from `tests/bench`.

#![expect(clippy::print_stdout, reason = "an example that prints its figures")]

use engine::{Cancel, Service};
use wire::{
    Failure,
    generate::{GenerationConfig, Prompt},
    host::{Event, Request, Response, UnloadTarget},
    hub::HubVariables,
    model::{
        Activations, DType, Device, EMBEDDED_REPO, FourBitType, ModelSource, ModelSpec,
        Quantization, QuantizationMethod,
    },
};

fn main() -> Result<(), Failure> {
    let name = std::env::args()
        .nth(1)
        .unwrap_or_else(|| EMBEDDED_REPO.to_owned());
    let form = std::env::args().nth(2);
    let model = ModelSpec {
        source: ModelSource::new(name),
        dtype: None,
        device: Device::Auto,
        activations: if form.as_deref() == Some("int8") {
            Activations::Int8
        } else {
            Activations::F32
        },
        quantization: form.filter(|form| form == "nf4").map(|_| Quantization {
            method: QuantizationMethod::FourBit {
                kind: FourBitType::Nf4,
                double_quant: true,
                compute_dtype: DType::F32,
            },
            skip_modules: None,
        }),
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
    let loads_only = std::env::args().nth(3).is_some();
    let lengths: &[usize] = if loads_only { &[] } else { &[512, 64, 2048] };
    for &length in lengths {
        let prompt = Prompt::Ids {
            ids: (0..length as u32).map(|i| 1000 + i * 7).collect(),
            fingerprint: None,
        };
        let config = GenerationConfig {
            max_new_tokens: Some(64),
            min_new_tokens: Some(64),
            use_cache: Some(false),
            ..Default::default()
        };
        let request = Request::Generate {
            model: model.clone(),
            prompts: vec![prompt],
            config,
            stream: None,
            assistant: None,
        };
        if let Response::Generated(generated) = ask(&service, request)? {
            let timing = generated[0].timing;
            println!(
                "{length:4} tokens: prefill {:.1} tokens/s, decode {:.1} tokens/s",
                length as f64 / timing.prefill,
                (generated[0].ids.len() - 1) as f64 / timing.decode
            );
        }
    }
    two_turns(&service, &model)?;
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
