//! The pipeline `text-generation` against transformers' (fixtures by `make_text_generation.py`), by the service's
//! door, one by one and together, and `generate` with a configuration of the user's own.

use engine::Service;
use serde_json::{Value, json};
use wire::{
    Failure,
    generate::{GenerationConfig, Prompt, StreamOptions},
    host::{Event, Request, Response},
    model::{ModelSource, ModelSpec},
    pipeline::{PipelineAnswer, PipelineCall, PipelineRun},
    text_generation::{GeneratedText, GenerationInput, TextGenerationOptions},
};

use crate::{
    pipelines::compare,
    support::{ask, changed, fixture, ids, json as read, one_test_each, run_pipeline, spec},
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
    let (answer, notices) = run_pipeline(service, model(folder), call, batch_size);
    let answer = answer.map(|answer| match answer {
        PipelineAnswer::Generations(found) => found,
        other => panic!("answered {other:?}"),
    });
    (answer, notices)
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

one_test_each!(llama, gpt2_length, gpt2_task, llama_new, llama_old);

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

/// What a stream of one text has, its answer has; several texts or beams are refused as transformers does.
#[test]
fn one_text_is_streamed() {
    let service = Service::new();
    let request = |inputs: &[&str], beams: u32| {
        let generation = GenerationConfig {
            do_sample: Some(false),
            num_beams: Some(beams),
            max_new_tokens: Some(8),
            ..GenerationConfig::default()
        };
        Request::RunPipeline(PipelineRun {
            model: model("text_generation/llama"),
            tokenizer: None,
            call: call(inputs, generation),
            batch_size: None,
            stream: Some(StreamOptions {
                skip_prompt: true,
                skip_special_tokens: true,
                clean_up_tokenization_spaces: None,
            }),
            assistant: None,
        })
    };
    let (answer, events) = ask(&service, request(&["Hello world"], 1));
    let Ok(Response::Pipeline(PipelineAnswer::Generations(found))) = answer else {
        panic!("it writes: {answer:?}");
    };
    let streamed = found[0][0].streamed.as_deref().expect("was streamed");
    let texts = events.iter().filter_map(|event| match event {
        Event::Token(token) => Some(token.text.as_str()),
        _ => None,
    });
    let text: String = texts.collect();
    assert!(!text.is_empty());
    let ids = events.iter().filter_map(|event| match event {
        Event::Token(token) => token.id,
        _ => None,
    });
    assert_eq!(ids.collect::<Vec<_>>(), streamed.ids);
    let several = ask(&service, request(&["Hello world"; 2], 1))
        .0
        .unwrap_err();
    assert!(
        several.message.contains("only supports batch size 1"),
        "{several}"
    );
    let beams = ask(&service, request(&["Hello world"], 2)).0.unwrap_err();
    assert!(beams.message.contains("beam search"), "{beams}");
}

/// `handle_long_generation="hole"`, a prefix, and special tokens that stay.
#[test]
fn arguments_of_texts() {
    let service = Service::new();
    let with = |text: &str, change: &dyn Fn(&mut TextGenerationOptions)| {
        let mut options = TextGenerationOptions::default();
        options.generation.do_sample = Some(false);
        options.generation.max_new_tokens = Some(6);
        change(&mut options);
        let call = PipelineCall::TextGeneration {
            inputs: vec![GenerationInput::Text(text.to_owned())],
            options: Box::new(options),
        };
        run(&service, "text_generation/llama", call, None).0
    };
    let plain = with("Hello world", &|_| ()).unwrap();
    let prefixed = with("world", &|options| {
        options.prefix = Some("Hello ".to_owned());
    });
    // The prefix is read, and is no part of what was given.
    assert_eq!(prefixed.unwrap()[0][0].token_ids, plain[0][0].token_ids);
    let bare = with("Hello world", &|options| options.add_special_tokens = false).unwrap();
    assert!(bare[0][0].prompt_tokens <= plain[0][0].prompt_tokens);
    // The tokenizer states no length: nothing is cut.
    let whole = with("Hello world", &|options| options.cuts_beginning = true).unwrap();
    assert_eq!(whole, plain);
}

/// With a length that the tokenizer states, the beginning goes.
#[test]
fn long_texts_lose_their_beginning() {
    let copy = changed("text_generation/llama", |config| {
        config["model_max_length"] = json!(16);
    });
    let folder = copy.path().display().to_string();
    let service = Service::new();
    let of = |new: u32| {
        let mut options = TextGenerationOptions {
            cuts_beginning: true,
            ..TextGenerationOptions::default()
        };
        options.generation.do_sample = Some(false);
        options.generation.max_new_tokens = Some(new);
        let call = PipelineCall::TextGeneration {
            inputs: vec![GenerationInput::Text("Hello world ".repeat(30))],
            options: Box::new(options),
        };
        run(&service, &folder, call, None).0
    };
    // A prompt that is longer is told, and so is a length that cuts.
    let told = |max_length| {
        let config = GenerationConfig {
            do_sample: Some(false),
            max_new_tokens: Some(2),
            max_length,
            ..GenerationConfig::default()
        };
        let call = call(
            &["Hello world Hello world Hello world Hello world"; 1],
            config,
        );
        run(&service, &folder, call, None).1.join(" ")
    };
    assert!(told(Some(12)).contains("Truncation was not explicitly activated"));
    let of_length = "longer than the specified maximum sequence length";
    assert!(told(None).contains(of_length), "{}", told(None));
    assert!(!told(Some(12)).contains(of_length));
    let cut = of(6).unwrap();
    assert_eq!((cut[0][0].prompt_tokens, cut[0][0].tokens), (10, 6));
    let failure = of(16).unwrap_err();
    assert!(
        failure.message.contains("We cannot use `hole`"),
        "{failure}"
    );
}
