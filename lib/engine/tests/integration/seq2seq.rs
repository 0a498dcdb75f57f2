//! Tiny random encoder-decoders of every architecture against transformers (fixtures by `make_seq2seq.py`):
//! logits, greedy and beam sequences with their scores, sources one by one and together.

use candle_core::{IndexOp, Tensor};
use engine::{
    Cancel, Service,
    encoders::{HeadKind, Row, TextEncoder},
    families::{CausalLm, Part, SourceReader},
    hub::Layout,
    seq2seq::{self, Classifier, Kind, Seq2Seq},
    weights::{Loader, Weights},
};
use serde::Deserialize;
use serde_json::Value;
use wire::{
    generate::{Generated, GenerationConfig, Prompt},
    host::{Event, Request, Response},
    model::{
        DType, FourBitType, ModelSource, ModelSpec, Quantization, QuantizationMethod, Threshold,
    },
};

use crate::support::{ask, fixture, json, one_test_each, spec};

/// Largest difference of a logit or a score.
const TOLERANCE: f32 = 1e-4;

#[derive(Deserialize)]
struct Expected {
    sources: Vec<Vec<u32>>,
    target: Vec<u32>,
    /// `(sources, target's tokens, vocabulary)`.
    logits: Vec<Vec<Vec<f32>>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    settings: Value,
    found: Vec<Found>,
}

#[derive(Deserialize)]
struct Found {
    sequences: Vec<Vec<u32>>,
    scores: Option<Vec<f32>>,
}

fn expected(name: &str) -> Expected {
    serde_json::from_value(json(&format!("seq2seq/{name}/expected.json"))).unwrap()
}

fn weights(name: &str) -> Weights {
    Weights::open(&Layout::Folder(fixture(&format!("seq2seq/{name}")))).unwrap()
}

fn load(name: &str) -> Seq2Seq {
    let weights = weights(name);
    assert!(seq2seq::knows(&weights), "{name}");
    let (cancel, mut sink) = (Cancel::new(), |_| {});
    let mut loader = Loader::new(&weights, name, &cancel, &mut sink);
    seq2seq::build(&weights, &mut loader).unwrap()
}

fn distance(ours: &Tensor, theirs: &[Vec<f32>]) -> f32 {
    let ours = ours.to_vec2::<f32>().unwrap();
    assert_eq!(ours.len(), theirs.len());
    let pairs = ours.iter().flatten().zip(theirs.iter().flatten());
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// The target read at once and token by token, for each source alone and for all of them side by side.
fn check_logits(name: &str, expected: &Expected) {
    let model = load(name);
    let sources: Vec<&[u32]> = expected.sources.iter().map(Vec::as_slice).collect();
    let logits = |states: &Tensor| model.logits(states).unwrap();
    for (source, theirs) in sources.iter().zip(&expected.logits) {
        let memory = model.memory(&[source]).unwrap();
        let mut cache = model.new_cache().about(memory.clone()).unwrap();
        let states = model.hidden_states(&expected.target, &mut cache).unwrap();
        let error = distance(&logits(&states).i(0).unwrap(), theirs);
        assert!(error < TOLERANCE, "{name}, at once: {error}");
        let mut cache = model.new_cache().about(memory).unwrap();
        for (id, theirs) in expected.target.iter().zip(theirs) {
            let states = model.hidden_states(&[*id], &mut cache).unwrap();
            let error = distance(&logits(&states).i(0).unwrap(), std::slice::from_ref(theirs));
            assert!(error < TOLERANCE, "{name}, token by token: {error}");
        }
    }
    let memory = model.memory(&sources).unwrap();
    let padding = vec![0; sources.len()];
    let mut cache = model.new_batch_cache(&padding).about(memory).unwrap();
    let ids: Vec<u32> = sources
        .iter()
        .flat_map(|_| expected.target.clone())
        .collect();
    let mut part = [Part {
        ids: &ids,
        cache: &mut cache,
    }];
    let (states, _) = model.read(&mut part).unwrap();
    for (row, theirs) in expected.logits.iter().enumerate() {
        let error = distance(&logits(&states).i(row).unwrap(), theirs);
        assert!(error < TOLERANCE, "{name}, together, row {row}: {error}");
    }
}

fn model(name: &str) -> ModelSpec {
    let folder = fixture(&format!("seq2seq/{name}"));
    spec(ModelSource::new(folder.display().to_string()))
}

fn generate(
    service: &Service,
    model: ModelSpec,
    sources: &[Vec<u32>],
    settings: &Value,
) -> (Vec<Generated>, Vec<Event>) {
    let prompts = sources.iter().map(|ids| Prompt::Ids {
        ids: ids.clone(),
        fingerprint: None,
    });
    let request = Request::Generate {
        model,
        prompts: prompts.collect(),
        config: serde_json::from_value::<GenerationConfig>(settings.clone()).unwrap(),
        generation_config: None,
        stream: None,
        assistant: None,
    };
    match ask(service, request) {
        (Ok(Response::Generated(generated)), events) => (generated, events),
        other => panic!("{settings}: {other:?}"),
    }
}

fn check_sequences(name: &str, ours: &[Generated], theirs: &[Found], settings: &Value) {
    let expected: Vec<_> = theirs
        .iter()
        .flat_map(|found| {
            let scores = found.scores.clone().unwrap_or_default();
            let scores = scores.into_iter().map(Some).chain(std::iter::repeat(None));
            found.sequences.iter().zip(scores)
        })
        .collect();
    assert_eq!(ours.len(), expected.len(), "{name} {settings}");
    for (ours, (ids, score)) in ours.iter().zip(expected) {
        assert_eq!(&ours.ids, ids, "{name} {settings}");
        if let (Some(a), Some(b)) = (ours.details.score, score) {
            assert!(
                (a - b).abs() < TOLERANCE,
                "{name} {settings}: {a} and not {b}"
            );
        }
    }
}

fn check(name: &str) {
    let expected = expected(name);
    check_logits(name, &expected);
    let service = Service::new();
    for case in &expected.cases {
        // With several rows for each source this changes other rows of a batch than of each source alone.
        let changes_rows = case.settings["encoder_repetition_penalty"].is_number()
            && case.settings["num_beams"].is_number();
        if !changes_rows {
            let (together, _) = generate(&service, model(name), &expected.sources, &case.settings);
            check_sequences(name, &together, &case.found, &case.settings);
        }
        for (source, found) in expected.sources.iter().zip(&case.found) {
            let source = std::slice::from_ref(source);
            let (alone, _) = generate(&service, model(name), source, &case.settings);
            check_sequences(name, &alone, std::slice::from_ref(found), &case.settings);
        }
    }
    assert_eq!(service.residents().len(), 1, "the model stays");
}

one_test_each!(
    t5,
    t5_gated,
    mt5,
    bart,
    bart_bin,
    mbart,
    marian,
    marian_pair,
    m2m100,
    pegasus,
    bart_quick_gelu,
    t5_relu6,
    t5_gated_mish,
);

/// The state of the last end-of-sequence token stands for the whole.
#[test]
fn a_bart_that_labels() {
    labels_as_transformers("bart_labels");
}

/// The decoder begins with the text's language, its last token.
#[test]
fn an_mbart_that_labels() {
    labels_as_transformers("mbart_labels");
}

fn labels_as_transformers(name: &str) {
    let weights = weights(name);
    assert_eq!(seq2seq::kind(&weights), Some(Kind::Classifier));
    let (cancel, mut sink) = (Cancel::new(), |_| {});
    let mut loader = Loader::new(&weights, name, &cancel, &mut sink);
    let model = Classifier::build(&weights, &mut loader).unwrap();
    let expected = json(&format!("seq2seq/{name}/expected.json"));
    let sources: Vec<Vec<u32>> = serde_json::from_value(expected["sources"].clone()).unwrap();
    let labels: Vec<Vec<f32>> = serde_json::from_value(expected["labels"].clone()).unwrap();
    let types: Vec<Vec<u32>> = sources.iter().map(|ids| vec![0; ids.len()]).collect();
    let rows: Vec<Row> = sources
        .iter()
        .zip(&types)
        .map(|(ids, token_types)| Row { ids, token_types })
        .collect();
    let states = model.hidden_states(&rows).unwrap();
    let pooled = model.pooled(&states, &rows).unwrap();
    let logits = model.logits(HeadKind::Sequence, &pooled).unwrap();
    let error = distance(&logits.i(0).unwrap(), &labels);
    assert!(error < TOLERANCE, "{error}");
}

/// Quantised layers are those of decoders: the model loads, is smaller, and writes nearly the same.
#[test]
fn a_quantised_one() {
    let expected = expected("t5_gated");
    let service = Service::new();
    let settings = serde_json::json!({"max_new_tokens": 6});
    let quantization = Quantization {
        method: QuantizationMethod::FourBit {
            kind: FourBitType::Nf4,
            double_quant: true,
            compute_dtype: DType::F32,
        },
        skip_modules: None,
    };
    let four = ModelSpec {
        quantization: Some(quantization),
        ..model("t5_gated")
    };
    let eight = ModelSpec {
        quantization: Some(Quantization {
            method: QuantizationMethod::EightBit {
                threshold: Threshold(6.0),
            },
            skip_modules: None,
        }),
        ..model("t5_gated")
    };
    for spec in [four, eight] {
        let (written, _) = generate(&service, spec, &expected.sources, &settings);
        assert!(written.iter().all(|one| !one.ids.is_empty()));
    }
    generate(&service, model("t5_gated"), &expected.sources, &settings);
    let residents = service.residents();
    let bytes: Vec<u64> = residents.iter().map(|one| one.info.bytes).collect();
    assert!(bytes[0] < bytes[2] && bytes[1] < bytes[2], "{bytes:?}");
}

/// What no encoder-decoder can do says what would.
#[test]
fn what_cannot_be_generated() {
    let service = Service::new();
    let prompt = |count: usize| Prompt::Ids {
        ids: vec![5; count],
        fingerprint: None,
    };
    let request = |count: usize, config: GenerationConfig| Request::Generate {
        model: model("bart"),
        prompts: vec![prompt(count)],
        config,
        generation_config: None,
        stream: None,
        assistant: None,
    };
    let long = ask(&service, request(61, GenerationConfig::default()))
        .0
        .unwrap_err();
    assert_eq!(
        long.message,
        "the text has 61 tokens, the model reads 60 at most"
    );
    let config = GenerationConfig {
        decoder_start_token_id: Some(64),
        ..GenerationConfig::default()
    };
    let start = ask(&service, request(4, config)).0.unwrap_err();
    assert!(
        start.message.contains("the model knows 64 tokens"),
        "{start}"
    );
    let forward = Request::Forward {
        model: model("bart"),
        prompts: vec![prompt(4)],
        output_hidden_states: false,
    };
    let failure = ask(&service, forward).0.unwrap_err();
    assert!(
        failure.message.contains("has an encoder before it"),
        "{failure}"
    );
}
