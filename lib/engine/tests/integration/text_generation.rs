//! The pipeline `text-generation` against transformers' (fixtures by `make_text_generation.py`), by the service's
//! door, one by one and together, and `generate` with a configuration of the user's own.

use engine::Service;
use serde_json::{Value, json};
use wire::{
    Failure,
    generate::{GenerationConfig, Prompt},
    host::{Event, Request, Response},
    model::{ModelSource, ModelSpec},
    pipeline::{PipelineAnswer, PipelineCall, PipelineRun},
    text_generation::{GeneratedText, GenerationInput, TextGenerationOptions},
};

use crate::{
    pipelines::compare,
    support::{ask, fixture, ids, json as read, spec},
};

fn model(folder: &str) -> ModelSpec {
    spec(ModelSource::new(fixture(folder).display().to_string()))
}

fn run(
    service: &Service,
    folder: &str,
    call: PipelineCall,
    batch_size: Option<u32>,
) -> (Result<Vec<Vec<GeneratedText>>, Failure>, Vec<String>) {
    let request = Request::RunPipeline(PipelineRun {
        model: model(folder),
        tokenizer: None,
        call,
        batch_size,
        stream: None,
        assistant: None,
    });
    let (answer, events) = ask(service, request);
    let notices = events.into_iter().filter_map(|event| match event {
        Event::Notice(notice) => Some(notice),
        _ => None,
    });
    let answer = answer.map(|answer| match answer {
        Response::Pipeline(PipelineAnswer::Generations(found)) => found,
        other => panic!("answered {other:?}"),
    });
    (answer, notices.collect())
}

/// Of each input its texts or conversations, each with its tokens, as the fixture has them.
fn written(found: &[Vec<GeneratedText>]) -> Value {
    let inputs = found.iter().map(|texts| {
        let texts = texts.iter().map(|one| match &one.messages {
            Some(messages) => json!([messages, one.token_ids]),
            None => json!([one.text, one.token_ids]),
        });
        texts.collect::<Vec<_>>()
    });
    json!(inputs.collect::<Vec<_>>())
}

fn check(name: &str) {
    let folder = format!("text_generation/{name}");
    let fixture = read(&format!("{folder}/cases.json"));
    let service = Service::new();
    for case in fixture["cases"].as_array().unwrap() {
        let place = format!("{name} {:.400}", case["call"].to_string());
        let call: PipelineCall = serde_json::from_value(case["call"].clone()).unwrap();
        let found = run(&service, &folder, call.clone(), None).0.unwrap();
        compare(&written(&found), &case["output"], &place);
        // A length in all counts the padding of a batch, and so do processors of the tokens before.
        let config = case["call"]["TextGeneration"]["options"]["generation"].clone();
        let is_plain = ["max_new_tokens", "top_k"]
            .iter()
            .all(|key| config[key].is_u64())
            && config.as_object().unwrap().len() == 2
            && name == "llama";
        if is_plain {
            let found = run(&service, &folder, call, Some(3)).0.unwrap();
            compare(
                &written(&found),
                &case["output"],
                &format!("{place} together"),
            );
        }
    }
    assert_eq!(service.residents().len(), 1, "the model stays");
    configurations(&service, &folder);
}

/// What `generate` makes of a user's own configuration, beside which the files of a model speak only where
/// transformers 4.50 or later has written them.
fn configurations(service: &Service, folder: &str) {
    let fixture = read(&format!("{folder}/configurations.json"));
    let config =
        |value: &Value| -> GenerationConfig { serde_json::from_value(value.clone()).unwrap() };
    for case in fixture["cases"].as_array().unwrap() {
        let request = Request::Generate {
            model: model(folder),
            prompts: vec![Prompt::Ids {
                ids: ids(&fixture["prompt"]),
                fingerprint: None,
            }],
            config: config(&case["config"]),
            generation_config: Some(config(&case["generation_config"])),
            stream: None,
            assistant: None,
        };
        let Ok(Response::Generated(generated)) = ask(service, request).0 else {
            panic!("it generates");
        };
        assert_eq!(generated[0].ids, ids(&case["added"]), "{folder} {case}");
    }
}

macro_rules! against_transformers {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )*
    };
}

against_transformers!(llama, gpt2_length, gpt2_task, llama_new, llama_old);

fn call(inputs: &[&str], generation: GenerationConfig) -> PipelineCall {
    let inputs = inputs
        .iter()
        .map(|&text| GenerationInput::Text(text.to_owned()));
    PipelineCall::TextGeneration {
        inputs: inputs.collect(),
        options: Box::new(TextGenerationOptions {
            generation,
            ..TextGenerationOptions::default()
        }),
    }
}

/// Equal texts are drawn on differently, and all draws repeat with the seed.
#[test]
fn draws_go_on_from_text_to_text() {
    let service = Service::new();
    let config = GenerationConfig {
        seed: Some(7),
        max_new_tokens: Some(12),
        ..GenerationConfig::default()
    };
    let draw = || {
        let call = call(&["Hello world"; 2], config.clone());
        run(&service, "text_generation/llama", call, None)
            .0
            .unwrap()
    };
    let found = draw();
    assert_ne!(found[0], found[1]);
    assert_eq!(found, draw());
}

#[test]
fn what_cannot_be_continued() {
    let service = Service::new();
    let failure = |folder: &str, text: &str| {
        let call = call(&[text], GenerationConfig::default());
        run(&service, folder, call, None).0.unwrap_err()
    };
    let seq2seq = failure("text2text/t5", "Hello");
    assert!(
        seq2seq.message.contains("writes a text about another"),
        "{seq2seq}"
    );
    assert!(seq2seq.hint.unwrap().contains("text2text-generation"));
}
