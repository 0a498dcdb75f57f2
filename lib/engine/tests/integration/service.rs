//! The service as a host drives it: one load for two requests, cancelling, unloading, refusals.

use std::{net::TcpListener, path::Path, sync::Barrier, thread, time::Duration};

use engine::{Cancel, Service};
use standin_hub::{Repository, StandinHub};
use wire::{
    Failure, FailureKind,
    generate::{FinishReason, GenerationConfig, Prompt},
    host::{Event, Request, Response, UnloadTarget},
    hub::HubVariables,
    model::{
        Activations, Device, EMBEDDED_BYTES, EMBEDDED_FILE, ModelInfo, ModelSource, ModelSpec,
    },
    text::ChatMessage,
};

use crate::support::{ask, ask_until, embedded, spec};

fn load(service: &Service, spec: ModelSpec) -> (ModelInfo, Vec<Event>) {
    let (answer, events) = ask(service, Request::LoadModel(spec));
    match answer.unwrap() {
        Response::Model(info) => (info, events),
        other => panic!("{other:?}"),
    }
}

fn story(count: u32) -> Request {
    Request::Generate {
        model: spec(embedded()),
        prompts: vec![Prompt::Chat(vec![ChatMessage::new(
            "user",
            "Tell me a long story.",
        )])],
        config: GenerationConfig {
            max_new_tokens: Some(count),
            ..Default::default()
        },
        generation_config: None,
        stream: Some(wire::generate::StreamOptions::default()),
        assistant: None,
    }
}

#[test]
fn a_model_is_loaded_once_and_found_again() {
    let service = Service::new();
    let (first, events) = load(&service, spec(embedded()));
    assert!(!first.was_resident);
    assert_eq!(
        (first.layers, first.hidden_size, first.vocab_size),
        (30, 576, 49_152)
    );
    assert_eq!(
        (first.parameters, first.quantization.as_str()),
        (134_515_008, "Q4_1")
    );
    assert!(first.bytes < EMBEDDED_BYTES && first.bytes > EMBEDDED_BYTES * 9 / 10);
    let Some(Event::Progress(last)) = events.last() else {
        panic!("a load shows no progress")
    };
    assert_eq!((last.done, last.total), (first.bytes, Some(first.bytes)));
    // Another spelling of the same weights.
    let mut source = embedded();
    source.gguf_file = Some(EMBEDDED_FILE.to_owned());
    let (again, events) = load(
        &service,
        ModelSpec {
            source,
            dtype: None,
            auto_dtype: false,
            device_map: Device::Cpu.into(),
            quantization: None,
            activations: Activations::F32,
            cache_dtype: None,
        },
    );
    assert!(again.was_resident && events.is_empty());
    assert_eq!(service.residents().len(), 1);
}

#[test]
fn two_loads_at_once_are_one() {
    let service = Service::new();
    let barrier = Barrier::new(4);
    let loads: Vec<_> = thread::scope(|scope| {
        let work = || {
            barrier.wait();
            load(&service, spec(embedded()))
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(service.residents().len(), 1);
    let seconds: Vec<f64> = loads.iter().map(|(info, _)| info.load_seconds).collect();
    assert!(
        seconds.iter().all(|s| s.to_bits() == seconds[0].to_bits()),
        "loaded twice: {seconds:?}"
    );
}

#[test]
fn a_cancelled_load_fails_and_leaves_nothing() {
    let service = Service::new();
    let cancel = Cancel::new();
    let (answer, _) = ask_until(
        &service,
        Request::LoadModel(spec(embedded())),
        &cancel,
        |event, cancel| {
            if matches!(event, Event::Progress(_)) {
                cancel.cancel();
            }
        },
    );
    assert_eq!(answer.unwrap_err().kind, FailureKind::Interrupted);
    assert!(service.residents().is_empty());
    load(&service, spec(embedded()));
}

#[test]
fn a_cancelled_generation_keeps_what_it_had() {
    let service = Service::new();
    let mut count = 0;
    let (answer, _) = ask_until(&service, story(500), &Cancel::new(), |event, cancel| {
        if matches!(event, Event::Token(token) if token.id.is_some()) {
            count += 1;
            if count == 5 {
                cancel.cancel();
            }
        }
    });
    let Response::Generated(generated) = answer.unwrap() else {
        panic!("no text")
    };
    assert_eq!(generated[0].finish_reason, FinishReason::Cancelled);
    assert_eq!(generated[0].ids.len(), 5);
}

/// Two stories and a long prompt at once: each says what it says alone.
#[test]
fn requests_on_one_model_run_together() {
    let service = Service::new();
    load(&service, spec(embedded()));
    let long = "The quick brown fox jumps over the lazy dog. ".repeat(20);
    let requests = [
        "Tell me a long story.",
        "What is the capital of France?",
        &long,
    ]
    .map(|text| Prompt::Chat(vec![ChatMessage::new("user", text)]));
    let ask_for = |prompt: &Prompt, events: &mut Vec<u64>| {
        let request = Request::Generate {
            model: spec(embedded()),
            prompts: vec![prompt.clone()],
            config: GenerationConfig {
                max_new_tokens: Some(16),
                min_new_tokens: Some(16),
                use_cache: Some(false),
                ..Default::default()
            },
            generation_config: None,
            stream: Some(wire::generate::StreamOptions::default()),
            assistant: None,
        };
        let (answer, told) = ask(&service, request);
        events.extend(told.into_iter().filter_map(|event| match event {
            Event::Token(token) if token.id.is_some() => Some(token.produced_at),
            _ => None,
        }));
        match answer.unwrap() {
            Response::Generated(mut generated) => generated.remove(0).ids,
            other => panic!("{other:?}"),
        }
    };
    let alone = requests
        .each_ref()
        .map(|prompt| ask_for(prompt, &mut Vec::new()));
    let barrier = Barrier::new(requests.len());
    let together: Vec<(Vec<u32>, Vec<u64>)> = thread::scope(|scope| {
        let work = |prompt| {
            barrier.wait();
            let mut times = Vec::new();
            (ask_for(prompt, &mut times), times)
        };
        let threads = requests
            .each_ref()
            .map(|prompt| scope.spawn(move || work(prompt)));
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    for ((together, _), alone) in together.iter().zip(&alone) {
        assert_eq!(together, alone, "two sequences got into each other");
    }
    // Nobody waited for another's end.
    let first = together.iter().map(|(_, times)| times[0]).max();
    let last = together.iter().map(|(_, times)| times[15]).min();
    assert!(first < last, "one after the other: {first:?} {last:?}");
    assert_eq!(service.residents()[0].users, 0);
}

#[test]
fn unloading_frees_the_model() {
    let service = Service::new();
    load(&service, spec(embedded()));
    let unload = |target| match ask(&service, Request::Unload(target)).0.unwrap() {
        Response::Unloaded(models) => models.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(unload(UnloadTarget::Name("another/model".into())), 0);
    assert_eq!(unload(UnloadTarget::Spec(spec(embedded()))), 1);
    assert!(service.residents().is_empty());
    load(&service, spec(embedded()));
    assert_eq!(unload(UnloadTarget::All), 1);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let service = Service::new();
    let fail = |request| ask(&service, request).0.unwrap_err();
    let cuda = ModelSpec {
        device_map: Device::Cuda(0).into(),
        ..spec(embedded())
    };
    assert_eq!(fail(Request::LoadModel(cuda)).kind, FailureKind::Device);
    let missing = spec(ModelSource::new("/no/such/folder"));
    assert_eq!(
        fail(Request::LoadModel(missing)).kind,
        FailureKind::NotFound
    );
    let generate = |prompt, config| Request::Generate {
        model: spec(embedded()),
        prompts: vec![prompt],
        config,
        generation_config: None,
        stream: None,
        assistant: None,
    };
    let ids = |ids: Vec<u32>, fingerprint: Option<&str>| Prompt::Ids {
        ids,
        fingerprint: fingerprint.map(str::to_owned),
    };
    let config = GenerationConfig::default;
    let cases = [
        (generate(ids(vec![], None), config()), "no tokens"),
        (generate(ids(vec![60_000], None), config()), "60000"),
        (
            generate(ids(vec![1], Some("another")), config()),
            "another tokenizer",
        ),
        (
            generate(
                ids(vec![1], None),
                GenerationConfig {
                    max_new_tokens: Some(0),
                    ..config()
                },
            ),
            "`max_new_tokens` must be greater than 0",
        ),
        (
            generate(
                ids(vec![1], None),
                GenerationConfig {
                    do_sample: Some(true),
                    temperature: Some(0.0),
                    ..config()
                },
            ),
            "strictly positive float",
        ),
        (
            generate(
                ids(vec![1, 2], None),
                GenerationConfig {
                    max_length: Some(2),
                    ..config()
                },
            ),
            "`max_length`",
        ),
        (
            generate(
                ids(vec![1], None),
                GenerationConfig {
                    do_sample: Some(true),
                    top_p: Some(-0.5),
                    ..config()
                },
            ),
            "`top_p`",
        ),
    ];
    for (request, expected) in cases {
        let failure = fail(request);
        assert_eq!(failure.kind, FailureKind::InvalidArgument, "{failure}");
        assert!(failure.message.contains(expected), "{failure}");
    }
}

/// A repository with a tiny llama and a vocabulary of two words.
fn tiny_repository() -> Repository {
    let folder = crate::support::fixture("tiny_llama/grouped");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let tokenizer = r#"{"version": "1.0", "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "a": 1}, "unk_token": "[UNK]"}}"#;
    Repository::new("acme/tiny")
        .file("config.json", read("config.json"))
        .file("model.safetensors", read("model.safetensors"))
        .file("tokenizer.json", tokenizer)
}

/// Loads the repository's model as a client with these variables does.
fn load_from(service: &Service, endpoint: &str, cache: &Path) -> Result<Response, Failure> {
    let hub = HubVariables::collect(|name| match name {
        "HF_ENDPOINT" => Some(endpoint.to_owned()),
        "HF_HOME" => Some(cache.display().to_string()),
        _ => None,
    });
    let mut answer = None;
    let request = Request::LoadModel(spec(ModelSource::new("acme/tiny")));
    service.handle(request, &hub, &Cancel::new(), &mut |event| {
        answer = Some(event);
    });
    match answer.unwrap() {
        Event::Done(response) => Ok(response),
        Event::Failed(failure) => Err(failure),
        other => panic!("{other:?}"),
    }
}

/// The second once got the first's failure, although it had a hub that answers.
#[test]
fn a_request_does_not_fail_for_the_reasons_of_another() {
    let service = Service::new();
    let cache = tempfile::tempdir().unwrap();
    let hub = StandinHub::start(vec![tiny_repository()]).unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = format!("http://{}", silent.local_addr().unwrap());
    let (first, second) = thread::scope(|scope| {
        let first = scope.spawn(|| load_from(&service, &nowhere, &cache.path().join("a")));
        // It is under way once it has asked.
        let asked = silent.accept().unwrap();
        let endpoint = hub.endpoint();
        let (service, cache) = (&service, &cache);
        let second = scope.spawn(move || load_from(service, &endpoint, &cache.path().join("b")));
        thread::sleep(Duration::from_millis(300));
        drop((asked, silent));
        (first.join().unwrap(), second.join().unwrap())
    });
    assert_eq!(first.unwrap_err().kind, FailureKind::Offline);
    let Ok(Response::Model(info)) = second else {
        panic!("{second:?}")
    };
    assert_eq!(info.name, "acme/tiny");
    assert!(!cache.path().join("a/hub/models--acme--tiny/blobs").exists());
    assert!(cache.path().join("b/hub/models--acme--tiny/blobs").exists());
}
