//! The report on a quantised model, against bitsandbytes 0.50.2 and gguf 0.19.0 (fixture by
//! `make_quantization_report.py`), and what it says where there are no originals to compare with.

use std::{collections::BTreeMap, fs, path::Path};

use engine::{Cancel, Service, hub::Layout, weights::Weights};
use serde_json::Value;
use wire::{
    Failure, FailureKind,
    host::{Event, Progress, Request, Response, Stage},
    model::{
        DType, FourBitType, GgmlType, ModelInfo, ModelSource, ModelSpec, ModuleInfo, Quantization,
        QuantizationMethod, Threshold,
    },
    quantization_report::{QuantizationReport, Sizes},
};

use crate::support::{ask, ask_until, embedded, fixture, json, spec};

/// Largest relative difference of an error, whose sums are taken in another order.
const TOLERANCE: f64 = 1e-6;

/// A model's files with a tokenizer, of which nothing but its being there is used.
fn folder(files: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(files.join(name), folder.path().join(name)).unwrap();
    }
    let tokenizer = r#"{"version": "1.0", "model": {"type": "WordLevel", "vocab": {"w0": 0}, "unk_token": "w0"}}"#;
    fs::write(folder.path().join("tokenizer.json"), tokenizer).unwrap();
    folder
}

fn of(folder: &Path, method: Option<QuantizationMethod>) -> ModelSpec {
    ModelSpec {
        quantization: method.map(|method| Quantization {
            method,
            skip_modules: None,
        }),
        ..spec(ModelSource::new(folder.display().to_string()))
    }
}

fn method(way: &str) -> QuantizationMethod {
    if let Some(kind) = GgmlType::from_name(way) {
        return QuantizationMethod::Ggml(kind);
    }
    if way == "int8" {
        return QuantizationMethod::EightBit {
            threshold: Threshold(6.0),
        };
    }
    QuantizationMethod::FourBit {
        kind: if way == "fp4" {
            FourBitType::Fp4
        } else {
            FourBitType::Nf4
        },
        double_quant: way.ends_with("_double"),
        compute_dtype: DType::BF16,
    }
}

fn report(service: &Service, model: ModelSpec) -> Result<QuantizationReport, Failure> {
    match ask(service, Request::QuantizationReport { model }).0? {
        Response::QuantizationReport(report) => Ok(*report),
        other => panic!("{other:?}"),
    }
}

fn info(service: &Service, model: ModelSpec) -> ModelInfo {
    match ask(service, Request::LoadModel(model)).0.unwrap() {
        Response::Model(info) => info,
        other => panic!("{other:?}"),
    }
}

fn close(value: Option<f64>, expected: &Value, what: &str) {
    let (value, expected) = (value.unwrap(), expected.as_f64().unwrap());
    assert!(
        (value - expected).abs() <= TOLERANCE * expected,
        "{what}: {value}, not {expected}"
    );
}

fn counts(value: &Value) -> Vec<u64> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn sizes_errors_and_codes_are_those_of_the_reference() {
    let cases = json("quantization_report.json")["cases"].clone();
    for (name, expected) in cases.as_object().unwrap() {
        let (model, way) = name.split_once('/').unwrap();
        let folder = folder(&fixture("families").join(model));
        let report = report(&Service::new(), of(folder.path(), Some(method(way)))).unwrap();
        let layers = expected["layers"].as_object().unwrap();
        for (layer, expected) in layers {
            let got = report.layers.iter().find(|got| got.name == *layer);
            let got = got.unwrap_or_else(|| panic!("{name}: no {layer}"));
            close(
                got.relative_rmse,
                &expected["rmse"],
                &format!("{name} {layer}"),
            );
            assert_eq!(
                got.bytes.after,
                expected["bytes"].as_u64().unwrap(),
                "{name}"
            );
            assert_eq!(got.bytes.before, Some(got.weights * 2), "{name}");
            assert_eq!(got.stored_as.as_deref(), Some("BF16"));
        }
        if GgmlType::from_name(way).is_some() {
            // The token table and the head are in blocks too, and no one scale is.
            assert!(report.layers.len() > layers.len() && report.histogram.is_empty());
            continue;
        }
        assert_eq!(report.layers.len(), layers.len(), "{name}");
        close(report.relative_rmse, &expected["rmse"], name);
        assert_eq!(report.histogram, counts(&expected["histogram"]), "{name}");
        check_codes(&report, &counts(&expected["codes"]), name);
    }
}

fn check_codes(report: &QuantizationReport, expected: &[u64], name: &str) {
    if name.ends_with("int8") {
        assert!(report.codes.is_empty());
        return;
    }
    assert_eq!(report.codes.len(), 16, "{name}");
    assert!(
        report.codes.is_sorted_by(|a, b| a.value <= b.value),
        "{name}"
    );
    for code in &report.codes {
        assert_eq!(
            code.count,
            expected[usize::from(code.code)],
            "{name}: {code:?}"
        );
    }
}

/// The tree of modules counts what is in memory, layer by layer, by another way.
#[test]
fn bytes_are_those_of_the_model_in_memory() {
    for way in ["nf4_double", "int8", "q4_0"] {
        let folder = folder(&fixture("families/llama_long_prompt"));
        let service = Service::new();
        let model = of(folder.path(), Some(method(way)));
        let info = info(&service, model.clone());
        let report = report(&service, model).unwrap();
        assert_eq!(report.total().after, info.bytes, "{way}");
        let file = fs::metadata(folder.path().join("model.safetensors")).unwrap();
        let before = report.total().before.unwrap();
        assert!(before < file.len() && before > file.len() * 8 / 10, "{way}");
        let modules = info.modules.unwrap();
        let layer = report
            .layers
            .iter()
            .find(|layer| layer.name.ends_with("1.mlp.up_proj"));
        let in_tree = find(&modules, "up_proj").unwrap();
        assert_eq!(layer.unwrap().bytes.after, in_tree.bytes, "{way}");
    }
}

fn find<'a>(module: &'a ModuleInfo, name: &str) -> Option<&'a ModuleInfo> {
    if module.name == name {
        return Some(module);
    }
    module.parts.iter().find_map(|part| find(part, name))
}

#[test]
fn layers_stand_in_their_order_and_progress_is_told() {
    let folder = folder(&fixture("families/llama_long_prompt"));
    let model = of(folder.path(), Some(method("fp4")));
    let request = Request::QuantizationReport { model };
    let (answer, events) = ask(&Service::new(), request);
    let Response::QuantizationReport(report) = answer.unwrap() else {
        panic!("no report")
    };
    let numbers: Vec<u32> = report
        .layers
        .iter()
        .map(|layer| layer.name.split('.').nth(2).unwrap().parse().unwrap())
        .collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    let Some(Event::Progress(Progress {
        stage, done, total, ..
    })) = events.last()
    else {
        panic!("no progress")
    };
    assert_eq!((*stage, Some(*done)), (Stage::Compare, *total));
}

/// The same codes as on load, counted without the originals.
#[test]
fn a_checkpoint_of_quantised_weights_has_codes_and_no_errors() {
    let cases = json("quantization_report.json")["cases"].clone();
    for way in ["nf4_double", "fp4", "int8", "nf4_in_bf16", "nf4_in_f32"] {
        let folder = folder(&fixture("bitsandbytes/saved").join(way));
        let report = report(&Service::new(), of(folder.path(), None)).unwrap();
        assert!(!report.layers.is_empty(), "{way}");
        assert!(report.without_originals.as_ref().unwrap().contains("only"));
        assert_eq!((report.relative_rmse, report.total().before), (None, None));
        assert!(report.histogram.is_empty());
        let expected = &cases[format!("llama_long_prompt/{way}")];
        for layer in &report.layers {
            // Half a byte a weight or more, whatever type the bytes are viewed as.
            assert!(
                way == "int8" || layer.bytes.after >= layer.weights / 2,
                "{way}"
            );
            if let Some(bytes) = expected["layers"][&layer.name]["bytes"].as_u64() {
                assert_eq!(layer.bytes.after, bytes, "{way}");
            } else {
                assert!(way.starts_with("nf4_in_"), "{way} {}", layer.name);
            }
            assert_eq!((layer.relative_rmse, layer.bytes.before), (None, None));
        }
        let weights: u64 = report.codes.iter().map(|code| code.count).sum();
        let all: u64 = report.layers.iter().map(|layer| layer.weights).sum();
        assert_eq!(weights, if way == "int8" { 0 } else { all }, "{way}");
    }
}

#[test]
fn a_gguf_file_has_types_and_sizes() {
    let service = Service::new();
    let report = report(&service, spec(embedded())).unwrap();
    assert!(report.without_originals.unwrap().contains("GGUF"));
    let query = report
        .layers
        .iter()
        .find(|layer| layer.name == "blk.0.attn_q");
    let query = query.unwrap();
    assert_eq!(query.weights, 576 * 576);
    assert_eq!(
        query.bytes,
        Sizes {
            before: None,
            after: 576 * 576 / 32 * 20
        }
    );
    assert_eq!(query.quantized_as, "Q4_1");
}

#[test]
fn what_is_not_quantised_or_not_wanted_any_more_has_no_report() {
    let folder = folder(&fixture("families/llama_long_prompt"));
    let service = Service::new();
    let refusal = report(&service, of(folder.path(), None)).unwrap_err();
    assert_eq!(refusal.kind, FailureKind::InvalidArgument);
    assert!(refusal.message.contains("is not quantised") && refusal.hint.is_some());

    let model = of(folder.path(), Some(method("fp4")));
    info(&service, model.clone());
    let request = Request::QuantizationReport { model };
    let (answer, _) = ask_until(&service, request, &Cancel::new(), |_, cancel| {
        cancel.cancel();
    });
    assert_eq!(answer.unwrap_err().kind, FailureKind::Interrupted);
}

/// As when a repository has moved on: the figures would be those of other weights.
#[test]
fn files_that_are_others_than_those_of_the_load_are_refused() {
    let folder = folder(&fixture("families/llama_long_prompt"));
    let service = Service::new();
    let model = of(folder.path(), Some(method("fp4")));
    info(&service, model.clone());
    let (whole, shard) = ("model.safetensors", "model-00001-of-00001.safetensors");
    let weights = Weights::open(&Layout::Folder(folder.path().to_owned())).unwrap();
    let map: BTreeMap<&String, &str> = weights.tensors.keys().map(|name| (name, shard)).collect();
    let index = serde_json::json!({ "weight_map": map }).to_string();
    fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    fs::rename(folder.path().join(whole), folder.path().join(shard)).unwrap();
    let refusal = report(&service, model).unwrap_err();
    assert!(refusal.message.contains("other files"), "{refusal}");
    assert!(refusal.hint.unwrap().contains("unload"));
}
