//! Renderings as snapshots over a folder of inputs: `inputs/<kind>-<name>.json` is a wire value,
//! `snapshots/` what it looks like. And what must hold for every one of them.

mod charts;
mod escapes;
mod large;
mod media;
mod rules;

use std::{fs, path::Path};

use display::{
    EncodedBatch, Freed, GenerationComparison, LoadProgress, Loaded, PipelineResults, RichDisplay,
    Sequences, TemplateComparison, TokenizerComparison,
};
use serde_json::Value;
use wire::{
    Failure,
    array::Array,
    generate::{Forward, Generated},
    host::{HostStatus, Progress},
    logprobs::Logprobs,
    mime::Bundle,
    model::{ModelInfo, TokenizerInfo},
    pipeline::{PipelineAnswer, PipelineCall},
    quantization_report::QuantizationReport,
    text::{Encoding, RenderedChat},
    tokenize::TextInput,
};

/// Every input with its rendering.
fn renderings() -> Vec<(String, Bundle)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration/inputs");
    let mut renderings: Vec<(String, Bundle)> = fs::read_dir(folder)
        .expect("the inputs are there")
        .map(|entry| {
            let path = entry.expect("is readable").path();
            let name = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .expect("a name")
                .to_owned();
            let value =
                serde_json::from_slice(&fs::read(&path).expect("is readable")).expect("is JSON");
            let bundle = render(&name, value);
            (name, bundle)
        })
        .collect();
    renderings.sort_by(|left, right| left.0.cmp(&right.0));
    renderings
}

fn render(name: &str, value: Value) -> Bundle {
    fn parse<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).expect("is a wire value")
    }
    match name.split('-').next() {
        Some("tokens") => parse::<Encoding>(value).bundle(),
        Some("chat") => parse::<RenderedChat>(value).bundle(),
        Some("model") => parse::<ModelInfo>(value).bundle(),
        Some("loaded") => Loaded {
            info: parse(value),
            seconds: 1.5,
        }
        .bundle(),
        Some("tokenizers") => parse::<TokenizerComparison>(value).bundle(),
        Some("answers") => parse::<GenerationComparison>(value).bundle(),
        Some("templates") => parse::<TemplateComparison>(value).bundle(),
        Some("tokenizer") => parse::<TokenizerInfo>(value).bundle(),
        Some("generation") => parse::<Generated>(value).bundle(),
        Some("sequences") => Sequences {
            all: &parse::<Vec<Generated>>(value),
            are_answers: false,
        }
        .bundle(),
        Some("pipeline") => {
            let call = parse::<PipelineCall>(value["call"].clone());
            let answer = parse::<PipelineAnswer>(value["answer"].clone());
            PipelineResults {
                call: &call,
                answer: &answer,
            }
            .bundle()
        }
        Some("array") => parse::<Array>(value).bundle(),
        Some("forward") => parse::<Forward>(value).bundle(),
        Some("batch") => EncodedBatch {
            encoded: &parse(value["encoded"].clone()),
            inputs: &parse::<Vec<TextInput>>(value["inputs"].clone()),
            special: &parse(value["special"].clone()),
        }
        .bundle(),
        Some("freed") => Freed(parse(value)).bundle(),
        Some("status") => parse::<HostStatus>(value).bundle(),
        Some("logprobs") => parse::<Logprobs>(value).bundle(),
        Some("quantization") => parse::<QuantizationReport>(value).bundle(),
        Some("failure") => parse::<Failure>(value).bundle(),
        Some("progress") => {
            let news = parse::<Option<Progress>>(value);
            let speed = news.as_ref().map(|_| 2.5e6);
            LoadProgress {
                news,
                name: "some/model".to_owned(),
                speed,
                is_stopped: false,
            }
            .bundle()
        }
        _ => panic!("no kind of input: {name}"),
    }
}

#[test]
fn renderings_are_as_they_were() {
    for (name, bundle) in renderings() {
        let text = bundle.get("text/plain").expect("always has text");
        // A line an element, so that a difference shows where it is.
        let html = bundle
            .get("text/html")
            .unwrap_or_default()
            .replace("><", ">\n<");
        let html = without_pictures(&html);
        insta::assert_snapshot!(name, format!("{text}\n────────\n{html}"));
    }
}

/// What a picture shows stands in `charts`; in base64 nobody could read a difference.
fn without_pictures(html: &str) -> String {
    let mut parts = html.split(PICTURE);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |shown, part| {
        let (_, after) = part.split_once('"').expect("is quoted");
        format!("{shown}{PICTURE}…\"{after}")
    })
}

/// The only source that an `<img>` has: a picture of this program's own.
pub const PICTURE: &str = "data:image/svg+xml;base64,";
