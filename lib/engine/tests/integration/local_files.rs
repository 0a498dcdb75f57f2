//! Local folders whose files change, or go, while a model that was loaded from them is in memory.

use std::{fs, path::Path};

use engine::Service;
use wire::{
    Failure, FailureKind,
    generate::{GenerationConfig, Prompt},
    host::{Event, Request, Response, UnloadTarget},
    model::{ModelInfo, ModelSource, ModelSpec},
    pipeline::PipelineTask,
    tokenize::{TokenizerCall, TokenizerSpec},
};

use crate::support::{ask, copied, spec};

const WEIGHTS: &str = "model.safetensors";
const TOKENIZER: &str = r#"{"version": "1.0", "added_tokens": [], "normalizer": null,
    "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
    "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "a": 1}, "unk_token": "[UNK]"}}"#;

/// A folder with a tiny llama, and a vocabulary of two words.
fn llama() -> tempfile::TempDir {
    let folder = copied("tiny_llama/grouped", &["config.json", WEIGHTS]);
    fs::write(folder.path().join("tokenizer.json"), TOKENIZER).unwrap();
    folder
}

fn of(folder: &Path) -> ModelSpec {
    spec(ModelSource::new(folder.display().to_string()))
}

fn load(service: &Service, folder: &Path) -> Result<(ModelInfo, Vec<String>), Failure> {
    let (answer, events) = ask(service, Request::LoadModel(of(folder)));
    let notices = events.into_iter().filter_map(|event| match event {
        Event::Notice(text) => Some(text),
        _ => None,
    });
    match answer? {
        Response::Model(info) => Ok((info, notices.collect())),
        other => panic!("{other:?}"),
    }
}

/// The last logits after one word, by a handle.
fn logits(service: &Service, folder: &Path) -> Vec<f32> {
    let request = Request::Forward {
        model: of(folder),
        prompts: vec![Prompt::Text("a".to_owned())],
        output_hidden_states: false,
    };
    match ask(service, request).0.unwrap() {
        Response::Forward(forward) => forward.logits.values().to_vec(),
        other => panic!("{other:?}"),
    }
}

/// Weights of the same size whose floats are other ones, put in the place of the first or written over them.
fn change_weights(folder: &Path, in_place: bool) {
    let path = folder.join(WEIGHTS);
    let mut bytes = fs::read(&path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize + 8;
    // The highest exponents stay as they are; fractions do not.
    bytes[header..]
        .chunks_exact_mut(4)
        .for_each(|value| value[2] ^= 0x40);
    if in_place {
        fs::write(&path, bytes).unwrap();
    } else {
        let other = folder.join("other");
        fs::write(&other, bytes).unwrap();
        fs::rename(other, path).unwrap();
    }
}

/// A model was served from memory for its folder although other weights were in it, without a word.
#[test]
fn a_load_of_changed_files_reads_them_and_says_so() {
    let (service, folder) = (Service::new(), llama());
    let folder = folder.path();
    load(&service, folder).unwrap();
    let (mut before, mut told) = (logits(&service, folder), Vec::new());
    for in_place in [false, true] {
        // As coarse as file systems count.
        std::thread::sleep(std::time::Duration::from_millis(20));
        change_weights(folder, in_place);
        assert_eq!(
            logits(&service, folder),
            before,
            "a handle keeps what was loaded"
        );
        let (info, notices) = load(&service, folder).unwrap();
        assert!(!info.was_resident);
        told.extend(notices);
        let after = logits(&service, folder);
        assert_ne!(after, before);
        before = after;
        // Once.
        let (info, notices) = load(&service, folder).unwrap();
        assert!(info.was_resident && notices.is_empty(), "{notices:?}");
    }
    assert_eq!(service.residents().len(), 1);
    assert_eq!(told.len(), 2, "{told:?}");
    for notice in told {
        let file = format!("(`{}`)", folder.join(WEIGHTS).display());
        assert!(
            notice.contains("have changed") && notice.contains(&file),
            "{notice}"
        );
    }
}

/// So do the small files beside the weights, also those that were not there; and a pin stays.
#[test]
fn small_files_count_as_the_weights_do() {
    let (service, folder) = (Service::new(), llama());
    let folder = folder.path();
    load(&service, folder).unwrap();
    let pin = Request::Pin {
        model: of(folder),
        pinned: true,
    };
    ask(&service, pin).0.unwrap();
    for (name, text) in [
        ("generation_config.json", "{\"max_new_tokens\": 3}"),
        ("tokenizer.json", &TOKENIZER.replace("\"a\"", "\"b\"")),
        ("chat_template.jinja", "{{ messages[0].content }}"),
    ] {
        fs::write(folder.join(name), text).unwrap();
        let (info, notices) = load(&service, folder).unwrap();
        assert!(
            !info.was_resident && notices[0].contains(name),
            "{notices:?}"
        );
    }
    fs::write(folder.join("notes.txt"), "mine").unwrap();
    assert!(load(&service, folder).unwrap().0.was_resident);
    assert!(service.residents()[0].pinned);
}

/// Who asks for files that are gone is told, as by a fresh load; who has the model keeps it.
#[test]
fn what_is_loaded_stays_when_its_files_go() {
    let (service, folder) = (Service::new(), llama());
    // By another spelling, which a removed folder has no more.
    let link = folder.path().with_extension("link");
    std::os::unix::fs::symlink(folder.path(), &link).unwrap();
    load(&service, &link).unwrap();
    let before = logits(&service, &link);
    let tokenizer = |source: &Path| {
        let source = ModelSource::new(source.display().to_string());
        ask(&service, Request::LoadTokenizer(source)).0
    };
    tokenizer(&link).unwrap();

    fs::remove_file(folder.path().join(WEIGHTS)).unwrap();
    let (gone, fresh) = (
        load(&service, &link).unwrap_err(),
        load(&Service::new(), &link).unwrap_err(),
    );
    assert_eq!(gone, fresh);
    fs::remove_dir_all(folder.path()).unwrap();
    let failure = load(&service, &link).unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotFound, "{failure}");

    assert_eq!(logits(&service, &link), before);
    let generate = Request::Generate {
        model: of(&link),
        prompts: vec![Prompt::Text("a".to_owned())],
        config: GenerationConfig {
            max_new_tokens: Some(2),
            ..Default::default()
        },
        generation_config: None,
        stream: None,
        assistant: None,
    };
    ask(&service, generate).0.unwrap();
    tokenizer(&link).unwrap();
    let encode = Request::Tokenize {
        tokenizer: TokenizerSpec::from(of(&link).source),
        call: TokenizerCall::Info,
    };
    ask(&service, encode).0.unwrap();
    let pipeline = Request::LoadPipeline {
        task: PipelineTask::TextGeneration,
        model: of(&link),
    };
    ask(&service, pipeline).0.unwrap();
    let unload = Request::Unload(UnloadTarget::Spec(of(&link)));
    let Response::Unloaded(unloaded) = ask(&service, unload).0.unwrap() else {
        panic!("not unloaded")
    };
    assert_eq!(unloaded.len(), 1);
    assert!(tokenizer(&link).is_err());
    fs::remove_file(link).unwrap();
}
