//! Encoders and encoder-decoders whose files are out of the ordinary: configurations that no model can be built by are
//! refused with key and value, and weights that are not used are told.

use engine::{
    Cancel,
    encoders::{self, TextEncoder},
    families::CausalLm,
    hub::Layout,
    seq2seq,
    weights::{Loader, Weights},
};
use serde_json::{Value, json};
use wire::{Failure, FailureKind, host::Event};

use crate::support::fixture;

/// Loads a checkpoint of the fixtures with some values of its configuration and some tensors' names changed; gives the
/// number of layers and what was told.
fn load(
    name: &str,
    changes: &Value,
    renamed: &[(&str, &str)],
) -> Result<(usize, Vec<String>), Failure> {
    let source = fixture(name);
    let text = std::fs::read(source.join("config.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&text).unwrap();
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    let folder = tempfile::tempdir().unwrap();
    let file = "model.safetensors";
    std::fs::copy(source.join(file), folder.path().join(file)).unwrap();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let mut weights = Weights::open(&Layout::Folder(folder.path().to_owned())).unwrap();
    for (old, new) in renamed {
        let entry = weights.tensors[*old].clone();
        if new.ends_with('-') {
            weights.tensors.remove(*old);
        } else {
            weights.tensors.insert((*new).to_owned(), entry);
        }
    }
    let mut notices = Vec::new();
    let mut sink = |event| {
        if let Event::Notice(line) = event {
            notices.push(line);
        }
    };
    let cancel = Cancel::new();
    let mut loader = Loader::new(&weights, "tiny", &cancel, &mut sink);
    let layers = match seq2seq::kind(&weights) {
        None => encoders::build(&weights, &mut loader)?.sizes().layers,
        Some(seq2seq::Kind::Writer) => {
            let model = seq2seq::build(&weights, &mut loader)?;
            CausalLm::sizes(&model).layers
        }
        Some(seq2seq::Kind::Classifier) => {
            let model = seq2seq::Classifier::build(&weights, &mut loader)?;
            model.sizes().layers
        }
        Some(seq2seq::Kind::Encoder) => {
            let model = seq2seq::SourceEncoder::build(&weights, &mut loader)?;
            model.sizes().layers
        }
    };
    Ok((layers, notices))
}

fn refused(name: &str, changes: &Value) -> Failure {
    match load(name, changes, &[]) {
        Ok(_) => panic!("{name} loads with {changes}"),
        Err(failure) => failure,
    }
}

const WHOLE: &str = "a whole number of 0 or more";
const SIZE: &str = "a whole number from 1 to 4096";
const LABELS: &str = "an object that gives ids, which are whole numbers, their labels";

/// Each key with its value, and what it has to be.
fn all_told(cases: &[(&str, &str, Value, &str)]) {
    for (name, key, value, what) in cases {
        let failure = refused(name, &json!({*key: value}));
        let expected = format!(
            "cannot load `tiny`: `{key}` of its configuration is {value}: it has to be {what}"
        );
        assert_eq!(failure.message, expected);
        assert_eq!(failure.kind, FailureKind::Corrupt, "{failure}");
        assert!(failure.hint.unwrap().contains("`config.json`"));
    }
}

/// A value of a wrong type was once "missing", or a default stood in for it; of a size that is impossible neither key
/// nor value was always told.
#[test]
fn a_value_that_cannot_be_is_told() {
    let bert = "encoders/bert_base";
    let labels = "encoders/bert_sequence";
    let groups = "encoders/albert_groups";
    let divisor = "a divisor of the hidden size, which is 32";
    all_told(&[
        (bert, "hidden_size", json!("64"), WHOLE),
        (bert, "hidden_size", json!(32.5), WHOLE),
        (bert, "num_attention_heads", json!(-4), WHOLE),
        (bert, "type_vocab_size", json!("2"), WHOLE),
        (bert, "num_attention_heads", json!(0), SIZE),
        (bert, "num_attention_heads", json!(5), divisor),
        ("encoders/distilbert_base", "n_heads", json!(5), divisor),
        (bert, "num_hidden_layers", json!(0), SIZE),
        (bert, "layer_norm_eps", json!("1e-12"), "a number"),
        (bert, "layer_norm_eps", json!(-1.0), "a number of 0 or more"),
        (bert, "hidden_act", json!(5), "a text"),
        (bert, "is_decoder", json!("no"), "true or false"),
        (bert, "position_embedding_type", json!(1), "a text"),
        (
            "encoders/roberta_base",
            "pad_token_id",
            json!("1"),
            "a whole number",
        ),
        (
            "encoders/roberta_base",
            "pad_token_id",
            json!(-1),
            "a whole number from 0 to 39",
        ),
        (
            "encoders/xlm_roberta_base",
            "pad_token_id",
            json!(u64::MAX),
            "a whole number from 0 to 39",
        ),
        (labels, "id2label", json!(["O", "B"]), LABELS),
        (labels, "id2label", json!({"a": "O"}), LABELS),
        (labels, "id2label", json!({"0": ["O"]}), LABELS),
        (
            labels,
            "label2id",
            json!({"O": "0"}),
            "an object that gives labels their ids",
        ),
        (
            groups,
            "inner_group_num",
            json!(3),
            "from 1 to 2, the steps of each group",
        ),
        (
            groups,
            "num_hidden_groups",
            json!(6),
            "from 1 to the number of layers, which is 5",
        ),
        (
            "encoders/deberta_own_base",
            "conv_groups",
            json!(3),
            "a divisor of `hidden_size`, which is 32",
        ),
    ]);
}

/// The same of encoder-decoders.
#[test]
fn a_value_that_no_encoder_decoder_has_is_told() {
    let (bart, t5) = ("seq2seq/bart", "seq2seq/t5");
    let divisor = "a divisor of `d_model`, which is 32";
    let more = "more than half of `relative_attention_num_buckets`, which is 8";
    all_told(&[
        (bart, "d_model", json!("32"), WHOLE),
        (bart, "encoder_layers", json!(-1), WHOLE),
        (bart, "decoder_attention_heads", json!(5), divisor),
        (
            bart,
            "encoder_ffn_dim",
            json!(0),
            "a whole number from 1 to 4194304",
        ),
        (
            bart,
            "max_position_embeddings",
            json!(0),
            "a whole number from 1 to 16777216",
        ),
        (bart, "scale_embedding", json!("yes"), "true or false"),
        (
            "seq2seq/m2m100",
            "pad_token_id",
            json!(64),
            "a whole number from 0 to 63",
        ),
        (t5, "num_heads", json!(0), SIZE),
        (t5, "d_kv", json!([8]), WHOLE),
        (t5, "layer_norm_epsilon", json!("x"), "a number"),
        (t5, "feed_forward_proj", json!(1), "a text"),
        (t5, "relative_attention_max_distance", json!(4), more),
    ]);
}

/// What is there as `null` is as good as not there.
#[test]
fn what_is_null_is_not_there() {
    let nulls = json!({
        "pad_token_id": null, "is_decoder": null, "classifier_dropout": null, "position_embedding_type": null,
        "id2label": null, "num_labels": null,
    });
    load("encoders/bert_base", &nulls, &[]).unwrap();
}

#[test]
fn what_is_not_computed_is_named() {
    for (name, changes, message) in [
        (
            "encoders/bert_base",
            json!({"hidden_act": "prelu"}),
            "activation `prelu` is not supported",
        ),
        (
            "encoders/bert_base",
            json!({"position_embedding_type": "rotary"}),
            "bert with positions of type `rotary` is not supported",
        ),
        (
            "encoders/bert_relative",
            json!({"is_decoder": true}),
            "`is_decoder` with relative positions is not supported in bert",
        ),
        (
            "seq2seq/t5",
            json!({"feed_forward_proj": "gated-prelu"}),
            "feed-forward layers of `gated-prelu` are not supported",
        ),
    ] {
        let failure = refused(name, &changes);
        assert_eq!(failure.kind, FailureKind::Unsupported, "{failure}");
        assert_eq!(failure.message, format!("cannot load `tiny`: {message}"));
        assert!(failure.hint.is_some(), "{failure}");
    }
    let hint = refused("encoders/bert_base", &json!({"hidden_act": "prelu"})).hint;
    let hint = hint.unwrap();
    for activation in ["quick_gelu", "relu2", "laplace", "gelu_10", "tanh"] {
        assert!(hint.contains(activation), "{hint}");
    }
}

fn notices(name: &str, changes: &Value, renamed: &[(&str, &str)]) -> Vec<String> {
    load(name, changes, renamed).unwrap().1
}

/// As transformers warns: of encoders, too, of what lies among their own layers.
#[test]
fn weights_that_are_not_used_are_told() {
    let start =
        "`tiny`: some weights of its files were not used, as the model has no place for them: ";
    let nothing = json!({});
    let cases = [
        (
            "encoders/bert_base",
            nothing.clone(),
            (
                "encoder.layer.0.output.dense.weight",
                "encoder.layer.7.output.dense.weight",
            ),
        ),
        (
            "encoders/bert_relative",
            json!({"position_embedding_type": "absolute"}),
            ("pooler.dense.bias", "pooler.dense.bias"),
        ),
        (
            "seq2seq/t5",
            nothing.clone(),
            ("shared.weight", "extra.weight"),
        ),
        (
            "seq2seq/t5",
            nothing.clone(),
            (
                "encoder.final_layer_norm.weight",
                "encoder.block.0.layer.0.SelfAttention.q.bias",
            ),
        ),
        (
            "seq2seq/bart",
            nothing.clone(),
            ("model.shared.weight", "classification_head.dense.weight"),
        ),
        (
            "seq2seq/bart_labels",
            nothing,
            ("model.shared.weight", "final_logits_bias"),
        ),
    ];
    for (name, changes, renamed) in cases {
        let told = notices(name, &changes, &[renamed]);
        let [told] = &told[..] else {
            panic!("{name}: {told:?}")
        };
        let named = if name == "encoders/bert_relative" {
            "`encoder.layer.0.attention.self.distance_embedding.weight`, \
             `encoder.layer.1.attention.self.distance_embedding.weight`"
                .to_owned()
        } else {
            format!("`{}`", renamed.1)
        };
        assert_eq!(*told, format!("{start}{named}"));
    }
}

/// Biases are those of the configuration, as of decoders.
#[test]
fn biases_of_modernbert_are_those_of_the_configuration() {
    let without = json!({"mlp_bias": false, "classifier_bias": false});
    let told = notices("encoders/modernbert_mean_masked", &without, &[]);
    let [told] = &told[..] else {
        panic!("{told:?}")
    };
    for name in ["`head.dense.bias`", "`model.layers.2.mlp.Wo.bias`"] {
        assert!(told.contains(name), "{told}");
    }
    assert!(!told.contains("attn"), "{told}");
}

/// What transformers ignores is not told: what the first files have, second names of the token table, buffers.
#[test]
fn weights_that_transformers_ignores_are_not_told() {
    for (name, old, new) in [
        (
            "seq2seq/t5",
            "encoder.final_layer_norm.weight",
            "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
        ),
        ("seq2seq/t5", "shared.weight", "lm_head.weight"),
        ("seq2seq/t5", "shared.weight", "decoder.embed_tokens.weight"),
        (
            "seq2seq/bart",
            "model.shared.weight",
            "model.encoder.version",
        ),
        (
            "seq2seq/m2m100",
            "model.shared.weight",
            "model.encoder.embed_positions.weights",
        ),
        (
            "encoders/bert_masked",
            "bert.embeddings.LayerNorm.weight",
            "bert.embeddings.position_ids",
        ),
        (
            "encoders/deberta_v3_base",
            "embeddings.LayerNorm.weight",
            "embeddings.position_embeddings.weight",
        ),
    ] {
        let told = notices(name, &json!({}), &[(old, new)]);
        assert!(told.is_empty(), "{name} with `{new}`: {told:?}");
    }
}

/// What labels texts needs no head that writes, whether or not the configuration ties it.
#[test]
fn what_labels_texts_needs_no_head_that_writes() {
    let untied = json!({"tie_word_embeddings": false});
    let told = notices("seq2seq/bart_labels", &untied, &[]);
    assert!(told.is_empty(), "{told:?}");
}

/// As of decoders: the token table stands in for a head that is not tied and not there.
#[test]
fn a_head_that_is_missing_is_told() {
    let told = notices("seq2seq/t5_gated", &json!({}), &[("lm_head.weight", "-")]);
    let [told] = &told[..] else {
        panic!("{told:?}")
    };
    assert!(told.contains("no `lm_head.weight`"), "{told}");
}
