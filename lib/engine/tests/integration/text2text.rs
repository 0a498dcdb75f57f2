//! Whole pipelines of encoder-decoders against transformers' (fixtures by `make_text2text.py`): text in, text
//! out, by the service's door, one by one and together.

use engine::Service;
use serde_json::{Value, json};
use wire::{
    Failure,
    generate::GenerationConfig,
    host::Request,
    model::{ModelSource, ModelSpec},
    pipeline::{PipelineAnswer, PipelineCall, PipelineTask},
    text2text::{Text2TextOptions, Text2TextTask},
};

use crate::{
    pipelines::{check_cases, plain},
    support::{ask, changed, fixture, json as read, one_test_each, run_pipeline, spec},
};

fn model(name: &str) -> ModelSpec {
    let folder = fixture("text2text").join(name);
    spec(ModelSource::new(folder.display().to_string()))
}

fn run(
    service: &Service,
    name: &str,
    call: PipelineCall,
    batch_size: Option<u32>,
) -> (Result<PipelineAnswer, Failure>, Vec<String>) {
    run_pipeline(service, model(name), call, batch_size)
}

/// Of each input its texts, each with its tokens, as the fixture has them.
fn written(answer: &PipelineAnswer) -> Value {
    let PipelineAnswer::Texts(found) = answer else {
        return plain(answer);
    };
    let inputs = found.iter().map(|texts| {
        let texts = texts.iter().map(|one| json!([one.text, one.token_ids]));
        texts.collect::<Vec<_>>()
    });
    json!(inputs.collect::<Vec<_>>())
}

fn check(name: &str) {
    check_cases(&format!("text2text/{name}"), &[None, Some(1)], written);
}

one_test_each!(
    t5,
    bart,
    marian,
    pegasus,
    mbart,
    mbart50,
    nllb,
    nllb_old,
    bart_nli,
    mbart_nameless,
    bart_first,
    mbart_pieces,
    mbart50_pieces,
    nllb_pieces,
    m2m100
);

fn call(text: &str, options: Text2TextOptions) -> PipelineCall {
    PipelineCall::Text2Text {
        inputs: vec![text.to_owned()],
        options: Box::new(options),
    }
}

fn options(task: Text2TextTask) -> Text2TextOptions {
    Text2TextOptions {
        task,
        ..Text2TextOptions::default()
    }
}

/// What transformers logs, its user is told.
#[test]
fn what_looks_odd_is_told() {
    let service = Service::new();
    let mut summary = options(Text2TextTask::Summarization);
    summary.generation.max_length = Some(30);
    summary.generation.min_length = Some(40);
    let (answer, notices) = run(&service, "t5", call("Ada wrote it.", summary), None);
    answer.unwrap();
    for part in [
        "Your min_length=40 must be inferior than your max_length=30.",
        "Your max_length is set to 30, but your input_length is only ",
        "both `max_new_tokens` (=256) and `max_length` (=30) seem to have been set",
    ] {
        assert!(
            notices.iter().any(|one| one.contains(part)),
            "{part}: {notices:?}"
        );
    }
    let mut translation = options(Text2TextTask::Translation);
    translation.generation.max_new_tokens = Some(3);
    let long = "Ada wrote the first program in London. ".repeat(60);
    let (answer, notices) = run(&service, "t5", call(&long, translation), None);
    answer.unwrap();
    for part in [
        "defaulting to \"translation_en_to_de\"",
        "Token indices sequence length is longer than the specified maximum",
        "is bigger than 0.9 * max_length: 40",
    ] {
        assert!(
            notices.iter().any(|one| one.contains(part)),
            "{part}: {notices:?}"
        );
    }
}

#[test]
fn what_cannot_be_written() {
    let service = Service::new();
    let failure = |name: &str, text: &str, options| {
        run(&service, name, call(text, options), None)
            .0
            .unwrap_err()
    };
    let long = "bridges ".repeat(900);
    let too_long = failure("bart", &long, options(Text2TextTask::Summarization));
    assert!(too_long.message.contains("reads 300 at most"), "{too_long}");
    assert!(too_long.hint.unwrap().contains("truncation(true)"));
}

/// What transformers says of it, in small letters, and the languages that it knows. Of one that is unknown its
/// fast tokenizers say nothing, and write the unknown token in its place.
#[test]
fn wrong_languages_are_told() {
    let fixture = read("text2text/wrong_languages.json");
    let service = Service::new();
    for (name, case) in fixture["tokenizers"].as_object().unwrap() {
        let languages: Vec<&str> = case["languages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|code| code.as_str().unwrap())
            .collect();
        let known = format!("its languages: {}", languages.join(", "));
        for (kind, wrong) in case["wrong"].as_object().unwrap() {
            let language = |key: &str| wrong[key].as_str().map(str::to_owned);
            let options = Text2TextOptions {
                src_lang: language("src_lang"),
                tgt_lang: language("tgt_lang"),
                ..options(Text2TextTask::Translation)
            };
            let failure = run(&service, name, call("Ada", options), None)
                .0
                .unwrap_err();
            let said = case["said"][kind].as_str().unwrap_or_default();
            match said.strip_prefix("ValueError: ") {
                Some(said) => assert_eq!(failure.message.to_lowercase(), said.to_lowercase()),
                None => assert!(
                    failure.message.ends_with("knows no language `klingon`"),
                    "{name} {kind}: {failure}"
                ),
            }
            let hint = failure.hint.unwrap();
            assert!(
                hint.ends_with(&known),
                "{name} {kind}: {hint}\nand not\n{known}"
            );
            assert_eq!(
                hint.starts_with("name both: `.src_lang("),
                kind.starts_with("no_")
            );
        }
    }
}

/// Decoders, encoders and encoder-decoders are told apart, and each failure names what would do.
#[test]
fn models_of_other_kinds() {
    let service = Service::new();
    let task = PipelineTask::Text2Text(Text2TextTask::Summarization);
    for (folder, architecture) in [
        ("families/qwen2", "qwen2"),
        ("pipelines/bert_masks", "bert"),
        ("text2text/bart_nli", "bart"),
    ] {
        let model = spec(ModelSource::new(fixture(folder).display().to_string()));
        let failure = ask(&service, Request::LoadPipeline { task, model })
            .0
            .unwrap_err();
        let part = format!("architecture `{architecture}` is no encoder-decoder");
        assert!(failure.message.contains(&part), "{failure}");
        assert!(failure.hint.unwrap().contains("t5, mt5, bart"));
    }
    assert!(service.residents().is_empty());
}

/// Equal texts are drawn on differently, from chunk to chunk too, and all draws repeat with the seed.
#[test]
fn draws_go_on_from_text_to_text() {
    let service = Service::new();
    let mut drawn = options(Text2TextTask::Text2TextGeneration);
    drawn.generation = GenerationConfig {
        seed: Some(7),
        do_sample: Some(true),
        num_beams: Some(1),
        max_new_tokens: Some(12),
        ..GenerationConfig::default()
    };
    let call = PipelineCall::Text2Text {
        inputs: vec!["Ada wrote it.".to_owned(); 3],
        options: Box::new(drawn),
    };
    for batch_size in [None, Some(1), Some(2)] {
        let draw = || run(&service, "t5", call.clone(), batch_size).0.unwrap();
        let answer = draw();
        let PipelineAnswer::Texts(found) = &answer else {
            panic!("texts");
        };
        assert_ne!(found[0], found[1], "{batch_size:?}");
        assert_ne!(found[0], found[2], "{batch_size:?}");
        assert_ne!(found[1], found[2], "{batch_size:?}");
        assert_eq!(answer, draw());
    }
}

/// A tokenizer that states no length leaves it to the model's positions; `max_len` is the old name of one.
#[test]
fn texts_are_cut_to_what_the_model_reads() {
    let service = Service::new();
    let mut cut = options(Text2TextTask::Summarization);
    cut.truncation = true;
    cut.generation.max_new_tokens = Some(3);
    for (length, longest) in [(None, 300), (Some(120), 120)] {
        let copy = changed("text2text/bart", |config| {
            let config = config.as_object_mut().unwrap();
            config.remove("model_max_length");
            if let Some(length) = length {
                config.insert("max_len".to_owned(), json!(length));
            }
        });
        let folder = copy.path().display().to_string();
        let call = call(&"bridges ".repeat(900), cut.clone());
        let answer = run(&service, &folder, call, None).0.unwrap();
        let PipelineAnswer::Texts(found) = answer else {
            panic!("texts");
        };
        assert_eq!(found[0][0].source_tokens, longest);
    }
}
