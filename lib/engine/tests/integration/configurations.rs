//! Configurations that are out of the ordinary: those that no model can be built by are refused by
//! name, before weights are read and without memory of their choosing.

use engine::{
    Cancel,
    families::{self, CausalLm},
    hub::Layout,
    weights::Weights,
};
use serde_json::{Value, json};
use wire::{Failure, FailureKind};

use crate::support::fixture;

/// Loads a checkpoint of the fixtures with some values of its configuration changed.
fn load(variant: &str, changes: &Value) -> Result<Box<dyn CausalLm>, Failure> {
    let source = fixture(&format!("families/{variant}"));
    let text = std::fs::read(source.join("config.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&text).unwrap();
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(
        source.join("model.safetensors"),
        folder.path().join("model.safetensors"),
    )
    .unwrap();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let weights = Weights::open(&Layout::Folder(folder.path().to_owned())).unwrap();
    families::load(&weights, "tiny", &Cancel::new(), &mut |_| {})
}

/// What it fails with.
fn refused(variant: &str, changes: &Value) -> Failure {
    match load(variant, changes) {
        Ok(_) => panic!("{variant} loads with {changes}"),
        Err(failure) => failure,
    }
}

#[test]
fn what_is_not_computed_is_named() {
    let cases = [
        (
            "qwen2",
            json!({"model_type": "perceiver"}),
            "architecture `perceiver`",
        ),
        ("qwen2", json!({"hidden_act": "mish"}), "activation `mish`"),
        (
            "qwen2",
            json!({"rope_scaling": {"rope_type": "ntk", "factor": 2.0}}),
            "rope scaling `ntk`",
        ),
        (
            "gpt2",
            json!({"scale_attn_by_inverse_layer_idx": true}),
            "a gpt2 that scales",
        ),
        (
            "gemma3",
            json!({"use_bidirectional_attention": true}),
            "a gemma3 that looks ahead",
        ),
    ];
    for (variant, changes, message) in cases {
        let failure = refused(variant, &changes);
        assert_eq!(failure.kind, FailureKind::Unsupported, "{failure}");
        let start = format!("cannot load `tiny`: {message}");
        assert!(failure.message.starts_with(&start), "{failure}");
    }
    let hint = refused("qwen2", &json!({"model_type": "perceiver"}))
        .hint
        .unwrap();
    for family in [
        "llama",
        "mistral",
        "qwen3_moe",
        "phi3",
        "gemma3_text",
        "gpt2",
        "starcoder2",
    ] {
        assert!(hint.contains(family), "{hint}");
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let most = u64::MAX;
    let cases = [
        ("qwen2", json!({"num_attention_heads": 0})),
        ("qwen2", json!({"num_key_value_heads": 3})),
        ("qwen2", json!({"num_key_value_heads": 0})),
        ("qwen2", json!({"num_hidden_layers": 0})),
        ("qwen2", json!({"num_hidden_layers": most})),
        ("qwen2", json!({"hidden_size": 0})),
        ("qwen2", json!({"hidden_size": most})),
        ("qwen2", json!({"intermediate_size": most})),
        ("qwen2", json!({"vocab_size": most})),
        ("qwen3", json!({"head_dim": 23})),
        ("qwen3", json!({"head_dim": most})),
        ("qwen3", json!({"head_dim": 0})),
        ("qwen2", json!({"hidden_size": null})),
        ("qwen2", json!({"rope_scaling": {"rope_type": "linear"}})),
        ("phi4_long", json!({"partial_rotary_factor": 1.5})),
        ("phi4_long", json!({"partial_rotary_factor": 1e300})),
        (
            "phi4_long",
            json!({"rope_scaling": {"type": "longrope", "long_factor": [1.0], "short_factor": [1.0]}}),
        ),
        ("mixtral", json!({"num_experts_per_tok": 5})),
        ("mixtral", json!({"num_experts_per_tok": 0})),
        ("mixtral", json!({"num_local_experts": most})),
        ("qwen3_moe", json!({"moe_intermediate_size": most})),
        ("gpt2", json!({"n_positions": most})),
        ("gpt2", json!({"n_inner": most})),
    ];
    for (variant, changes) in cases {
        let failure = refused(variant, &changes);
        assert_eq!(failure.kind, FailureKind::Corrupt, "{changes}: {failure}");
        assert!(
            failure.message.starts_with("cannot load `tiny`: "),
            "{changes}: {failure}"
        );
    }
}

/// Checkpoints of models that also see keep the language model under a prefix, and its configuration in
/// a part of the file; older and newer versions of transformers write it in different places.
#[test]
fn a_language_model_within_a_larger_one() {
    let source = fixture("families/gemma3");
    let text = std::fs::read(source.join("config.json")).unwrap();
    let inner: Value = serde_json::from_slice(&text).unwrap();
    let outer = json!({"model_type": "gemma3", "text_config": inner, "vision_config": {}});
    let file = std::fs::read(source.join("model.safetensors")).unwrap();
    let plain = last_logits(load("gemma3", &json!({})).unwrap().as_ref());
    for prefix in ["language_model.model.", "model.language_model."] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), outer.to_string()).unwrap();
        let renamed = with_prefix(&file, "model.", prefix);
        std::fs::write(folder.path().join("model.safetensors"), renamed).unwrap();
        let weights = Weights::open(&Layout::Folder(folder.path().to_owned())).unwrap();
        let model = families::load(&weights, "tiny", &Cancel::new(), &mut |_| {}).unwrap();
        assert_eq!(last_logits(model.as_ref()), plain, "{prefix}");
    }
}

/// A safetensors file whose tensors' names start otherwise.
fn with_prefix(file: &[u8], old: &str, new: &str) -> Vec<u8> {
    let length = u64::from_le_bytes(*file.first_chunk().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
    let renamed = header.as_object().unwrap().iter().map(|(name, entry)| {
        let rest = name.strip_prefix(old);
        (
            rest.map_or(name.clone(), |rest| format!("{new}{rest}")),
            entry.clone(),
        )
    });
    let header = Value::Object(renamed.collect()).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(&file[8 + length..]);
    bytes
}

fn last_logits(model: &dyn CausalLm) -> Vec<f32> {
    let hidden = model
        .hidden_states(&[5, 6, 7], &mut model.new_cache())
        .unwrap();
    let logits = model.logits(&hidden).unwrap().flatten_all().unwrap();
    logits.to_vec1().unwrap()
}

/// Values that change what is computed, however absurd, end in numbers or an error and not in a panic.
#[test]
fn absurd_constants_do_not_panic() {
    let cases = [
        ("mistral_window", json!({"sliding_window": 0})),
        ("mistral_window", json!({"sliding_window": u64::MAX})),
        ("qwen2_yarn", json!({"rope_theta": 0.0})),
        ("qwen2_yarn", json!({"rope_theta": 1.0})),
        (
            "qwen2_yarn",
            json!({"rope_scaling": {"rope_type": "yarn", "factor": -1.0, "original_max_position_embeddings": 0}}),
        ),
        ("phi4_long", json!({"original_max_position_embeddings": 0})),
        (
            "gemma2",
            json!({"query_pre_attn_scalar": 0, "attn_logit_softcapping": 0.0}),
        ),
        (
            "gemma3",
            json!({"sliding_window_pattern": 0, "layer_types": null}),
        ),
        (
            "smollm3",
            json!({"no_rope_layers": [], "no_rope_layer_interval": 0}),
        ),
        (
            "qwen3_moe",
            json!({"decoder_sparse_step": 0, "mlp_only_layers": [1, 3, 99, -1, "x"]}),
        ),
    ];
    for (variant, changes) in cases {
        if let Ok(model) = load(variant, &changes) {
            let mut cache = model.new_cache();
            for ids in [[1, 2, 3].as_slice(), &[4]] {
                let hidden = model.hidden_states(ids, &mut cache).unwrap();
                model.logits(&hidden).unwrap();
            }
        }
    }
}
