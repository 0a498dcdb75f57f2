//! The embedded encoder's real weights against transformers (fixture by `make_sentences.py`): embeddings,
//! and the embedded sentiment model's labels.

use engine::Service;
use wire::{
    Failure, FailureKind,
    embedded::{SENTENCE_ENCODER, SENTIMENT_REPO},
    host::{Event, Request, Response},
    model::ModelSource,
    pipeline::{
        ClassificationOptions, EmbeddingPrompt, EncoderTask, PipelineAnswer, PipelineCall,
        PipelineRun, PipelineTask, TopK,
    },
};

use crate::support::{ask, json, spec};

/// Largest difference of a value of an embedding, and of a score.
const TOLERANCE: f64 = 1e-4;

fn run(
    model: &str,
    call: PipelineCall,
    batch_size: Option<u32>,
) -> (Result<PipelineAnswer, Failure>, Vec<Event>) {
    let request = Request::RunPipeline(PipelineRun {
        model: spec(ModelSource::new(model)),
        tokenizer: None,
        call,
        batch_size,
        stream: None,
        assistant: None,
    });
    let (answer, events) = ask(&Service::new(), request);
    let answer = answer.map(|response| match response {
        Response::Pipeline(answer) => answer,
        other => panic!("{other:?}"),
    });
    (answer, events)
}

fn sentences() -> Vec<serde_json::Value> {
    json("sentences.json")["sentences"]
        .as_array()
        .unwrap()
        .clone()
}

fn texts() -> Vec<String> {
    let texts = sentences();
    texts
        .iter()
        .map(|one| one["text"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn embeddings_are_those_of_transformers() {
    for batch_size in [None, Some(1)] {
        let call = PipelineCall::Embeddings {
            inputs: texts(),
            normalize: true,
            prompt: EmbeddingPrompt::Default,
        };
        let (answer, events) = run(SENTENCE_ENCODER.repo, call, batch_size);
        let PipelineAnswer::Embeddings(found) = answer.unwrap() else {
            panic!("embeddings are answered");
        };
        assert_eq!(found.shape(), [texts().len(), 384]);
        for (index, one) in sentences().iter().enumerate() {
            let expected = one["embedding"].as_array().unwrap();
            for (ours, theirs) in found.at(&[index]).unwrap().iter().zip(expected) {
                let error = (f64::from(*ours) - theirs.as_f64().unwrap()).abs();
                assert!(error < TOLERANCE, "{}: {error}", one["text"]);
            }
        }
        let told = events.iter().any(
            |event| matches!(event, Event::Notice(notice) if notice.contains("set-up installed")),
        );
        assert!(told, "that it is a copy is told");
    }
}

#[test]
fn sentiments_are_those_of_the_trained_head() {
    let call = PipelineCall::TextClassification {
        inputs: texts().iter().map(Into::into).collect(),
        options: ClassificationOptions {
            top_k: TopK::All,
            truncation: true,
            ..ClassificationOptions::default()
        },
    };
    let (answer, _) = run(SENTIMENT_REPO, call, None);
    let PipelineAnswer::Labels(found) = answer.unwrap() else {
        panic!("labels are answered");
    };
    for (labels, one) in found.iter().zip(sentences()) {
        assert_eq!(labels[0].label, one["label"].as_str().unwrap());
        let error = (labels[0].score - one["score"].as_f64().unwrap()).abs();
        assert!(error < TOLERANCE, "{}: {error}", one["text"]);
        assert!((labels[0].score + labels[1].score - 1.0).abs() < 1e-6);
    }
}

/// The head is for sentiments alone, and the name stands for one model.
#[test]
fn the_sentiment_model_is_nothing_else() {
    let task = PipelineTask::Encoder(EncoderTask::FillMask);
    let model = spec(ModelSource::new(SENTIMENT_REPO));
    let (answer, _) = ask(&Service::new(), Request::LoadPipeline { task, model });
    assert!(answer.unwrap_err().message.contains("ForMaskedLM"));
    let mut source = ModelSource::new(SENTIMENT_REPO);
    source.revision = Some("v2".to_owned());
    let task = PipelineTask::Encoder(EncoderTask::TextClassification);
    let model = spec(source);
    let (answer, _) = ask(&Service::new(), Request::LoadPipeline { task, model });
    assert_eq!(answer.unwrap_err().kind, FailureKind::InvalidArgument);
}
