//! Safetensors that are quantised to blocks of ggml while they load: the simple types to the bit as
//! llama.cpp's reference does it (fixture by `make_ggml_blocks.py`), the K types by what they lose.

use std::{fs, path::Path};

use engine::{
    Cancel,
    bitsandbytes::{Plan, footprint},
    families,
    hub::Layout,
    layers::KvCache,
    weights::{Format, Loader, Weights},
};
use serde_json::json;
use wire::{
    FailureKind,
    model::{GgmlType, Quantization, QuantizationMethod},
};

use crate::support::{embedded_file, fixture, json as fixture_json};

fn quantization(kind: GgmlType) -> Quantization {
    Quantization {
        method: QuantizationMethod::Ggml(kind),
        skip_modules: None,
    }
}

fn open(folder: &Path) -> Weights {
    Weights::open(&Layout::Folder(folder.to_owned())).unwrap()
}

/// A folder with one matrix of `(rows, 256)` values in f32.
fn matrix(values: &[f32]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("config.json"),
        r#"{"model_type": "llama"}"#,
    )
    .unwrap();
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let entry = json!({"dtype": "F32", "shape": [values.len() / 256, 256], "data_offsets": [0, bytes.len()]});
    let header = serde_json::to_vec(&json!({"x.weight": entry})).unwrap();
    let file = [&(header.len() as u64).to_le_bytes()[..], &header, &bytes].concat();
    fs::write(folder.path().join("model.safetensors"), file).unwrap();
    folder
}

/// What a matrix is unpacked to after it was quantised.
fn unpacked(values: &[f32], kind: GgmlType) -> Vec<f32> {
    let folder = matrix(values);
    let weights = open(folder.path());
    let plan = Plan::new(Some(&quantization(kind)), None, &weights).unwrap();
    let (cancel, mut sink) = (Cancel::new(), |_| {});
    let mut loader = Loader::new(&weights, "x", &cancel, &mut sink).with_plan(plan.as_ref());
    let layer = loader.linear("x", (values.len() / 256, 256)).unwrap();
    let device = candle_core::Device::Cpu;
    let unit = candle_core::Tensor::eye(256, candle_core::DType::F32, &device).unwrap();
    let columns = layer.forward(&unit.unsqueeze(0).unwrap()).unwrap();
    let rows = columns.squeeze(0).unwrap().t().unwrap();
    rows.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn simple_types_are_llama_cpps_own() {
    let fixture = fixture_json("ggml_blocks.json");
    let values: Vec<f32> = serde_json::from_value(fixture["values"].clone()).unwrap();
    for (kind, format) in [
        (GgmlType::Q4_0, Format::Q4_0),
        (GgmlType::Q4_1, Format::Q4_1),
        (GgmlType::Q5_0, Format::Q5_0),
        (GgmlType::Q5_1, Format::Q5_1),
        (GgmlType::Q8_0, Format::Q8_0),
    ] {
        let hex = fixture["packed"][kind.name()].as_str().unwrap();
        let bytes: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect();
        let mut expected = vec![0.0; values.len()];
        format.unpack(&bytes, &mut expected);
        assert_eq!(unpacked(&values, kind), expected, "{}", kind.name());
    }
}

/// Relative root mean squares of the error on normal values: llama.cpp's are a tenth to a fifth less
/// for the K types, whose scales it searches longer.
#[test]
fn no_type_loses_more_than_it_should() {
    let fixture = fixture_json("ggml_blocks.json");
    let values: Vec<f32> = serde_json::from_value(fixture["values"].clone()).unwrap();
    let normal = &values[..6 * 256];
    for (kind, most) in [
        (GgmlType::Q2K, 0.36),
        (GgmlType::Q3K, 0.19),
        (GgmlType::Q4K, 0.09),
        (GgmlType::Q5K, 0.045),
        (GgmlType::Q6K, 0.022),
    ] {
        let got = unpacked(normal, kind);
        let square = |values: &mut dyn Iterator<Item = f32>| -> f32 { values.map(|v| v * v).sum() };
        let error = square(&mut got.iter().zip(normal).map(|(a, b)| a - b));
        let relative = (error / square(&mut normal.iter().copied())).sqrt();
        assert!(
            relative < most && relative > most / 3.0,
            "{}: {relative}",
            kind.name()
        );
    }
}

#[test]
fn a_model_in_eight_bits_answers_nearly_as_before() {
    for name in ["llama_long_prompt", "qwen2", "gpt2"] {
        let weights = open(&fixture(&format!("families/{name}")));
        let expected = fixture_json(&format!("families/{name}/expected.json"));
        let prompt: Vec<u32> =
            serde_json::from_value::<Vec<u32>>(expected["prompt"].clone()).unwrap();
        let logits = |kind: Option<GgmlType>| -> (Vec<f32>, u64) {
            let plan =
                kind.and_then(|kind| Plan::new(Some(&quantization(kind)), None, &weights).unwrap());
            let (cancel, mut sink) = (Cancel::new(), |_| {});
            let loader = Loader::new(&weights, name, &cancel, &mut sink).with_plan(plan.as_ref());
            let model = families::build(&weights, name, loader).unwrap();
            let mut cache: KvCache = model.new_cache();
            let hidden = model.hidden_states(&prompt[..20], &mut cache).unwrap();
            let logits = model.logits(&hidden).unwrap();
            (
                logits.flatten_all().unwrap().to_vec1().unwrap(),
                footprint(&weights, plan.as_ref()),
            )
        };
        let (plain, plain_bytes) = logits(None);
        let (eight, eight_bytes) = logits(Some(GgmlType::Q8_0));
        let (four, four_bytes) = logits(Some(GgmlType::Q4_0));
        let distance = |a: &[f32]| -> f32 {
            let squares = a.iter().zip(&plain).map(|(a, b)| (a - b).powi(2));
            let whole: f32 = plain.iter().map(|value| value.powi(2)).sum();
            (squares.sum::<f32>() / whole).sqrt()
        };
        assert!(distance(&eight) < 0.03, "{name}: {}", distance(&eight));
        assert!(
            distance(&four) < 0.4 && distance(&four) > 0.001,
            "{name}: {}",
            distance(&four)
        );
        assert!(
            four_bytes < eight_bytes && eight_bytes < plain_bytes,
            "{name}"
        );
    }
}

#[test]
fn what_is_quantised_already_is_refused() {
    let saved = open(&fixture("bitsandbytes/saved/fp4"));
    let gguf = Weights::open(&Layout::Gguf(embedded_file())).unwrap();
    for weights in [saved, gguf] {
        let refused = Plan::new(Some(&quantization(GgmlType::Q4K)), None, &weights).unwrap_err();
        assert_eq!(refused.kind, FailureKind::Unsupported);
        assert!(refused.message.contains("already"), "{refused}");
    }
}
