//! What a device computes of checkpoints, beside what the processor does of the same: logits, greedy tokens and
//! footprints, in each type and in 4 bits, and how fast both are. A line is an error where they differ by more than
//! the type explains; then the program fails.
//!
//! `on_device DEVICE FOLDER…`, the device `cuda:0`, or `cpu` to try the program itself. `tests/gpu/run.sh` calls it.

#![expect(clippy::print_stdout, reason = "an example that prints its figures")]

mod service;

use std::process::ExitCode;

use engine::Service;
use wire::{
    Failure, FailureKind,
    array::Array,
    generate::{GenerationConfig, Prompt, Timing},
    host::{Request, Response, UnloadTarget},
    model::{
        Activations, DType, Device, FourBitType, ModelSource, ModelSpec, Quantization,
        QuantizationMethod,
    },
};

use service::ask;

/// Tokens that are generated.
const TOKENS: u32 = 64;
/// Tokens of the prompt: more than a kernel of a few takes.
const PROMPT: u32 = 20;

/// A way to load a checkpoint.
struct Form {
    name: &'static str,
    dtype: DType,
    four_bit: Option<(FourBitType, bool)>,
    /// The largest difference of a logit, of the largest logit, that the type explains.
    tolerance: f32,
    /// Whether the same tokens must come of it.
    is_exact: bool,
}

const FORMS: [Form; 6] = [
    form("f32", DType::F32, None, 1e-3),
    form("bf16", DType::BF16, None, 2e-2),
    form("f16", DType::F16, None, 2e-2),
    form(
        "nf4, double",
        DType::F32,
        Some((FourBitType::Nf4, true)),
        1e-3,
    ),
    form("fp4", DType::F32, Some((FourBitType::Fp4, false)), 1e-3),
    form(
        "nf4, double, bf16",
        DType::BF16,
        Some((FourBitType::Nf4, true)),
        2e-2,
    ),
];

const fn form(
    name: &'static str,
    dtype: DType,
    four_bit: Option<(FourBitType, bool)>,
    tolerance: f32,
) -> Form {
    Form {
        name,
        dtype,
        four_bit,
        tolerance,
        is_exact: matches!(dtype, DType::F32),
    }
}

impl Form {
    /// A checkpoint in it, on a device.
    fn of(&self, folder: &str, device: Device) -> ModelSpec {
        let method = self
            .four_bit
            .map(|(kind, double_quant)| QuantizationMethod::FourBit {
                kind,
                double_quant,
                compute_dtype: self.dtype,
            });
        ModelSpec {
            source: ModelSource::new(folder),
            dtype: Some(self.dtype),
            auto_dtype: false,
            device_map: device.into(),
            quantization: method.map(|method| Quantization {
                method,
                skip_modules: None,
            }),
            activations: Activations::F32,
            cache_dtype: None,
        }
    }
}

/// What came of a checkpoint on one device.
struct Found {
    logits: Array,
    ids: Vec<u32>,
    timing: Timing,
    footprint: u64,
    load: f64,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let device = arguments.next().unwrap_or_default();
    let device = match (device.as_str(), device.strip_prefix("cuda:")) {
        ("cpu", _) => Device::Cpu,
        (_, Some(number)) if number.parse::<u32>().is_ok() => {
            Device::Cuda(number.parse().unwrap_or_default())
        }
        _ => {
            println!("error: the device is `{device}`\nhint: on_device cuda:0 FOLDER…");
            return ExitCode::FAILURE;
        }
    };
    let mut failed = 0;
    for folder in arguments {
        for form in &FORMS {
            match compare(&folder, form, device) {
                Ok(true) => {}
                Ok(false) => failed += 1,
                Err(failure) => {
                    println!("error: {folder}, {}: {failure}", form.name);
                    failed += 1;
                }
            }
        }
    }
    println!("{failed} failed");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Whether both devices compute the same.
fn compare(folder: &str, form: &Form, device: Device) -> Result<bool, Failure> {
    let expected = run(folder, form, Device::Cpu)?;
    let found = run(folder, form, device)?;
    let largest = |values: &[f32]| {
        values
            .iter()
            .fold(0.0, |most: f32, value| most.max(value.abs()))
    };
    let differences: Vec<f32> = expected
        .logits
        .values()
        .iter()
        .zip(found.logits.values())
        .map(|(one, other)| (one - other).abs())
        .collect();
    let difference = largest(&differences) / largest(expected.logits.values()).max(1.0);
    // A maximum passes over what is no number.
    let are_numbers = differences.iter().all(|difference| !difference.is_nan());
    let same = expected.ids.iter().zip(&found.ids);
    let same = same.take_while(|(one, other)| one == other).count();
    let is_right = are_numbers
        && expected.logits.shape() == found.logits.shape()
        && difference <= form.tolerance
        && (!form.is_exact || same == expected.ids.len())
        && expected.footprint == found.footprint;
    println!(
        "{} {folder}, {}: logits within {difference:.1e}, the same {same} of {} tokens, footprint {} and {}, load {:.2} and {:.2} s, prompt {:.0} and {:.0}, decode {:.0} and {:.0} tokens/s",
        if is_right { "ok" } else { "error:" },
        form.name,
        expected.ids.len(),
        expected.footprint,
        found.footprint,
        expected.load,
        found.load,
        f64::from(PROMPT) / expected.timing.prefill,
        f64::from(PROMPT) / found.timing.prefill,
        f64::from(TOKENS - 1) / expected.timing.decode,
        f64::from(TOKENS - 1) / found.timing.decode,
    );
    Ok(is_right)
}

fn run(folder: &str, form: &Form, device: Device) -> Result<Found, Failure> {
    let model = form.of(folder, device);
    let service = Service::new();
    let Response::Model(info) = ask(&service, Request::LoadModel(model.clone()))? else {
        return Err(unexpected());
    };
    let ids = (0..PROMPT)
        .map(|at| (3 + at * 7) % info.vocab_size)
        .collect();
    let prompts = vec![Prompt::Ids {
        ids,
        fingerprint: None,
    }];
    let forward = Request::Forward {
        model: model.clone(),
        prompts: prompts.clone(),
        output_hidden_states: false,
    };
    let Response::Forward(forward) = ask(&service, forward)? else {
        return Err(unexpected());
    };
    let generate = Request::Generate {
        model,
        prompts,
        config: GenerationConfig {
            max_new_tokens: Some(TOKENS),
            min_new_tokens: Some(TOKENS),
            do_sample: Some(false),
            use_cache: Some(false),
            ..Default::default()
        },
        generation_config: None,
        stream: None,
        assistant: None,
    };
    let Response::Generated(mut generated) = ask(&service, generate)? else {
        return Err(unexpected());
    };
    ask(&service, Request::Unload(UnloadTarget::All))?;
    let one = generated.pop().ok_or_else(unexpected)?;
    Ok(Found {
        logits: forward.logits,
        ids: one.ids,
        timing: one.timing,
        footprint: info.memory_footprint,
        load: info.load_seconds,
    })
}

fn unexpected() -> Failure {
    Failure::new(
        FailureKind::Internal,
        "another answer than was asked for".to_owned(),
    )
}
