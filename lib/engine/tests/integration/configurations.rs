//! Configurations that are out of the ordinary: those that no model can be built by are refused by
//! name, before weights are read and without memory of their choosing.

use engine::{
    Cancel,
    families::{self, CausalLm},
    hub::Layout,
    weights::Weights,
};
use serde_json::{Value, json};
use wire::{Failure, FailureKind, host::Event};

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
        (
            "qwen2",
            json!({"hidden_act": "xielu"}),
            "activation `xielu`",
        ),
        (
            "qwen2",
            json!({"rope_scaling": {"rope_type": "ntk", "factor": 2.0}}),
            "rope scaling `ntk`",
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

/// A value of a wrong type was once "missing", or a default stood in for it.
#[test]
fn a_value_of_a_wrong_type_is_told() {
    let whole = "a whole number of 0 or more";
    let cases = [
        (
            "qwen2",
            json!({"hidden_size": "36"}),
            "`hidden_size` of its configuration is \"36\"",
            whole,
        ),
        ("qwen2", json!({"hidden_size": 36.5}), "is 36.5", whole),
        ("qwen2", json!({"hidden_size": -36}), "is -36", whole),
        ("qwen2", json!({"num_key_value_heads": -1}), "is -1", whole),
        (
            "qwen2",
            json!({"max_position_embeddings": true}),
            "is true",
            whole,
        ),
        (
            "gpt2",
            json!({"n_inner": [9]}),
            "`n_inner` of its configuration is [9]",
            whole,
        ),
        (
            "qwen2",
            json!({"rms_norm_eps": "x"}),
            "is \"x\"",
            "a number",
        ),
        (
            "qwen2",
            json!({"rope_theta": "1e4"}),
            "is \"1e4\"",
            "a number",
        ),
        ("qwen2", json!({"hidden_act": 5}), "is 5", "a text"),
        (
            "qwen2",
            json!({"rope_scaling": "linear"}),
            "is \"linear\"",
            "an object",
        ),
        (
            "qwen2",
            json!({"rope_scaling": {"rope_type": "linear", "factor": "2"}}),
            "`factor` of its configuration is \"2\"",
            "a number",
        ),
        (
            "qwen2",
            json!({"rope_scaling": {"rope_type": 5}}),
            "is 5",
            "a text",
        ),
    ];
    for (variant, changes, is, has_to_be) in cases {
        let failure = refused(variant, &changes);
        assert_eq!(failure.kind, FailureKind::Corrupt, "{changes}: {failure}");
        let end = format!("{is}: it has to be {has_to_be}");
        assert!(
            failure.message.ends_with(&end) && failure.hint.is_some(),
            "{changes}: {failure}"
        );
    }
    let nulls =
        json!({"max_position_embeddings": null, "rope_scaling": null, "sliding_window": null});
    load("llama_long_prompt", &nulls).map(drop).unwrap();
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

/// Loads a llama from these weights with some values of its configuration changed; also what is told of it.
fn told(config: &Value, weights: &[u8]) -> (Box<dyn CausalLm>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    std::fs::write(folder.path().join("model.safetensors"), weights).unwrap();
    let weights = Weights::open(&Layout::Folder(folder.path().to_owned())).unwrap();
    let mut notices = Vec::new();
    let mut sink = |event| {
        if let Event::Notice(line) = event {
            notices.push(line);
        }
    };
    let model = families::load(&weights, "tiny", &Cancel::new(), &mut sink).unwrap();
    (model, notices)
}

fn stored(checkpoint: &str) -> (Value, Vec<u8>) {
    let source = fixture(checkpoint);
    let config = std::fs::read(source.join("config.json")).unwrap();
    let weights = std::fs::read(source.join("model.safetensors")).unwrap();
    (serde_json::from_slice(&config).unwrap(), weights)
}

/// As in transformers biases that the configuration does not have are not used, and that is told.
#[test]
fn biases_are_those_of_the_configuration() {
    let (mut config, file) = stored("tiny_llama/wide_heads_bias");
    let (all, notices) = told(&config, &file);
    assert!(notices.is_empty(), "{notices:?}");
    config["mlp_bias"] = false.into();
    let (some, notices) = told(&config, &file);
    let [notice] = &notices[..] else {
        panic!("{notices:?}")
    };
    let first = "`model.layers.0.mlp.gate_proj.bias` and 5 more of its files are not used";
    assert!(notice.contains(first), "{notice}");
    config["attention_bias"] = false.into();
    let (none, _) = told(&config, &file);
    let bare = text_replaced(&file, "proj.bias\"", "proj.bi_s\"");
    let (without, notices) = told(&config, &bare);
    assert!(notices.is_empty(), "{notices:?}");
    let [all, some, none, without] =
        [all, some, none, without].map(|model| last_logits(model.as_ref()));
    assert_eq!(none, without);
    assert!(all != some && some != none);
}

/// The same of a head, which the token table stands in for.
#[test]
fn a_head_that_is_missing_is_told() {
    let (mut config, file) = stored("tiny_llama/grouped");
    let file = text_replaced(&file, "\"lm_head.weight", "\"lm_head.weighs");
    let (untied, notices) = told(&config, &file);
    let [notice] = &notices[..] else {
        panic!("{notices:?}")
    };
    assert!(notice.contains("no `lm_head.weight`"), "{notice}");
    config["tie_word_embeddings"] = true.into();
    let (tied, notices) = told(&config, &file);
    assert!(notices.is_empty(), "{notices:?}");
    assert_eq!(last_logits(untied.as_ref()), last_logits(tied.as_ref()));
}

/// A file in whose header a text is another of the same length.
fn text_replaced(file: &[u8], old: &str, new: &str) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let length = u64::from_le_bytes(*file.first_chunk().unwrap()) as usize;
    let header = str::from_utf8(&file[8..8 + length]).unwrap();
    let header = header.replace(old, new);
    [&file[..8], header.as_bytes(), &file[8 + length..]].concat()
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
