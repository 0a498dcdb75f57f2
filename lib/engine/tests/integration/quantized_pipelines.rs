//! Encoders and encoder-decoders that are quantised, against transformers with bitsandbytes (fixtures by
//! `make_bitsandbytes_pipelines.py`): which layers, footprints, logits, files, and whole pipelines.

use std::collections::BTreeMap;

use candle_core::IndexOp;
use engine::{
    Cancel, Service,
    bitsandbytes::{Plan, footprint, save},
    encoders::{self, Encoder, HeadKind, Row, TextEncoder},
    families::{CausalLm, SourceReader},
    seq2seq::{self, Classifier, Kind, Seq2Seq},
    weights::{LoadedPart, Loader, Weights},
};
use serde_json::{Value, json};
use wire::{
    host::{Request, Response},
    model::{DType, GgmlType, ModelInfo, ModelSource, ModelSpec, Quantization, QuantizationMethod},
    pipeline::{EncoderTask, PipelineAnswer, PipelineCall, PipelineTask},
};

use crate::{
    bitsandbytes::{ROUNDED_TOLERANCE, TOLERANCE, assert_saved, open, quantization},
    pipelines::{compare, plain},
    support::{ask, fixture, ids, json as read, run_pipeline, spec},
};

/// A checkpoint of its folder, whichever that is.
fn checkpoint(name: &str) -> Weights {
    let folders = ["encoders", "seq2seq"].map(|folder| fixture(&format!("{folder}/{name}")));
    let folder = folders.iter().find(|folder| folder.is_dir()).unwrap();
    let mut weights = open(folder);
    encoders::rename(&mut weights);
    weights
}

/// A model of any kind.
enum Model {
    Encoder(Encoder),
    Classifier(Classifier),
    Writer(Seq2Seq),
}

/// A model, and the layers that it was built of.
fn load(weights: &Weights, plan: &Plan) -> (Model, BTreeMap<String, LoadedPart>) {
    let (cancel, mut sink) = (Cancel::new(), |_| {});
    let loader = Loader::new(weights, "tiny", &cancel, &mut sink);
    let mut loader = loader.with_plan(Some(plan));
    let model = match seq2seq::kind(weights) {
        None => Model::Encoder(encoders::build(weights, &mut loader).unwrap()),
        Some(Kind::Classifier) => {
            Model::Classifier(Classifier::build(weights, &mut loader).unwrap())
        }
        Some(_) => Model::Writer(seq2seq::build(weights, &mut loader).unwrap()),
    };
    (model, loader.parts().clone())
}

fn plan(weights: &Weights, config: &Value, dtype: Option<DType>) -> Plan {
    let plan = Plan::new(Some(&quantization(config)), dtype, weights);
    plan.unwrap().unwrap()
}

/// The layers that become `Linear4bit`, and bytes by `get_memory_footprint`, of every architecture and head.
#[test]
fn layers_and_footprints_are_transformers() {
    let fixture = read("bitsandbytes/classes.json");
    let (nf4, int8) = (
        json!({"load_in_4bit": true, "bnb_4bit_quant_type": "nf4"}),
        json!({"load_in_8bit": true}),
    );
    for (name, class) in fixture["classes"].as_object().unwrap() {
        let weights = checkpoint(name);
        let bytes = |key: &str| class[key].as_u64();
        assert_eq!(Some(footprint(&weights, None)), bytes("plain"), "{name}");
        for (key, config, dtype) in [
            ("nf4", &nf4, None),
            ("nf4_f32", &nf4, Some(DType::F32)),
            ("int8", &int8, None),
        ] {
            let plan = plan(&weights, config, dtype);
            let got = footprint(&weights, Some(&plan));
            assert_eq!(Some(got), bytes(key), "{name} {key}");
        }
        let (_, parts) = load(&weights, &plan(&weights, &nf4, None));
        let quantized = parts
            .iter()
            .filter(|(_, part)| part.class == "Linear4bit")
            .map(|(name, _)| name.clone());
        let mut expected: Vec<String> = serde_json::from_value(class["quantized"].clone()).unwrap();
        expected.sort_unstable();
        assert_eq!(quantized.collect::<Vec<_>>(), expected, "{name}");
    }
}

/// Products are rounded to 16 bits, or an activation lies so close to a low threshold that the last bit of a
/// sum decides on which side.
fn tolerance(config: &Value) -> f32 {
    let is_rounded = config["bnb_4bit_compute_dtype"].is_string();
    if is_rounded || config["llm_int8_threshold"].is_number() {
        ROUNDED_TOLERANCE
    } else {
        TOLERANCE
    }
}

/// Of each row by itself: of a head for sequences its output, else the last token's.
fn outputs(model: &dyn TextEncoder, rows: &Value) -> Vec<Vec<f32>> {
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| {
        let (ids, types) = (ids(&row["ids"]), ids(&row["token_types"]));
        let row = [Row {
            ids: &ids,
            token_types: &types,
        }];
        let states = model.hidden_states(&row).unwrap();
        let states = match model.head() {
            Some(HeadKind::Sequence) => model.pooled(&states, &row).unwrap(),
            _ => states,
        };
        let outputs = match model.head() {
            Some(kind) => model.logits(kind, &states).unwrap(),
            None => states,
        };
        let last = outputs.dim(1).unwrap() - 1;
        outputs.i((0, last)).unwrap().to_vec1().unwrap()
    })
    .collect()
}

fn distance(ours: &[Vec<f32>], theirs: &Value) -> f32 {
    let theirs: Vec<Vec<f32>> = serde_json::from_value(theirs.clone()).unwrap();
    assert_eq!(ours.len(), theirs.len());
    let pairs = ours.iter().flatten().zip(theirs.iter().flatten());
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
#[expect(
    clippy::print_stdout,
    reason = "the measured errors, for whoever asks with --nocapture"
)]
fn encoders_answer_as_transformers() {
    let fixture = read("bitsandbytes/encoders.json");
    for (case, expected) in fixture["cases"].as_object().unwrap() {
        let (name, way) = case.split_once('/').unwrap();
        let (weights, config) = (checkpoint(name), &fixture["ways"][way]);
        let (model, _) = load(&weights, &plan(&weights, config, Some(DType::F32)));
        let Model::Encoder(model) = model else {
            panic!("{name} is an encoder");
        };
        let rows = &read(&format!("encoders/{name}/expected.json"))["rows"];
        let error = distance(&outputs(&model, rows), expected);
        println!("{case}: within {error:e}");
        assert!(error < tolerance(config), "{case}: {error}");
        assert_eq!(model.mixes_tokens(), way.starts_with("int8"), "{case}");
    }
}

#[test]
#[expect(
    clippy::print_stdout,
    reason = "the measured errors, for whoever asks with --nocapture"
)]
fn encoder_decoders_answer_as_transformers() {
    let fixture = read("bitsandbytes/seq2seq.json");
    for (case, theirs) in fixture["cases"].as_object().unwrap() {
        let (name, way) = case.split_once('/').unwrap();
        let (weights, config) = (checkpoint(name), &fixture["ways"][way]);
        let (model, _) = load(&weights, &plan(&weights, config, Some(DType::F32)));
        let expected = read(&format!("seq2seq/{name}/expected.json"));
        let sources = expected["sources"].as_array().unwrap();
        for (source, theirs) in sources.iter().zip(theirs.as_array().unwrap()) {
            let ours = match &model {
                Model::Writer(model) => target_logits(model, &ids(source), &expected["target"]),
                Model::Classifier(model) => {
                    let types = vec![0; ids(source).len()];
                    outputs(model, &json!([{"ids": source, "token_types": types}]))
                }
                Model::Encoder(_) => panic!("{name} has a decoder"),
            };
            let error = distance(&ours, theirs);
            println!("{case}: within {error:e}");
            assert!(error < tolerance(config), "{case}: {error}");
        }
    }
}

/// Of the target's first token and its last.
fn target_logits(model: &Seq2Seq, source: &[u32], target: &Value) -> Vec<Vec<f32>> {
    let memory = model.memory(&[source]).unwrap();
    let mut cache = model.new_cache().about(memory).unwrap();
    let states = model.hidden_states(&ids(target), &mut cache).unwrap();
    let logits = model.logits(&states).unwrap().squeeze(0).unwrap();
    let logits: Vec<Vec<f32>> = logits.to_vec2().unwrap();
    vec![logits[0].clone(), logits[logits.len() - 1].clone()]
}

/// Checkpoints that transformers saved, and what is saved of a model that was quantised here.
#[test]
fn saved_ones_load_and_are_saved_as_by_transformers() {
    let classes = read("bitsandbytes/classes.json");
    for (name, way) in [
        ("bert_sequence", "nf4_double"),
        ("distilbert_masked", "int8"),
        ("t5", "nf4"),
        ("bart", "fp4"),
    ] {
        let kind = if name.contains('_') {
            "encoders"
        } else {
            "seq2seq"
        };
        let fixture_of_kind = read(&format!("bitsandbytes/{kind}.json"));
        let config = &fixture_of_kind["ways"][way];
        let stored = open(&fixture(&format!("bitsandbytes/saved/{name}")));
        let own = Plan::new(None, Some(DType::F32), &stored).unwrap().unwrap();
        assert!(own.stored, "{name}");
        let weights = checkpoint(name);
        let made = plan(&weights, config, Some(DType::F32));
        let expected = read(&format!("{kind}/{name}/expected.json"));
        let answers = |(model, _): (Model, _)| match model {
            Model::Encoder(model) => outputs(&model, &expected["rows"]),
            Model::Writer(model) => {
                target_logits(&model, &ids(&expected["sources"][0]), &expected["target"])
            }
            Model::Classifier(_) => panic!("{name} labels nothing"),
        };
        assert_eq!(
            answers(load(&stored, &own)),
            answers(load(&weights, &made)),
            "{name}"
        );
        assert_eq!(
            footprint(&stored, Some(&own)),
            footprint(&weights, Some(&made)),
            "{name}"
        );
        // Without a type the rest is f16.
        let half = Plan::new(None, None, &stored).unwrap().unwrap();
        if way == "nf4" {
            let expected = classes["classes"][name]["nf4"].as_u64();
            assert_eq!(Some(footprint(&stored, Some(&half))), expected, "{name}");
        }
        let folder = tempfile::tempdir().unwrap();
        let (cancel, mut sink) = (Cancel::new(), |_| {});
        let mut loader = Loader::new(&weights, "tiny", &cancel, &mut sink);
        save(&weights, &made, &mut loader, folder.path()).unwrap();
        assert_saved(folder.path(), name);
    }
}

fn quantized(folder: &str, config: &Value) -> ModelSpec {
    ModelSpec {
        quantization: Some(quantization(config)),
        auto_dtype: true,
        ..spec(ModelSource::new(fixture(folder).display().to_string()))
    }
}

fn loaded(service: &Service, task: PipelineTask, model: ModelSpec) -> ModelInfo {
    match ask(service, Request::LoadPipeline { task, model }).0 {
        Ok(Response::Model(info)) => info,
        other => panic!("{other:?}"),
    }
}

/// The call of a pipeline on one input.
fn call(case: &Value) -> PipelineCall {
    let (input, arguments) = (&case["input"], &case["arguments"]);
    let call = match case["task"].as_str().unwrap() {
        "token-classification" => {
            json!({"TokenClassification": {"inputs": [input], "options": {}}})
        }
        "text-classification" => json!({"TextClassification": {
            "inputs": [{"text": input, "pair": null}], "options": {"top_k": {"Some": arguments["top_k"]}},
        }}),
        "question-answering" => json!({"QuestionAnswering": {
            "inputs": [{"question": input[0], "context": input[1]}], "options": {},
        }}),
        "fill-mask" => json!({"FillMask": {"inputs": [input], "options": {}}}),
        "zero-shot-classification" => {
            json!({"ZeroShotClassification": {"inputs": [input], "options": arguments}})
        }
        "feature-extraction" => json!({"FeatureExtraction": {"inputs": [input], "options": {}}}),
        task => {
            let task = if task == "summarization" {
                "Summarization"
            } else {
                "Text2TextGeneration"
            };
            let options = json!({"task": task, "generation": arguments});
            json!({"Text2Text": {"inputs": [input], "options": options}})
        }
    };
    serde_json::from_value(call).unwrap()
}

/// An answer as transformers writes it of one input.
fn written(answer: &PipelineAnswer) -> Value {
    match answer {
        PipelineAnswer::Texts(found) => json!([found[0][0].text]),
        PipelineAnswer::Masks(_) | PipelineAnswer::Answers(_) => plain(answer)[0][0].clone(),
        PipelineAnswer::Features(_) => plain(answer),
        _ => plain(answer)[0].clone(),
    }
}

/// With the type of the files where none is given, as transformers' pipelines load.
#[test]
fn whole_pipelines_are_transformers() {
    let service = Service::new();
    for case in read("bitsandbytes/pipelines.json")["cases"]
        .as_array()
        .unwrap()
    {
        let name = case["checkpoint"].as_str().unwrap();
        let call = call(case);
        let model = quantized(name, &case["config"]);
        let info = loaded(&service, call.task(), model.clone());
        let place = format!("{name} as {}", info.quantization);
        assert_eq!(
            Some(info.memory_footprint),
            case["footprint"].as_u64(),
            "{place}"
        );
        assert!(["nf4", "nf4, double quantised", "fp4", "int8"].contains(&&*info.quantization));
        let exact = ModelSpec {
            dtype: Some(DType::F32),
            ..model
        };
        let answer = run_pipeline(&service, exact, call, None).0.unwrap();
        let mut expected = case["output"].clone();
        if let Some(texts) = expected.as_array_mut()
            && matches!(answer, PipelineAnswer::Texts(_))
        {
            let text = texts[0].as_object_mut().unwrap().values().next().cloned();
            expected = json!([text]);
        }
        compare(&written(&answer), &expected, &place);
    }
}

/// A quantised model is another resident than the same as it is stored, and its report tells its layers.
#[test]
fn a_quantised_encoder_is_a_model_of_its_own() {
    let service = Service::new();
    let task = PipelineTask::Encoder(EncoderTask::TextClassification);
    let nf4 = json!({"load_in_4bit": true, "bnb_4bit_quant_type": "nf4"});
    let folder = "pipelines/distilbert_labels";
    let stored = ModelSpec {
        quantization: None,
        ..quantized(folder, &nf4)
    };
    let plain = loaded(&service, task, stored);
    let four = loaded(&service, task, quantized(folder, &nf4));
    assert!(four.bytes < plain.bytes && !four.was_resident);
    assert_eq!(
        (four.quantization.as_str(), four.dtype),
        ("nf4", Some(DType::BF16))
    );
    assert!(loaded(&service, task, quantized(folder, &nf4)).was_resident);
    assert_eq!(service.residents().len(), 2);
    let model = quantized(folder, &nf4);
    let request = Request::QuantizationReport { model };
    let Ok(Response::QuantizationReport(report)) = ask(&service, request).0 else {
        panic!("a report");
    };
    // Six layers in each of two, and the one before the head.
    assert_eq!(report.layers.len(), 13);
    assert!(
        report
            .layers
            .iter()
            .all(|layer| layer.quantized_as == "nf4")
    );
    assert_eq!(report.layers[12].name, "pre_classifier");
}

/// Blocks of ggml are for models that generate.
#[test]
fn an_encoder_in_blocks_of_ggml() {
    let model = ModelSpec {
        quantization: Some(Quantization {
            method: QuantizationMethod::Ggml(GgmlType::Q4K),
            skip_modules: None,
        }),
        ..spec(ModelSource::new(
            fixture("pipelines/bert_masks").display().to_string(),
        ))
    };
    let task = PipelineTask::Encoder(EncoderTask::FillMask);
    let failure = ask(&Service::new(), Request::LoadPipeline { task, model })
        .0
        .unwrap_err();
    assert!(
        failure.message.contains("to q4_k: blocks of ggml"),
        "{failure}"
    );
    assert!(failure.hint.unwrap().contains("quantization_config"));
}
