//! How much main memory loading takes and what is left of it afterwards, measured in a process of its
//! own on a checkpoint in shards whose layers are much larger than anything else there.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use engine::Service;
use serde_json::{Map, Value, json};
use wire::{
    host::{Request, Response, UnloadTarget},
    model::{DType, FourBitType, ModelSource, ModelSpec, Quantization, QuantizationMethod},
};

use crate::support::{ask, spec};

/// Tells the child where its checkpoint is.
const FOLDER: &str = "WARMCELL_TEST_CHECKPOINT";
const HIDDEN: usize = 1024;
const INTERMEDIATE: usize = 4096;
const VOCABULARY: usize = 16_384;
const LAYERS: usize = 6;
/// Bytes of a layer in bf16.
const LAYER_BYTES: u64 = 2 * (4 * HIDDEN * HIDDEN + 3 * HIDDEN * INTERMEDIATE) as u64;

/// A field of this process's status, in bytes.
fn status(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes * 1024
}

/// A shard with tensors of noise in bf16.
fn write_shard(path: &Path, tensors: &[(String, Vec<usize>)]) {
    let noise: Vec<u8> = (0..1 << 19)
        .map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 16) as f32 / 65536.0 - 0.5)
        .flat_map(|value| half::bf16::from_f32(value * 0.1).to_le_bytes())
        .collect();
    let mut header = Map::new();
    let mut end = 0;
    for (name, shape) in tensors {
        let start = end;
        end += 2 * shape.iter().product::<usize>();
        let entry = json!({"dtype": "BF16", "shape": shape, "data_offsets": [start, end]});
        header.insert(name.clone(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes())
        .unwrap();
    file.write_all(&header).unwrap();
    for start in (0..end).step_by(noise.len()) {
        file.write_all(&noise[..noise.len().min(end - start)])
            .unwrap();
    }
}

/// A model of llama's architecture, one layer a shard.
fn checkpoint(folder: &Path) {
    let config = json!({
        "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": LAYERS, "num_attention_heads": 16, "num_key_value_heads": 16,
        "vocab_size": VOCABULARY, "rms_norm_eps": 1e-5, "tie_word_embeddings": true,
        "max_position_embeddings": 2048,
    });
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let tokenizer = json!({"version": "1.0", "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}});
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let mut shards = vec![vec![
        (
            "model.embed_tokens.weight".to_owned(),
            vec![VOCABULARY, HIDDEN],
        ),
        ("model.norm.weight".to_owned(), vec![HIDDEN]),
    ]];
    for layer in 0..LAYERS {
        let tensor = |part: &str, shape: &[usize]| {
            (
                format!("model.layers.{layer}.{part}.weight"),
                shape.to_vec(),
            )
        };
        let mut shard: Vec<_> = ["q", "k", "v", "o"]
            .map(|part| tensor(&format!("self_attn.{part}_proj"), &[HIDDEN, HIDDEN]))
            .into();
        shard.extend(
            ["input_layernorm", "post_attention_layernorm"].map(|part| tensor(part, &[HIDDEN])),
        );
        shard.extend(
            ["gate", "up"].map(|part| tensor(&format!("mlp.{part}_proj"), &[INTERMEDIATE, HIDDEN])),
        );
        shard.push(tensor("mlp.down_proj", &[HIDDEN, INTERMEDIATE]));
        shards.push(shard);
    }
    let mut map = Map::new();
    for (index, shard) in shards.iter().enumerate() {
        let file = format!("model-{:05}-of-{:05}.safetensors", index + 1, shards.len());
        write_shard(&folder.join(&file), shard);
        map.extend(
            shard
                .iter()
                .map(|(name, _)| (name.clone(), Value::from(file.clone()))),
        );
    }
    let index = json!({"weight_map": map}).to_string();
    fs::write(folder.join("model.safetensors.index.json"), index).unwrap();
}

/// Loads the model in nf4; gives its bytes.
fn load(service: &Service, folder: &Path) -> u64 {
    let method = QuantizationMethod::FourBit {
        kind: FourBitType::Nf4,
        double_quant: true,
        compute_dtype: DType::F32,
    };
    let model = ModelSpec {
        quantization: Some(Quantization {
            method,
            skip_modules: None,
        }),
        ..spec(ModelSource::new(folder.display().to_string()))
    };
    match ask(service, Request::LoadModel(model)).0.unwrap() {
        Response::Model(info) => info.bytes,
        other => panic!("{other:?}"),
    }
}

fn unload(service: &Service) {
    ask(service, Request::Unload(UnloadTarget::All)).0.unwrap();
}

/// What the tests below start: does nothing where it is not told a folder.
#[test]
#[expect(clippy::print_stdout, reason = "the parent reads it")]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        return;
    };
    let service = Service::new();
    let start = status("VmRSS:");
    // Without the pages of the program's own file, which come in as they are needed.
    let own = || status("RssAnon:");
    let before = own();
    let bytes = load(&service, &folder);
    let (peak, loaded) = (status("VmHWM:") - start, own());
    unload(&service);
    let after = own();
    for _ in 0..3 {
        load(&service, &folder);
        unload(&service);
    }
    let figures = json!({"before": before, "bytes": bytes, "peak": peak, "loaded": loaded, "after": after, "last": own()});
    println!("\nfigures: {figures}");
}

#[test]
#[expect(
    clippy::print_stdout,
    reason = "the figures, for whoever asks with --nocapture"
)]
fn quantising_takes_the_result_and_two_layers_and_all_of_it_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    checkpoint(folder.path());
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "memory::child", "--nocapture"])
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let output = String::from_utf8(child.stdout).unwrap();
    let figures = output
        .lines()
        .find_map(|line| line.strip_prefix("figures: "));
    let figures = figures.unwrap_or_else(|| panic!("{output}"));
    let figures: Value = serde_json::from_str(figures).unwrap();
    println!("{figures}");
    let figure = |name: &str| figures[name].as_u64().unwrap();
    // Half a layer would do for this reader; two layers are what was promised.
    assert!(
        figure("peak") <= figure("bytes") + LAYER_BYTES / 2,
        "layers have {LAYER_BYTES} bytes: {figures}"
    );
    assert!(
        figure("loaded") >= figure("before") + figure("bytes") * 9 / 10,
        "nothing was measured: {figures}"
    );
    let left = figure("after").saturating_sub(figure("before"));
    assert!(
        left <= figure("loaded") / 20,
        "{left} bytes are left: {figures}"
    );
    let grown = figure("last").saturating_sub(figure("after"));
    assert!(
        grown <= figure("loaded") / 20,
        "{grown} bytes more: {figures}"
    );
}
