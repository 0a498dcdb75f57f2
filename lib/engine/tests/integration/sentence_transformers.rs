//! Repositories of sentence-transformers against its own vectors (fixtures by
//! `make_sentence_transformers.py`): pooling, prompts and modules, in batches and one by one.

use std::{fs, path::Path};

use engine::Service;
use serde_json::{Value, json};
use wire::{
    Failure, FailureKind,
    generate::{GenerationConfig, Prompt},
    host::Request,
    model::ModelSource,
    pipeline::{
        EmbeddingPrompt, EncoderTask, FeatureOptions, PipelineAnswer, PipelineCall, PipelineTask,
    },
};

use crate::{
    pipelines::{compare, expand, plain},
    support::{ask, fixture, json as read, one_test_each, run_pipeline, spec},
};

/// Largest difference of a value, as a part of 1 or of the value where that is larger.
const TOLERANCE: f64 = 1e-4;

fn run(
    service: &Service,
    folder: &Path,
    call: PipelineCall,
    batch_size: Option<u32>,
) -> (Result<PipelineAnswer, Failure>, Vec<String>) {
    let model = spec(ModelSource::new(folder.display().to_string()));
    run_pipeline(service, model, call, batch_size)
}

fn check(name: &str) {
    let folder = fixture(&format!("sentence_transformers/{name}"));
    let cases = read(&format!("sentence_transformers/{name}/cases.json"));
    check_cases(name, &folder, &cases);
}

/// Gives the notices of the last run.
fn check_cases(name: &str, folder: &Path, cases: &Value) -> Vec<String> {
    let service = Service::new();
    let mut last = Vec::new();
    for case in cases["cases"].as_array().unwrap() {
        let mut call = case["call"].clone();
        let prompt = call["Embeddings"]["prompt"].to_string();
        expand(&mut call, cases["long"].as_str().unwrap());
        let call: PipelineCall = serde_json::from_value(call).unwrap();
        let rows = case["output"].as_array().unwrap();
        for batch_size in [None, Some(1), Some(3)] {
            let (answer, notices) = run(&service, folder, call.clone(), batch_size);
            last = notices;
            let PipelineAnswer::Embeddings(found) = answer.unwrap() else {
                panic!("embeddings are answered");
            };
            let width = rows[0].as_array().unwrap().len();
            assert_eq!(found.shape(), [rows.len(), width], "{name} {prompt}");
            for (index, row) in rows.iter().enumerate() {
                let theirs = row.as_array().unwrap().iter();
                let pairs = found.at(&[index]).unwrap().iter().zip(theirs);
                for (place, (ours, theirs)) in pairs.enumerate() {
                    let (ours, theirs) = (f64::from(*ours), theirs.as_f64().unwrap());
                    assert!(
                        (ours - theirs).abs() < TOLERANCE * theirs.abs().max(1.0),
                        "{name} {prompt} text {index} value {place}: {ours} and not {theirs}"
                    );
                }
            }
        }
    }
    last
}

one_test_each!(
    mean,
    cls_prompts,
    all_modes,
    decoder,
    activations,
    t5,
    t5_gated,
    t5_whole,
    mt5_whole
);

/// Vectors of texts are its encoder's; of states of tokens alone it says what its class of transformers wants, whether
/// or not it is loaded. As an encoder-decoder it goes on as before.
#[test]
fn a_whole_t5_embeds_and_writes() {
    let folder = fixture("sentence_transformers/t5_whole");
    let service = Service::new();
    let model = spec(ModelSource::new(folder.display().to_string()));
    let states = || PipelineCall::FeatureExtraction {
        inputs: vec!["Ada".to_owned()],
        options: FeatureOptions::default(),
    };
    let refused = |service: &Service| {
        let failure = run(service, &folder, states(), None).0.unwrap_err();
        let message = "gives no states of a text alone";
        assert!(failure.message.contains(message), "{failure}");
    };
    refused(&service);
    assert!(service.residents().is_empty());
    let load = Request::LoadPipeline {
        task: PipelineTask::Encoder(EncoderTask::FeatureExtraction),
        model: model.clone(),
    };
    ask(&service, load).0.unwrap();
    let call = embeddings(EmbeddingPrompt::Default);
    run(&service, &folder, call.clone(), None).0.unwrap();
    refused(&service);
    let request = Request::Generate {
        model,
        prompts: vec![Prompt::Text("Ada".to_owned())],
        config: GenerationConfig::default(),
        generation_config: None,
        stream: None,
        assistant: None,
    };
    ask(&service, request).0.unwrap();
    assert_eq!(service.residents().len(), 1);
    // What is no repository of sentence-transformers has the mean of its encoder's states.
    let bare = fixture("text2text/t5");
    let (answer, notices) = run(&service, &bare, call, None);
    answer.unwrap();
    let is_told = |line: &String| line.contains("is the mean of its last hidden states");
    assert!(notices.iter().any(is_told), "{notices:?}");
}

/// `feature-extraction` with an encoder of T5 alone, whose file has no decoder.
#[test]
fn states_of_a_t5_encoder() {
    let folder = fixture("sentence_transformers/t5");
    let cases = read("sentence_transformers/t5/cases.json");
    let call = PipelineCall::FeatureExtraction {
        inputs: serde_json::from_value(cases["inputs"].clone()).unwrap(),
        options: FeatureOptions::default(),
    };
    let service = Service::new();
    for batch_size in [None, Some(1)] {
        let (answer, notices) = run(&service, &folder, call.clone(), batch_size);
        compare(&plain(&answer.unwrap()), &cases["states"], "t5");
        assert!(notices.is_empty(), "{notices:?}");
    }
    let residents = service.residents();
    assert_eq!(
        Some(residents[0].info.memory_footprint),
        cases["footprint"].as_u64()
    );
}

fn embeddings(prompt: EmbeddingPrompt) -> PipelineCall {
    PipelineCall::Embeddings {
        inputs: vec!["Ada wrote it.".to_owned()],
        normalize: true,
        prompt,
    }
}

/// A copy of a repository with one of its files changed.
fn changed(name: &str, file: &str, change: impl Fn(&mut Value)) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_folder(
        &fixture(&format!("sentence_transformers/{name}")),
        copy.path(),
    );
    let path = copy.path().join(file);
    let mut value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
    copy
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            fs::create_dir(&target).unwrap();
            copy_folder(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// What is not known is named, and never passed over.
#[test]
fn what_is_not_known_is_named() {
    let set = |path: &'static str, value: Value| {
        move |json: &mut Value| *json.pointer_mut(path).unwrap() = value.clone()
    };
    let add = |key: &'static str, value: Value| move |json: &mut Value| json[key] = value.clone();
    let own = "sentence_transformers.models.";
    for (copy, message) in [
        (
            changed(
                "mean",
                "modules.json",
                set("/2/type", json!("custom.Whiten")),
            ),
            "the module `custom.Whiten` behind a `Pooling`",
        ),
        (
            changed(
                "mean",
                "modules.json",
                set("/1/type", json!(format!("{own}CNN"))),
            ),
            "the module `sentence_transformers.models.CNN` before a `Pooling`",
        ),
        (
            changed(
                "mean",
                "modules.json",
                set("/0/type", json!(format!("{own}BoW"))),
            ),
            "the module `sentence_transformers.models.BoW` in the place of the encoder",
        ),
        (
            changed(
                "mean",
                "modules.json",
                set("/0/path", json!("0_Transformer")),
            ),
            "the encoder in a folder of its own, `0_Transformer`",
        ),
        (
            changed(
                "mean",
                "modules.json",
                set("/1/path", json!("../1_Pooling")),
            ),
            "lies outside the repository",
        ),
        (
            changed(
                "mean",
                "1_Pooling/config.json",
                add("pooling_mode", json!("median")),
            ),
            "the mode `median`",
        ),
        (
            changed(
                "activations",
                "3_Dense/config.json",
                add(
                    "activation_function",
                    json!("torch.nn.modules.activation.Mish"),
                ),
            ),
            "the activation `torch.nn.modules.activation.Mish`",
        ),
        (
            changed(
                "cls_prompts",
                "sentence_bert_config.json",
                add("processing_kwargs", json!({"text": {"max_length": 8}})),
            ),
            "the `processing_kwargs` `text`",
        ),
        (
            changed(
                "cls_prompts",
                "config_sentence_transformers.json",
                add("model_type", json!("SparseEncoder")),
            ),
            "it is a `SparseEncoder`",
        ),
        (
            changed(
                "cls_prompts",
                "sentence_bert_config.json",
                add("transformer_task", json!("fill-mask")),
            ),
            "the `transformer_task` `fill-mask`",
        ),
    ] {
        assert_refused(copy.path(), message);
    }
}

#[test]
fn modules_that_are_no_list() {
    let copy = changed("mean", "modules.json", |json| *json = json!({}));
    assert_refused(copy.path(), "is no list of modules");
}

/// The states of its tokens are there all the same.
fn assert_refused(folder: &Path, message: &str) {
    let service = Service::new();
    let call = embeddings(EmbeddingPrompt::Default);
    let failure = run(&service, folder, call, None).0.unwrap_err();
    assert!(failure.message.contains(message), "{failure}");
    let states = PipelineCall::FeatureExtraction {
        inputs: vec!["Ada".to_owned()],
        options: FeatureOptions::default(),
    };
    run(&service, folder, states, None).0.unwrap();
}

#[test]
fn a_prompt_that_there_is_none_of() {
    let folder = fixture("sentence_transformers/cls_prompts");
    let call = embeddings(EmbeddingPrompt::Named("answer".to_owned()));
    let failure = run(&Service::new(), &folder, call, None).0.unwrap_err();
    assert_eq!(failure.kind, FailureKind::InvalidArgument);
    assert_eq!(failure.message, "there is no prompt of the name `answer`");
    let hint = failure.hint.unwrap();
    assert!(hint.contains("document, long, passage, query"), "{hint}");
}

/// Without a `modules.json` it is the mean, of a model that generates text the last token's state, and that is
/// told.
#[test]
fn a_bare_model_is_pooled_by_its_kind() {
    for (family, what) in [
        ("distilbert", "the mean of"),
        ("llama", "of its last token"),
    ] {
        let folder = fixture(&format!("pipelines/{family}_features"));
        let cases = read(&format!("sentence_transformers/bare_{family}.json"));
        let notices = check_cases(family, &folder, &cases);
        assert_eq!(notices.len(), 1, "{notices:?}");
        assert!(notices[0].contains("has no `modules.json`"), "{notices:?}");
        assert!(notices[0].contains(what), "{notices:?}");
    }
}

/// What is pooled is not guessed where its file is missing.
#[test]
fn a_missing_pooling_is_told() {
    let copy = changed("mean", "1_Pooling/config.json", |_| ());
    fs::remove_file(copy.path().join("1_Pooling/config.json")).unwrap();
    let (answer, _) = run(
        &Service::new(),
        copy.path(),
        embeddings(EmbeddingPrompt::Default),
        None,
    );
    let failure = answer.unwrap_err();
    assert!(
        failure.message.contains("config.json` is missing"),
        "{failure}"
    );
}
