//! Whole pipelines against transformers' (fixtures by `make_pipelines.py`): text in, results out, by the
//! service's door, in batches and one by one.

use engine::Service;
use serde_json::Value;
use wire::{
    Failure, FailureKind,
    host::{Event, Request, Response},
    model::{ModelSource, ModelSpec},
    pipeline::{
        Aggregation, Answer, AnswerOptions, ClassificationOptions, EncoderTask, EntityOptions,
        FeatureOptions, MaskOptions, PipelineAnswer, PipelineCall, PipelineRun, PipelineTask,
        Question, ZeroShotOptions,
    },
};

use crate::support::{ask, changed, fixture, json, one_test_each, run_pipeline, spec};

/// Largest difference of a score or a hidden state.
const TOLERANCE: f64 = 1e-4;

fn model(name: &str) -> ModelSpec {
    let folder = fixture(&format!("pipelines/{name}"));
    spec(ModelSource::new(folder.display().to_string()))
}

fn run(
    service: &Service,
    name: &str,
    call: PipelineCall,
    batch_size: Option<u32>,
) -> Result<PipelineAnswer, Failure> {
    run_pipeline(service, model(name), call, batch_size).0
}

/// Puts the long text where its name stands.
pub fn expand(value: &mut Value, long: &str) {
    match value {
        Value::String(text) if text == "@long" => long.clone_into(text),
        Value::Array(values) => values.iter_mut().for_each(|value| expand(value, long)),
        Value::Object(values) => values.values_mut().for_each(|value| expand(value, long)),
        _ => {}
    }
}

/// The answer as transformers writes it.
pub fn plain(answer: &PipelineAnswer) -> Value {
    match answer {
        PipelineAnswer::Labels(found) => serde_json::to_value(found),
        PipelineAnswer::Entities(found) => serde_json::to_value(found),
        PipelineAnswer::Answers(found) => {
            // The fixture leaves out those of no likelihood.
            let likely = found.iter().map(|own| {
                let own = own.iter().filter(|answer| answer.score > 1e-9);
                own.collect::<Vec<_>>()
            });
            serde_json::to_value(likely.collect::<Vec<_>>())
        }
        PipelineAnswer::Rankings(found) => serde_json::to_value(found),
        PipelineAnswer::Masks(found) => serde_json::to_value(found),
        PipelineAnswer::Features(found) => {
            let rows = found.iter().map(|array| {
                let width = array.shape()[1];
                let rows: Vec<&[f32]> = array.values().chunks(width).collect();
                // Of a long text the fixture has the ends.
                if rows.len() > 200 {
                    [&rows[..2], &rows[rows.len() - 2..]].concat()
                } else {
                    rows
                }
            });
            serde_json::to_value(rows.collect::<Vec<_>>())
        }
        PipelineAnswer::Texts(found) => serde_json::to_value(found),
        PipelineAnswer::Generations(found) => serde_json::to_value(found),
        PipelineAnswer::Embeddings(found) => serde_json::to_value(found),
    }
    .unwrap()
}

/// Fails where the two differ, numbers that are not whole by more than the tolerance.
pub fn compare(ours: &Value, theirs: &Value, place: &str) {
    match (ours, theirs) {
        (Value::Number(a), Value::Number(b)) if a.is_f64() || b.is_f64() => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            assert!((a - b).abs() < TOLERANCE, "{place}: {a} and not {b}");
        }
        (Value::Array(a), Value::Array(b)) => {
            assert_eq!(
                a.len(),
                b.len(),
                "{place}: {ours:.300}\nand not\n{theirs:.300}"
            );
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                compare(a, b, &format!("{place}[{index}]"));
            }
        }
        (Value::Object(a), Value::Object(b)) => {
            let keys: Vec<_> = a.keys().filter(|key| !b.contains_key(*key)).collect();
            assert!(keys.is_empty(), "{place}: {keys:?} are not transformers'");
            for (key, b) in b {
                let a = a.get(key).unwrap_or(&Value::Null);
                compare(a, b, &format!("{place}.{key}"));
            }
        }
        (a, b) => assert_eq!(a, b, "{place}"),
    }
}

fn check(name: &str) {
    check_cases(
        &format!("pipelines/{name}"),
        &[None, Some(1), Some(3)],
        plain,
    );
}

/// Every call of a checkpoint's cases, in batches of each of these sizes; `shown` gives an answer as the
/// fixture has it.
pub fn check_cases(
    folder: &str,
    batch_sizes: &[Option<u32>],
    shown: impl Fn(&PipelineAnswer) -> Value,
) {
    let cases = json(&format!("{folder}/cases.json"));
    let long = cases["long"].as_str().unwrap();
    let model = spec(ModelSource::new(fixture(folder).display().to_string()));
    let service = Service::new();
    for case in cases["cases"].as_array().unwrap() {
        let (mut call, mut output) = (case["call"].clone(), case["output"].clone());
        let place = format!("{folder} {:.260}", call.to_string());
        expand(&mut call, long);
        expand(&mut output, long);
        let call: PipelineCall = serde_json::from_value(call).unwrap();
        for batch_size in batch_sizes {
            let answer = run_pipeline(&service, model.clone(), call.clone(), *batch_size);
            compare(&shown(&answer.0.unwrap()), &output, &place);
        }
    }
    assert_eq!(service.residents().len(), 1, "the model stays");
}

one_test_each!(
    distilbert_labels,
    bert_multi_label,
    roberta_regression,
    bert_single,
    bert_entities,
    roberta_entities,
    distilbert_answers,
    roberta_answers,
    bert_nli,
    roberta_nli,
    bert_masks,
    roberta_masks,
    distilbert_features,
    bert_all_scores,
    bert_words,
    xlm_answers,
    xlm_entities,
    xlm_masks,
    xlm_words,
    bert_pairs,
    roberta_pairs,
    bert_left_answers,
    albert_entities,
    albert_answers,
    electra_answers,
    deberta_v2_entities,
    deberta_v2_masks,
    deberta_v3_labels,
    deberta_v3_answers,
    deberta_v3_nli,
    modernbert_labels,
    modernbert_entities,
    modernbert_masks,
    mpnet_labels,
    mpnet_answers,
    mpnet_masks,
    electra_entities,
    bert_several_masks,
    gpt2_features,
    llama_features,
    bart_features,
    mbart_features,
    distilbert_edges,
);

fn failure(name: &str, call: PipelineCall) -> Failure {
    run(&Service::new(), name, call, None).unwrap_err()
}

#[test]
fn a_model_without_the_head() {
    let call = PipelineCall::FillMask {
        inputs: vec!["[MASK]".to_owned()],
        options: MaskOptions::default(),
    };
    let failure = failure("bert_entities", call);
    assert_eq!(failure.kind, FailureKind::InvalidArgument);
    assert!(
        failure.message.contains(
            "it has the head of a model `ForTokenClassification`, the task needs that of a model `ForMaskedLM`"
        ),
        "{failure}"
    );
}

#[test]
fn a_text_that_is_too_long() {
    let call = PipelineCall::TextClassification {
        inputs: vec!["bridges ".repeat(900).into()],
        options: ClassificationOptions::default(),
    };
    let failure = failure("distilbert_labels", call);
    assert!(failure.message.contains("reads 512 at most"), "{failure}");
    assert!(failure.hint.unwrap().contains("truncation(true)"));
}

#[test]
fn what_cannot_be_run() {
    let question = |question: &str, options| PipelineCall::QuestionAnswering {
        inputs: vec![Question {
            question: question.to_owned(),
            context: "London".to_owned(),
        }],
        options,
    };
    let zero = AnswerOptions {
        top_k: 0,
        ..AnswerOptions::default()
    };
    let no_labels = PipelineCall::ZeroShotClassification {
        inputs: vec!["London".to_owned()],
        options: ZeroShotOptions::default(),
    };
    let no_mask = PipelineCall::FillMask {
        inputs: vec!["London".to_owned()],
        options: MaskOptions::default(),
    };
    for (name, call, message) in [
        (
            "distilbert_answers",
            question("", AnswerOptions::default()),
            "the question is empty",
        ),
        ("distilbert_answers", question("Who?", zero), "`top_k` is 0"),
        ("bert_nli", no_labels, "there is no candidate label"),
        (
            "bert_masks",
            no_mask,
            "No mask_token ([MASK]) found on the input \"London\"",
        ),
    ] {
        assert_eq!(failure(name, call).message, message);
    }
}

fn run_copy(copy: &tempfile::TempDir, call: PipelineCall) -> Result<PipelineAnswer, Failure> {
    let model = spec(ModelSource::new(copy.path().display().to_string()));
    run_pipeline(&Service::new(), model, call, None).0
}

/// A fixture with another `tokenizer.json`.
fn with_tokenizer(name: &str, change: impl Fn(&mut Value)) -> tempfile::TempDir {
    let copy = changed(&format!("pipelines/{name}"), |config| {
        config["model_input_names"] = serde_json::json!(["input_ids", "token_type_ids"]);
    });
    let path = copy.path().join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut tokenizer);
    std::fs::write(path, tokenizer.to_string()).unwrap();
    copy
}

/// Tokens and types that the model has no vectors of were told by the row of a matrix.
#[test]
fn tokens_beyond_the_tables_of_a_model() {
    let labels = |input| PipelineCall::TextClassification {
        inputs: vec![input],
        options: ClassificationOptions::default(),
    };
    let copy = with_tokenizer("bert_single", |tokenizer| {
        tokenizer["model"]["vocab"]["london"] = 100_000.into();
    });
    let failure = run_copy(&copy, labels("london".into())).unwrap_err();
    let message = &failure.message;
    assert!(
        message.starts_with("the token `london` has the id 100000"),
        "{failure}"
    );
    assert!(message.contains("its `vocab_size` is "), "{failure}");
    assert!(failure.hint.unwrap().contains("resize_token_embeddings"));
    let copy = with_tokenizer("roberta_pairs", |tokenizer| {
        let part = |id: &str, of: u8| serde_json::json!({"Sequence": {"id": id, "type_id": of}});
        tokenizer["post_processor"] = serde_json::json!({
            "type": "TemplateProcessing",
            "single": [part("A", 0)],
            "pair": [part("A", 0), part("B", 1)],
            "special_tokens": {},
        });
    });
    let failure = run_copy(&copy, labels(("London", "Ada").into())).unwrap_err();
    assert!(
        failure.message.starts_with("the text has tokens of type 1")
            && failure.message.ends_with("its `type_vocab_size` is 1"),
        "{failure}"
    );
}

/// transformers' tokenizers of these classes refuse words where no blank is put before the first one, and
/// begin each with one where it is.
#[test]
fn words_without_a_prefix_space() {
    let call = PipelineCall::TokenClassification {
        inputs: vec!["Kim of Seoul".to_owned()],
        options: EntityOptions {
            words: vec![["Kim", "of", "Seoul"].map(str::to_owned).to_vec()],
            ..EntityOptions::default()
        },
    };
    let failure = failure("roberta_entities", call);
    assert_eq!(
        failure.message,
        "a `RobertaTokenizer` takes words with `add_prefix_space` alone, which is not set"
    );
    let copy = changed("pipelines/roberta_entities", |config| {
        config["add_prefix_space"] = true.into();
    });
    for case in json("pipelines/words_prefixed.json")["cases"]
        .as_array()
        .unwrap()
    {
        let call = serde_json::from_value(case["call"].clone()).unwrap();
        let answer = run_copy(&copy, call).unwrap();
        let place = format!("{:.260}", case["call"].to_string());
        compare(&plain(&answer), &case["output"], &place);
    }
}

/// Hints name what the task can be told, not what its tokenizer can.
#[test]
fn hints_are_of_the_own_arguments() {
    let question = |question: &str, (length, stride)| PipelineCall::QuestionAnswering {
        inputs: vec![Question {
            question: question.to_owned(),
            context: "London ".repeat(90),
        }],
        options: AnswerOptions {
            max_seq_len: Some(length),
            doc_stride: stride,
            ..AnswerOptions::default()
        },
    };
    let entities = PipelineCall::TokenClassification {
        inputs: vec!["London ".repeat(900)],
        options: EntityOptions {
            aggregation_strategy: Some(Aggregation::Simple),
            stride: Some(511),
            ..EntityOptions::default()
        },
    };
    for (name, call, hint) in [
        (
            "distilbert_answers",
            question(&"Who? ".repeat(60), (40, None)),
            "shorten the question, or raise `max_seq_len`",
        ),
        (
            "distilbert_answers",
            question("Who?", (20, Some(18))),
            "lower `doc_stride`, or raise `max_seq_len`",
        ),
        ("bert_entities", entities, "lower `stride`"),
    ] {
        let failure = failure(name, call);
        assert_eq!(failure.hint.as_deref(), Some(hint), "{failure}");
    }
}

/// BART loads for labels alone, and was told to take BART.
#[test]
fn an_encoder_decoder_without_the_head() {
    let bart = spec(ModelSource::new(
        fixture("seq2seq/bart").display().to_string(),
    ));
    let task = PipelineTask::Encoder(EncoderTask::QuestionAnswering);
    let (answer, _) = ask(&Service::new(), Request::LoadPipeline { task, model: bart });
    let failure = answer.unwrap_err();
    assert!(
        failure.message.ends_with(
            "architecture `bart` is supported there as a model `ForSequenceClassification` alone"
        ),
        "{failure}"
    );
    assert!(!failure.hint.unwrap().contains("bart"));
}

/// An encoder continues no text, a decoder has no head: both say so, and name what would do.
#[test]
fn encoders_and_decoders_are_told_apart() {
    let service = Service::new();
    let (answer, _) = ask(&service, Request::LoadModel(model("bert_masks")));
    assert!(
        answer
            .unwrap_err()
            .message
            .contains("is an encoder, which continues no text")
    );
    let decoder = spec(ModelSource::new(
        fixture("families/qwen2").display().to_string(),
    ));
    let task = PipelineTask::Encoder(EncoderTask::TextClassification);
    let (answer, _) = ask(
        &service,
        Request::LoadPipeline {
            task,
            model: decoder,
        },
    );
    let failure = answer.unwrap_err();
    assert!(
        failure.message.contains("architecture `qwen2`"),
        "{failure}"
    );
    assert!(failure.hint.unwrap().contains("distilbert"));
    assert!(service.residents().is_empty());
    let task = PipelineTask::Encoder(EncoderTask::FillMask);
    let load = Request::LoadPipeline {
        task,
        model: model("bert_masks"),
    };
    for was_resident in [false, true] {
        let (Ok(Response::Model(info)), _) = ask(&service, load.clone()) else {
            panic!("it loads");
        };
        assert_eq!(
            (info.architecture.as_str(), info.was_resident),
            ("bert", was_resident)
        );
    }
    let (answer, _) = ask(&service, Request::LoadModel(model("bert_masks")));
    assert!(answer.unwrap_err().message.contains("is an encoder"));
}

/// Where `architectures` is missing, the heads are found by their weights: transformers takes the class that
/// the task asks for.
#[test]
fn heads_without_a_name() {
    for name in [
        "bert_entities",
        "bert_multi_label",
        "bert_masks",
        "distilbert_labels",
        "distilbert_answers",
        "roberta_entities",
        "roberta_nli",
        "albert_entities",
        "electra_entities",
        "mpnet_labels",
        "deberta_v2_entities",
        "deberta_v3_labels",
        "modernbert_labels",
        "modernbert_entities",
    ] {
        let copy = changed(&format!("pipelines/{name}"), |_| {});
        let path = copy.path().join("config.json");
        let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert!(
            config
                .as_object_mut()
                .unwrap()
                .remove("architectures")
                .is_some()
        );
        std::fs::write(path, config.to_string()).unwrap();
        let fixture = json(&format!("pipelines/{name}/cases.json"));
        let mut case = fixture["cases"][0].clone();
        expand(&mut case, fixture["long"].as_str().unwrap());
        let request = Request::RunPipeline(PipelineRun {
            model: spec(ModelSource::new(copy.path().display().to_string())),
            tokenizer: None,
            call: serde_json::from_value(case["call"].clone()).unwrap(),
            batch_size: None,
            stream: None,
            assistant: None,
        });
        let Response::Pipeline(answer) = ask(&Service::new(), request).0.unwrap() else {
            panic!("a pipeline answers");
        };
        compare(&plain(&answer), &case["output"], name);
    }
}

/// The decoder of T5 is to be told what it reads: transformers' pipeline fails there too.
#[test]
fn an_encoder_decoder_without_states_of_a_text() {
    for name in ["t5", "marian", "pegasus", "m2m100"] {
        let source = ModelSource::new(fixture(&format!("text2text/{name}")).display().to_string());
        let call = PipelineCall::FeatureExtraction {
            inputs: vec!["London".to_owned()],
            options: FeatureOptions::default(),
        };
        let request = Request::RunPipeline(PipelineRun {
            model: spec(source),
            tokenizer: None,
            call,
            batch_size: None,
            stream: None,
            assistant: None,
        });
        let failure = ask(&Service::new(), request).0.unwrap_err();
        assert!(
            failure.message.contains("gives no states of a text alone"),
            "{failure}"
        );
    }
}

/// Where `top_k` is more than there are pairs of tokens, every pair of which neither is masked is an answer.
#[test]
fn answers_fill_up() {
    let fixture = json("pipelines/answers_filled.json");
    let service = Service::new();
    let mut filled = 0;
    for case in fixture["cases"].as_array().unwrap() {
        let name = case["checkpoint"].as_str().unwrap();
        let place = format!("{name} {:.200}", case["call"].to_string());
        let call: PipelineCall = serde_json::from_value(case["call"].clone()).unwrap();
        let context = call_context(&call);
        let PipelineAnswer::Answers(mut found) = run(&service, name, call, None).unwrap() else {
            panic!("answers");
        };
        let found = found.remove(0);
        let (likely, others): (Vec<&Answer>, Vec<&Answer>) =
            found.iter().partition(|answer| answer.score > 1e-6);
        compare(
            &serde_json::to_value(likely).unwrap(),
            &case["likely"],
            &place,
        );
        let mut texts: Vec<String> = Vec::new();
        for other in others {
            let (start, end) = (other.start as usize, other.end as usize);
            let own = context.get(start..end).unwrap_or_default();
            assert_eq!(other.answer, own.iter().collect::<String>(), "{place}");
            texts.push(other.answer.to_lowercase());
        }
        texts.sort_unstable();
        filled += texts.len();
        let expected: Vec<String> = serde_json::from_value(case["others"].clone()).unwrap();
        assert_eq!(texts, expected, "{place}");
    }
    assert!(filled > 500, "{filled} answers fill up");
}

fn call_context(call: &PipelineCall) -> Vec<char> {
    let PipelineCall::QuestionAnswering { inputs, .. } = call else {
        panic!("a question");
    };
    inputs[0].context.chars().collect()
}

/// With too few pairs it fills up to the number that was asked for, not further.
#[test]
fn answers_fill_up_to_top_k() {
    let service = Service::new();
    let question = |align_to_words, top_k| PipelineCall::QuestionAnswering {
        inputs: vec![Question {
            question: "Who?".to_owned(),
            context: "Ada Lovelace met Kim Minsu in London.".to_owned(),
        }],
        options: AnswerOptions {
            top_k,
            align_to_words,
            max_answer_len: 1,
            ..AnswerOptions::default()
        },
    };
    for (align_to_words, top_k) in [(true, 3), (true, 20), (false, 20)] {
        let call = question(align_to_words, top_k);
        let answer = run(&service, "distilbert_answers", call, None).unwrap();
        let PipelineAnswer::Answers(found) = answer else {
            panic!("answers");
        };
        let scores: Vec<f64> = found[0].iter().map(|answer| answer.score).collect();
        assert!(scores.len() <= top_k as usize);
        assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
        assert_eq!(top_k == 20, scores.contains(&0.0), "{scores:?}");
    }
}

/// transformers gives `{'score': 0.0, 'start': 0, 'end': 0, 'answer': ''}` there.
#[test]
fn a_context_without_an_answer_has_an_empty_one() {
    let service = Service::new();
    for name in ["distilbert_answers", "roberta_answers", "xlm_answers"] {
        for (top_k, context) in [(1, "   "), (5, "\n\n"), (500, "London")] {
            let call = PipelineCall::QuestionAnswering {
                inputs: vec![Question {
                    question: "Who?".to_owned(),
                    context: context.to_owned(),
                }],
                options: AnswerOptions {
                    top_k,
                    ..AnswerOptions::default()
                },
            };
            let PipelineAnswer::Answers(found) = run(&service, name, call, None).unwrap() else {
                panic!("answers");
            };
            let first = &found[0][0];
            if context == "London" {
                assert!(first.score > 0.0, "{name}: {found:?}");
            } else if name == "distilbert_answers" {
                assert_eq!((first.score, first.start, first.end), (0.0, 0, 0));
                assert_eq!((first.answer.as_str(), found[0].len()), ("", 1));
            }
        }
    }
}

/// What transformers warns of, its user is told once; and what a task does not have is not advised.
#[test]
fn what_looks_odd_is_told() {
    let service = Service::new();
    let notices = |model: ModelSpec, call: PipelineCall| {
        let request = Request::RunPipeline(PipelineRun {
            model,
            tokenizer: None,
            call,
            batch_size: None,
            stream: None,
            assistant: None,
        });
        let (answer, events) = ask(&service, request);
        answer.unwrap();
        let notices = events.into_iter().filter_map(|event| match event {
            Event::Notice(notice) => Some(notice),
            _ => None,
        });
        notices.collect::<Vec<_>>()
    };
    let copy = changed("pipelines/distilbert_features", |config| {
        config["model_max_length"] = 8.into();
    });
    let short = spec(ModelSource::new(copy.path().display().to_string()));
    let features = |truncation| PipelineCall::FeatureExtraction {
        inputs: vec!["Ada wrote the first program in London. ".repeat(3); 2],
        options: FeatureOptions {
            truncation,
            ..FeatureOptions::default()
        },
    };
    let told = notices(short.clone(), features(false));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("longer than the specified maximum"),
        "{told:?}"
    );
    assert_eq!(notices(short, features(true)), Vec::<String>::new());
    let entities = |strategy| PipelineCall::TokenClassification {
        inputs: vec!["Kim Minsu of Seoul".to_owned()],
        options: EntityOptions {
            aggregation_strategy: Some(strategy),
            ..EntityOptions::default()
        },
    };
    let told = notices(model("roberta_entities"), entities(Aggregation::First));
    assert_eq!(
        told,
        ["Tokenizer does not support real words, using fallback heuristic"]
    );
    for (name, strategy) in [
        ("roberta_entities", Aggregation::Simple),
        ("bert_entities", Aggregation::First),
    ] {
        assert!(notices(model(name), entities(strategy)).is_empty());
    }
    let long = PipelineCall::QuestionAnswering {
        inputs: vec![Question {
            question: "Who?".to_owned(),
            context: "London ".repeat(900),
        }],
        options: AnswerOptions {
            max_seq_len: Some(600),
            ..AnswerOptions::default()
        },
    };
    let failure = failure("distilbert_answers", long);
    assert_eq!(failure.hint.as_deref(), Some("lower `max_seq_len`"));
}
