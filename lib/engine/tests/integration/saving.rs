//! `save_pretrained` of models: what is written, and that a save which does not end leaves what was
//! there. The bytes of quantised weights are compared in `bitsandbytes`.

use std::{fs, path::Path};

use engine::{
    Cancel, Service,
    bitsandbytes::{Source, quantize_8bit},
    weights::Format,
};
use serde_json::json;
use wire::{
    Failure, FailureKind,
    host::{Event, Progress, Request, Response, Stage},
    model::{
        DType, FourBitType, ModelSource, ModelSpec, Quantization, QuantizationMethod, Threshold,
    },
};

use crate::{
    bitsandbytes::tensors,
    support::{ask, ask_until, embedded_file, fixture, spec},
};

fn of(path: &Path) -> ModelSpec {
    spec(ModelSource::new(path.display().to_string()))
}

fn nf4(path: &Path) -> ModelSpec {
    let method = QuantizationMethod::FourBit {
        kind: FourBitType::Nf4,
        double_quant: true,
        compute_dtype: DType::F32,
    };
    ModelSpec {
        dtype: Some(DType::F32),
        quantization: Some(Quantization {
            method,
            skip_modules: None,
        }),
        ..of(path)
    }
}

fn request(model: ModelSpec, folder: &Path) -> Request {
    Request::SaveModel {
        model,
        folder: folder.display().to_string(),
    }
}

fn save(model: ModelSpec, folder: &Path) -> Result<Vec<String>, Failure> {
    match ask(&Service::new(), request(model, folder)).0? {
        Response::Saved(paths) => Ok(paths),
        other => panic!("{other:?}"),
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A model in a folder of its own: in two shards where `sharded`.
fn model(folder: &Path, sharded: bool) {
    let origin = fixture("families/llama_long_prompt");
    fs::create_dir_all(folder).unwrap();
    fs::copy(origin.join("config.json"), folder.join("config.json")).unwrap();
    fs::write(folder.join("generation_config.json"), "{}").unwrap();
    let whole = fs::read(origin.join("model.safetensors")).unwrap();
    if !sharded {
        fs::write(folder.join("model.safetensors"), whole).unwrap();
        return;
    }
    let (size, rest) = whole.split_at(8);
    let size = u64::from_le_bytes(size.try_into().unwrap()) as usize;
    let (header, data) = rest.split_at(size);
    let mut header: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(header).unwrap();
    header.remove("__metadata__");
    let mut map = serde_json::Map::new();
    let mut shards = [serde_json::Map::new(), serde_json::Map::new()];
    for (index, (name, entry)) in header.into_iter().enumerate() {
        let shard = format!("model-0000{}-of-00002.safetensors", index % 2 + 1);
        map.insert(name.clone(), shard.into());
        shards[index % 2].insert(name, entry);
    }
    for (index, mut header) in shards.into_iter().enumerate() {
        let mut bytes = Vec::new();
        for entry in header.values_mut() {
            let place: (usize, usize) =
                serde_json::from_value(entry["data_offsets"].clone()).unwrap();
            let start = bytes.len();
            bytes.extend_from_slice(&data[place.0..place.1]);
            entry["data_offsets"] = json!([start, bytes.len()]);
        }
        let header = serde_json::to_vec(&header).unwrap();
        let length = (header.len() as u64).to_le_bytes();
        let file = [&length[..], &header, &bytes].concat();
        let name = format!("model-0000{}-of-00002.safetensors", index + 1);
        fs::write(folder.join(name), file).unwrap();
    }
    let index = json!({"metadata": {}, "weight_map": map}).to_string();
    fs::write(folder.join("model.safetensors.index.json"), index).unwrap();
}

/// Weights that are packed already are copied, whatever type their bytes are viewed as, and load the same.
#[test]
fn packed_weights_are_saved_as_they_are() {
    let root = tempfile::tempdir().unwrap();
    for way in ["nf4_in_bf16", "nf4_in_f32", "int8"] {
        let (origin, target) = (
            root.path().join(way),
            root.path().join(format!("saved/{way}")),
        );
        fs::create_dir_all(&origin).unwrap();
        for name in ["config.json", "model.safetensors"] {
            let from = fixture(&format!("bitsandbytes/saved/{way}")).join(name);
            fs::copy(from, origin.join(name)).unwrap();
        }
        save(of(&origin), &target).unwrap();
        for name in ["config.json", "model.safetensors"] {
            let [before, after] =
                [&origin, &target].map(|folder| fs::read(folder.join(name)).unwrap());
            assert!(before == after, "{way}: {name}");
        }
    }
}

#[test]
fn a_quantised_model_is_written_with_its_configuration() {
    let root = tempfile::tempdir().unwrap();
    let (origin, target) = (root.path().join("origin"), root.path().join("a/saved"));
    model(&origin, true);
    let (answer, events) = ask(&Service::new(), request(nf4(&origin), &target));
    let Response::Saved(paths) = answer.unwrap() else {
        panic!("not saved")
    };
    let expected = ["config.json", "generation_config.json", "model.safetensors"];
    assert_eq!(names(&target), expected);
    assert_eq!(
        names(&root.path().join("a")),
        ["saved"],
        "something is left"
    );
    assert_eq!(paths.len(), 3);
    assert!(paths.iter().all(|path| Path::new(path).is_file()));
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(target.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["quantization_config"]["bnb_4bit_quant_type"], "nf4");
    let Some(Event::Progress(Progress {
        stage, done, total, ..
    })) = events.last()
    else {
        panic!("no progress")
    };
    assert_eq!((*stage, Some(*done)), (Stage::Save, *total));
    // What is quantised already is copied.
    let again = root.path().join("again");
    save(of(&target), &again).unwrap();
    for name in expected {
        let read = |folder: &Path| fs::read(folder.join(name)).unwrap();
        assert!(read(&again) == read(&target), "{name}");
    }
}

#[test]
fn a_save_over_another_leaves_none_of_its_weights() {
    let root = tempfile::tempdir().unwrap();
    let (whole, sharded) = (root.path().join("whole"), root.path().join("sharded"));
    model(&whole, false);
    model(&sharded, true);
    let target = root.path().join("target");
    let sharded_names = names(&sharded);
    save(of(&whole), &target).unwrap();
    fs::write(target.join("tokenizer.json"), "mine").unwrap();
    let with_tokenizer = |names: &[String]| {
        let mut names = names.to_vec();
        names.push("tokenizer.json".to_owned());
        names.sort();
        names
    };
    save(of(&sharded), &target).unwrap();
    assert_eq!(names(&target), with_tokenizer(&sharded_names));
    save(of(&whole), &target).unwrap();
    assert_eq!(names(&target), with_tokenizer(&names(&whole)));
}

#[test]
fn a_save_that_does_not_end_leaves_what_was_there() {
    let root = tempfile::tempdir().unwrap();
    let (origin, target) = (root.path().join("origin"), root.path().join("target"));
    model(&origin, false);
    fs::create_dir(&target).unwrap();
    fs::write(target.join("config.json"), "old").unwrap();
    for model in [nf4(&origin), of(&origin)] {
        let cancel = Cancel::new();
        let request = request(model, &target);
        let (answer, _) = ask_until(&Service::new(), request, &cancel, |event, cancel| {
            if matches!(event, Event::Progress(_)) {
                cancel.cancel();
            }
        });
        assert_eq!(answer.unwrap_err().kind, FailureKind::Interrupted);
        assert_eq!(names(&target), ["config.json"]);
        assert_eq!(fs::read(target.join("config.json")).unwrap(), b"old");
        assert_eq!(names(root.path()), ["origin", "target"]);
    }
}

/// A save into a mount point ended with "Invalid cross-device link", and one below what nobody may write with
/// "Read-only file system": what is there already was written beside.
#[test]
fn a_save_into_a_folder_that_is_there_writes_nothing_outside_of_it() {
    let (root, elsewhere) = (
        tempfile::tempdir().unwrap(),
        tempfile::tempdir_in("/dev/shm").unwrap(),
    );
    let (origin, target) = (root.path().join("origin"), root.path().join("target"));
    model(&origin, true);
    std::os::unix::fs::symlink(elsewhere.path(), &target).unwrap();
    for model in [nf4(&origin), of(&origin)] {
        let request = request(model, &target);
        let mut looks = 0;
        let (answer, _) = ask_until(&Service::new(), request, &Cancel::new(), |event, _| {
            if matches!(event, Event::Progress(_)) {
                looks += 1;
                assert_eq!(names(root.path()), ["origin", "target"]);
            }
        });
        answer.unwrap();
        assert!(looks > 0);
        let hidden = |name: &String| name.starts_with('.');
        assert!(!names(&target).iter().any(hidden), "{:?}", names(&target));
        assert!(target.join("config.json").is_file());
    }
    assert_eq!(names(&target), names(&origin));
}

fn in_8_bits(path: &Path, skipped: &[&str]) -> ModelSpec {
    let method = QuantizationMethod::EightBit {
        threshold: Threshold(6.0),
    };
    let skipped = skipped.iter().map(ToString::to_string).collect();
    ModelSpec {
        dtype: Some(DType::F32),
        quantization: Some(Quantization {
            method,
            skip_modules: Some(skipped),
        }),
        ..of(path)
    }
}

fn config_of(folder: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap()
}

/// A GPT-2 whose head has weights of its own.
fn untied_gpt2(folder: &Path) {
    let origin = fixture("families/gpt2");
    let mut config = config_of(&origin);
    config["tie_word_embeddings"] = false.into();
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let mut all = tensors(&origin.join("model.safetensors"));
    let head = all["transformer.wte.weight"].clone();
    all.insert("lm_head.weight".to_owned(), head);
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, (dtype, shape, bytes)) in all {
        let place = [data.len(), data.len() + bytes.len()];
        data.extend(bytes);
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": place});
        header.insert(name, entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let length = (header.len() as u64).to_le_bytes();
    let file = [&length[..], &header, &data].concat();
    fs::write(folder.join("model.safetensors"), file).unwrap();
}

/// The head was written with rows and columns exchanged, as the files have the other layers.
#[test]
fn a_head_of_its_own_is_saved_the_right_way_round() {
    let (origin, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    untied_gpt2(origin.path());
    let skipped = ["c_attn"];
    let eight = in_8_bits(origin.path(), &skipped);
    save(eight.clone(), target.path()).unwrap();
    let original = tensors(&origin.path().join("model.safetensors"));
    let saved = tensors(&target.path().join("model.safetensors"));
    let (dtype, shape, bytes) = &original["lm_head.weight"];
    assert_eq!((dtype.as_str(), &shape[..]), ("BF16", &[96, 32][..]));
    let source = Source {
        format: Format::BF16,
        bytes,
        dtype: DType::F32,
    };
    let (codes, scales) = quantize_8bit(source, 32);
    let codes = codes.into_iter().map(i8::cast_unsigned).collect();
    let head = ("I8".to_owned(), vec![96, 32], codes);
    assert!(saved["lm_head.weight"] == head);
    assert_eq!(saved["lm_head.SCB"].1, [scales.len()]);
    let layer = "transformer.h.0.mlp.c_fc.weight";
    assert_eq!(
        (&original[layer].1[..], &saved[layer].1[..]),
        (&[32, 128][..], &[128, 32][..])
    );
    let four = ModelSpec {
        quantization: Some(Quantization {
            skip_modules: eight.quantization.unwrap().skip_modules,
            ..nf4(origin.path()).quantization.unwrap()
        }),
        ..eight
    };
    save(four, target.path()).unwrap();
    let saved = tensors(&target.path().join("model.safetensors"));
    let state = &saved["lm_head.weight.quant_state.bitsandbytes__nf4"].2;
    let state: serde_json::Value = serde_json::from_slice(state).unwrap();
    assert_eq!(state["shape"], json!([96, 32]));
}

/// transformers cannot read a model whose list leaves a tied layer to be quantised: it was written with such a list.
#[test]
fn what_is_tied_is_on_the_list_of_a_saved_model() {
    let root = tempfile::tempdir().unwrap();
    let cases = [
        ("families/gpt2", "c_proj", json!(["c_proj", "lm_head"])),
        ("families/gpt2", "lm_head", json!(["lm_head"])),
        ("families/llama_long_prompt", "q_proj", json!(["q_proj"])),
        (
            "encoders/bert_masked",
            "query",
            json!(["query", "cls.predictions.decoder"]),
        ),
        ("encoders/distilbert_base", "q_lin", json!(["q_lin"])),
        ("text2text/bart", "q_proj", json!(["q_proj", "lm_head"])),
    ];
    for (name, skipped, expected) in cases {
        let target = root.path().join("target");
        save(in_8_bits(&fixture(name), &[skipped]), &target).unwrap();
        let list = &config_of(&target)["quantization_config"]["llm_int8_skip_modules"];
        assert_eq!(*list, expected, "{name}");
    }
}

/// `dtype` f32 of a checkpoint in 16 bits was once not told from no type: transformers counts it and saves it in f32.
#[test]
fn f32_that_is_asked_for_is_counted_and_saved() {
    let root = tempfile::tempdir().unwrap();
    let tokenizer = json!({"version": "1.0", "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}});
    let folder = |name: &str| root.path().join(name);
    let in_type = |path: &Path, dtype| ModelSpec {
        dtype: Some(dtype),
        ..of(path)
    };
    let footprint = |model: ModelSpec, path: &Path| {
        fs::write(path.join("tokenizer.json"), tokenizer.to_string()).unwrap();
        match ask(&Service::new(), Request::LoadModel(model)).0.unwrap() {
            Response::Model(info) => (info.memory_footprint, info.bytes),
            other => panic!("{other:?}"),
        }
    };
    let (origin, brain, wide) = (folder("origin"), folder("brain"), folder("wide"));
    model(&origin, false);
    save(in_type(&origin, DType::BF16), &brain).unwrap();
    save(in_type(&brain, DType::F32), &wide).unwrap();
    let config = fs::read(wide.join("config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["dtype"], "float32");
    let (narrow, saved) = (
        tensors(&brain.join("model.safetensors")),
        tensors(&wide.join("model.safetensors")),
    );
    assert!(narrow.keys().eq(saved.keys()));
    for (name, (dtype, _, bytes)) in &saved {
        assert_eq!(dtype, "F32", "{name}");
        let (values, _) = bytes.as_chunks::<4>();
        let upper: Vec<u8> = values
            .iter()
            .flat_map(|value| [value[2], value[3]])
            .collect();
        assert!(upper == narrow[name].2, "{name}");
        assert!(values.iter().all(|value| value[..2] == [0, 0]), "{name}");
    }
    let as_stored = footprint(of(&brain), &brain);
    let widened = footprint(in_type(&brain, DType::F32), &brain);
    let stored_wide = footprint(of(&wide), &wide);
    // `get_memory_footprint()` of transformers 4.57.6, of the same checkpoint in bfloat16 and in float32.
    assert_eq!((as_stored.0, widened.0), (52_568, 105_112));
    assert_eq!(stored_wide.0, widened.0);
    // What is in memory is no more for it.
    assert_eq!(widened.1, as_stored.1);
}

#[test]
fn what_cannot_be_saved_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let origin = root.path().join("origin");
    model(&origin, false);
    let own = save(nf4(&origin), &origin).unwrap_err();
    assert!(own.message.contains("is loaded from there"), "{own}");
    let file = save(nf4(&origin), &origin.join("config.json")).unwrap_err();
    assert!(file.message.contains("it is a file"), "{file}");
    let gguf = save(of(&embedded_file()), &root.path().join("x")).unwrap_err();
    assert_eq!(gguf.kind, FailureKind::Unsupported);
    assert_eq!(names(root.path()), ["origin"]);
}

#[test]
fn a_load_that_quantises_says_so() {
    let folder = tempfile::tempdir().unwrap();
    model(folder.path(), false);
    let tokenizer = json!({"version": "1.0", "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}});
    fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    for (spec, stage) in [
        (of(folder.path()), Stage::Load),
        (nf4(folder.path()), Stage::Quantize),
    ] {
        let (answer, events) = ask(&Service::new(), Request::LoadModel(spec));
        answer.unwrap();
        let stages: Vec<Stage> = events
            .iter()
            .filter_map(|event| match event {
                Event::Progress(news) => Some(news.stage),
                _ => None,
            })
            .collect();
        assert!(!stages.is_empty());
        assert!(stages.iter().all(|other| *other == stage), "{stages:?}");
    }
}
