//! What a device computes of checkpoints, beside what the processor does of the same: logits, greedy tokens, alone and
//! beside other requests, and footprints of decoders, in each type and in 4 bits, or as a GGUF file has them; states of
//! encoders; tokens of encoder-decoders; and how fast both are. A line is an error where they differ by more than the type
//! explains; then the program fails.
//!
//! `on_device DEVICE PATH…`, the device `cuda:0`, or `cpu` to try the program itself; paths of folders and of GGUF
//! files. `tests/gpu/run.sh` calls it.

#![expect(clippy::print_stdout, reason = "an example that prints its figures")]

mod forms;
mod service;

use std::{io::Read, path::Path, process::ExitCode, sync::Barrier, thread};

use engine::{Service, encoders, hub::Layout, seq2seq, weights::Weights};
use wire::{
    Failure, FailureKind,
    array::Array,
    generate::{Generated, GenerationConfig, Prompt, Timing},
    host::{Request, Response, UnloadTarget},
    model::{DType, Device, ModelInfo, ModelSpec},
    pipeline::{
        EncoderTask, FeatureOptions, PipelineAnswer, PipelineCall, PipelineRun, PipelineTask,
    },
};

use forms::{FORMS, Form, GGUF_FORMS, WIDE_FORMS};
use service::ask;

/// Tokens that are generated.
const TOKENS: u32 = 64;
/// Tokens of the prompt that is continued, where there is room for so many: more than a kernel of a few takes, and with
/// what follows more than attention takes in one split. At least so many.
const PROMPT: u32 = 110;
const LEAST_PROMPT: u32 = 20;
/// Tokens of prompts whose logits are compared: as few as are multiplied one by one, as tensor cores' tiles take once and
/// twice, and more.
const PROMPTS: [u32; 8] = [1, 2, 3, 6, 8, 20, 45, 80];
/// How far a single logit may be from what is expected, of the largest, where products are of brain floats.
const MOST_APART: f32 = 0.1;
/// Requests that are made at once, and tokens of each.
const TOGETHER: u32 = 12;
const SHORT: u32 = 16;

/// What came of a checkpoint on one device.
struct Found {
    /// Logits, or states; of what only writes nothing.
    numbers: Vec<Array>,
    /// Of what writes.
    ids: Vec<u32>,
    /// Tokens of the prompt that these follow.
    prompt: u32,
    /// Requests that got other tokens at once than each alone, where they were made.
    disturbed: usize,
    timing: Timing,
    footprint: u64,
    load: f64,
}

/// What a checkpoint is asked for.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Decoder,
    Gguf,
    Encoder,
    Writer,
}

impl Kind {
    fn of(path: &str) -> Result<Self, Failure> {
        if Path::new(path)
            .extension()
            .is_some_and(|kind| kind == "gguf")
        {
            return Ok(Self::Gguf);
        }
        let weights = Weights::open(&Layout::Folder(path.into()))?;
        Ok(match seq2seq::kind(&weights) {
            Some(seq2seq::Kind::Writer) => Self::Writer,
            Some(_) => Self::Encoder,
            None if encoders::knows(&weights) => Self::Encoder,
            None => Self::Decoder,
        })
    }

    fn forms(self) -> &'static [Form] {
        match self {
            Self::Decoder => &FORMS,
            Self::Gguf => &GGUF_FORMS,
            // As pipelines load them, and in bf16.
            Self::Encoder | Self::Writer => &FORMS[..2],
        }
    }
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
            println!("error: the device is `{device}`\nhint: on_device cuda:0 PATH…");
            return ExitCode::FAILURE;
        }
    };
    let mut failed = 0;
    for folder in arguments {
        let kind = match Kind::of(&folder) {
            Ok(kind) => kind,
            Err(failure) => {
                println!("error: {folder}: {failure}");
                failed += 1;
                continue;
            }
        };
        let wide = if Path::new(&folder).ends_with("wide") {
            &WIDE_FORMS[..]
        } else {
            &[]
        };
        for form in kind.forms().iter().chain(wide) {
            match compare((&folder, kind), form, device) {
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
fn compare((folder, kind): (&str, Kind), form: &Form, device: Device) -> Result<bool, Failure> {
    let expected = run((folder, kind), form, (Device::Cpu, 0))?;
    let requests = if form.is_exact { TOGETHER } else { 0 };
    let found = run((folder, kind), form, (device, requests))?;
    let is_mixture = is_mixture(Path::new(folder));
    let (most, all) = apart(&expected, &found, is_mixture);
    // Where products are of brain floats, single numbers may be far apart: a processor that rounds what it multiplies is from
    // one that does not, too, by five hundredths for a checkpoint of these.
    let (difference, bound) = match form.dtype {
        Some(DType::F32) => (most, form.tolerance),
        // A token that is another expert's may be anything but no number.
        _ if is_mixture => (all, f32::MAX),
        // Halves are eight times finer than brain floats.
        Some(DType::F16) => (most, form.tolerance),
        _ => (all, MOST_APART),
    };
    let shapes = |found: &Found| -> Vec<Vec<usize>> {
        let numbers = found.numbers.iter();
        numbers.map(|numbers| numbers.shape().to_vec()).collect()
    };
    let same = expected.ids.iter().zip(&found.ids);
    let same = same.take_while(|(one, other)| one == other).count();
    let is_right = shapes(&expected) == shapes(&found)
        && most <= bound
        && difference <= form.tolerance
        && (!form.is_exact || (same == expected.ids.len() && found.disturbed == 0))
        && expected.footprint == found.footprint;
    println!(
        "{} {folder}, {}: numbers within {most:.1e}, all {all:.1e}, the same {same} of {} tokens, {} of {requests} requests at once disturbed, footprint {} and {}, load {:.2} and {:.2} s, prompt {:.0} and {:.0}, decode {:.0} and {:.0} tokens/s",
        if is_right { "ok" } else { "error:" },
        form.name,
        expected.ids.len(),
        found.disturbed,
        expected.footprint,
        found.footprint,
        expected.load,
        found.load,
        f64::from(expected.prompt) / expected.timing.prefill,
        f64::from(found.prompt) / found.timing.prefill,
        f64::from(TOKENS - 1) / expected.timing.decode,
        f64::from(TOKENS - 1) / found.timing.decode,
    );
    Ok(is_right)
}

/// How far numbers are apart: at most, of the largest that is expected, and all together, the root of their squares of that
/// of the expected. The first is no number where one is none. Of a mixture of experts those of a twentieth of the tokens are left out
/// of all together: after rounding a token may be another expert's.
fn apart(expected: &Found, found: &Found, is_mixture: bool) -> (f32, f32) {
    let rows = |found: &Found| -> Vec<Vec<f32>> {
        let rows = found.numbers.iter().flat_map(|numbers| {
            let width = numbers.shape().last().copied().unwrap_or(1).max(1);
            numbers.values().chunks(width)
        });
        rows.map(<[f32]>::to_vec).collect()
    };
    let squares = |values: &[f32]| values.iter().map(|value| value * value).sum::<f32>();
    // In this order what is no number is the greatest.
    let largest = |values: &[f32]| {
        values
            .iter()
            .map(|value| value.abs())
            .max_by(f32::total_cmp)
    };
    let (expected, found) = (rows(expected), rows(found));
    let pairs = expected.iter().zip(&found);
    let apart = pairs.map(|(one, other)| {
        let pairs = one.iter().zip(other);
        pairs.map(|(one, other)| one - other).collect::<Vec<f32>>()
    });
    let apart: Vec<Vec<f32>> = apart.collect();
    let most = largest(&apart.concat()).unwrap_or_default();
    let scale = largest(&expected.concat()).unwrap_or_default().max(1.0);
    let mut apart: Vec<f32> = apart.iter().map(|row| squares(row)).collect();
    apart.sort_by(f32::total_cmp);
    let kept = if is_mixture {
        apart.len() - apart.len() / 20
    } else {
        apart.len()
    };
    // What only writes has none.
    let whole = squares(&expected.concat()).max(f32::MIN_POSITIVE);
    (
        most / scale,
        (apart[..kept].iter().sum::<f32>() / whole).sqrt(),
    )
}

/// Whether a folder's configuration, or the beginning of a GGUF file, names experts.
fn is_mixture(path: &Path) -> bool {
    let file = if path.is_dir() {
        path.join("config.json")
    } else {
        path.into()
    };
    let mut start = Vec::new();
    if let Ok(file) = std::fs::File::open(file) {
        // What cannot be read is told where it is loaded.
        let _ = file.take(1 << 16).read_to_end(&mut start);
    }
    let named = [&b"_experts\""[..], b".expert_count"];
    named
        .iter()
        .any(|name| start.windows(name.len()).any(|window| window == *name))
}

/// What comes of a checkpoint, of which so many requests are made at once, too.
fn run(
    (folder, kind): (&str, Kind),
    form: &Form,
    (device, requests): (Device, u32),
) -> Result<Found, Failure> {
    let model = form.of(folder, device);
    let service = Service::new();
    let load = match kind {
        Kind::Encoder => Request::LoadPipeline {
            task: PipelineTask::Encoder(EncoderTask::FeatureExtraction),
            model: model.clone(),
        },
        _ => Request::LoadModel(model.clone()),
    };
    let Response::Model(info) = ask(&service, load)? else {
        return Err(unexpected());
    };
    if kind == Kind::Encoder {
        let numbers = vec![states(&service, model)?];
        return Ok(Found {
            numbers,
            ids: Vec::new(),
            prompt: 0,
            disturbed: 0,
            timing: Timing::default(),
            footprint: info.memory_footprint,
            load: info.load_seconds,
        });
    }
    let numbers = if kind == Kind::Writer {
        Vec::new()
    } else {
        logits(&service, &model, &info)?
    };
    let write = |first, length, tokens| {
        continued(&service, &model, (prompts(&info, first, length), tokens))
    };
    let room = info.context_length.saturating_sub(TOKENS);
    let prompt = room.clamp(LEAST_PROMPT, PROMPT);
    let one = write(0, prompt, TOKENS)?;
    let disturbed = disturbed(requests, |request| write(request, 3 + request, SHORT))?;
    ask(&service, Request::Unload(UnloadTarget::All))?;
    Ok(Found {
        numbers,
        ids: one.ids,
        prompt,
        disturbed,
        timing: one.timing,
        footprint: info.memory_footprint,
        load: info.load_seconds,
    })
}

/// A prompt of so many tokens, another by each `first`.
fn prompts(info: &ModelInfo, first: u32, length: u32) -> Vec<Prompt> {
    let ids = (0..length).map(|at| (3 + first + at * 7) % info.vocab_size);
    vec![Prompt::Ids {
        ids: ids.collect(),
        fingerprint: None,
    }]
}

/// Logits of prompts of several lengths.
fn logits(service: &Service, model: &ModelSpec, info: &ModelInfo) -> Result<Vec<Array>, Failure> {
    let of_prompt = |length: u32| {
        let forward = Request::Forward {
            model: model.clone(),
            prompts: prompts(info, 0, length.min(info.context_length)),
            output_hidden_states: false,
        };
        match ask(service, forward)? {
            Response::Forward(forward) => Ok(forward.logits),
            _ => Err(unexpected()),
        }
    };
    PROMPTS.into_iter().map(of_prompt).collect()
}

/// How many of so many requests get other tokens at once than each alone.
fn disturbed(
    requests: u32,
    write: impl Fn(u32) -> Result<Generated, Failure> + Sync,
) -> Result<usize, Failure> {
    let alone = (0..requests).map(&write).collect::<Result<Vec<_>, _>>()?;
    let (barrier, write) = (&Barrier::new(requests as usize), &write);
    let at_once = thread::scope(|scope| {
        let threads: Vec<_> = (0..requests)
            .map(|request| scope.spawn(move || (barrier.wait(), write(request)).1))
            .collect();
        let written = threads.into_iter().map(thread::ScopedJoinHandle::join);
        let written = written.map(|written| written.map_err(|_| unexpected())?);
        written.collect::<Result<Vec<_>, _>>()
    })?;
    let pairs = alone.iter().zip(&at_once);
    Ok(pairs.filter(|(one, other)| one.ids != other.ids).count())
}

/// The likeliest tokens after prompts.
fn continued(
    service: &Service,
    model: &ModelSpec,
    (prompts, tokens): (Vec<Prompt>, u32),
) -> Result<Generated, Failure> {
    let generate = Request::Generate {
        model: model.clone(),
        prompts,
        config: GenerationConfig {
            max_new_tokens: Some(tokens),
            min_new_tokens: Some(tokens),
            do_sample: Some(false),
            use_cache: Some(false),
            ..Default::default()
        },
        generation_config: None,
        stream: None,
        assistant: None,
    };
    let Response::Generated(mut generated) = ask(service, generate)? else {
        return Err(unexpected());
    };
    generated.pop().ok_or_else(unexpected)
}

/// The states of texts of several lengths, all in one.
fn states(service: &Service, model: ModelSpec) -> Result<Array, Failure> {
    let inputs = ["a b", "a b a b b a", "b"].map(str::to_owned).to_vec();
    let run = Request::RunPipeline(PipelineRun {
        model,
        tokenizer: None,
        call: PipelineCall::FeatureExtraction {
            inputs,
            options: FeatureOptions::default(),
        },
        batch_size: Some(3),
        stream: None,
        assistant: None,
    });
    match ask(service, run)? {
        Response::Pipeline(PipelineAnswer::Features(arrays)) => {
            let values: Vec<f32> = arrays
                .iter()
                .flat_map(|array| array.values().iter().copied())
                .collect();
            let count = values.len();
            Array::new(vec![count], values).ok_or_else(unexpected)
        }
        _ => Err(unexpected()),
    }
}

fn unexpected() -> Failure {
    Failure::new(
        FailureKind::Internal,
        "another answer than was asked for".to_owned(),
    )
}
