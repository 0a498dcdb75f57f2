//! What the tests share: fixtures, the embedded model, and a service driven to its last event.

pub mod gguf;

use std::path::PathBuf;

use engine::{Cancel, Service};
use wire::{
    Failure, FailureKind,
    host::{Event, Request, Response},
    hub::HubVariables,
    model::{Activations, Device, EMBEDDED_FILE, EMBEDDED_REPO, ModelSource, ModelSpec},
    pipeline::{PipelineAnswer, PipelineCall, PipelineRun},
};

/// A file or folder of the fixtures.
pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// A test each, so that a failure names it: the `check` of the file where this stands, with its name.
macro_rules! one_test_each {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )*
    };
}
pub(crate) use one_test_each;

/// A folder with some files of a fixture.
pub fn copied(name: &str, files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        std::fs::copy(fixture(name).join(file), folder.path().join(file)).unwrap();
    }
    folder
}

/// That a failure is of this kind, and names what and how to go on.
pub fn assert_told(failure: &Failure, kind: FailureKind, what: &str, hint: &str) {
    assert_eq!(failure.kind, kind, "{failure}");
    let hints = failure
        .hint
        .as_ref()
        .is_some_and(|told| told.contains(hint));
    assert!(failure.message.contains(what) && hints, "{failure}");
}

/// A copy of a checkpoint whose `tokenizer_config.json` is another.
pub fn changed(name: &str, change: impl Fn(&mut serde_json::Value)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture(name)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let file = folder.path().join("tokenizer_config.json");
    let mut config = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    change(&mut config);
    std::fs::write(file, config.to_string()).unwrap();
    folder
}

/// A fixture's JSON.
pub fn json(name: &str) -> serde_json::Value {
    let path = fixture(name);
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap()
}

/// Numbers of a fixture.
pub fn ids(value: &serde_json::Value) -> Vec<u32> {
    let values = value.as_array().expect("a list of ids");
    values
        .iter()
        .map(|id| id.as_u64().unwrap() as u32)
        .collect()
}

/// The embedded default, as a source.
pub fn embedded() -> ModelSource {
    embedded_file();
    ModelSource::new(EMBEDDED_REPO)
}

/// The file of the embedded default.
pub fn embedded_file() -> PathBuf {
    let base = std::env::var_os("WARMCELL_DATA_DIR").map_or_else(
        || {
            let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
            std::env::var_os("XDG_DATA_HOME")
                .map_or(home.join(".local/share"), PathBuf::from)
                .join("warmcell")
        },
        PathBuf::from,
    );
    let path = base.join("models").join(EMBEDDED_FILE);
    assert!(
        path.is_file(),
        "the embedded model is not at {}: run the README's first command, which obtains it",
        path.display()
    );
    path
}

/// A specification with everything left open.
pub fn spec(source: ModelSource) -> ModelSpec {
    ModelSpec {
        source,
        dtype: None,
        auto_dtype: false,
        device_map: Device::Auto.into(),
        quantization: None,
        activations: Activations::F32,
        cache_dtype: None,
    }
}

/// What a pipeline answers, and the notices on the way.
pub fn run_pipeline(
    service: &Service,
    model: ModelSpec,
    call: PipelineCall,
    batch_size: Option<u32>,
) -> (Result<PipelineAnswer, Failure>, Vec<String>) {
    let request = Request::RunPipeline(PipelineRun {
        model,
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
        Response::Pipeline(answer) => answer,
        other => panic!("answered {other:?}"),
    });
    (answer, notices.collect())
}

/// Runs a request to its end; its answer and the events before it.
pub fn ask(service: &Service, request: Request) -> (Result<Response, Failure>, Vec<Event>) {
    ask_until(service, request, &Cancel::new(), |_, _| {})
}

/// The same, with a look at each event.
pub fn ask_until(
    service: &Service,
    request: Request,
    cancel: &Cancel,
    mut look: impl FnMut(&Event, &Cancel),
) -> (Result<Response, Failure>, Vec<Event>) {
    let mut events = Vec::new();
    service.handle(request, &HubVariables::default(), cancel, &mut |event| {
        look(&event, cancel);
        events.push(event);
    });
    let answer = match events.pop() {
        Some(Event::Done(response)) => Ok(response),
        Some(Event::Failed(failure)) => Err(failure),
        other => panic!("the last event is {other:?}"),
    };
    let early = events
        .iter()
        .any(|e| matches!(e, Event::Done(_) | Event::Failed(_)));
    assert!(!early, "a request ended twice");
    (answer, events)
}
