//! Whether the values of a `config.json` are of the types that its keys take: one that is not is told, and neither taken
//! for one that is missing nor replaced by a default. `null` is as good as nothing. What the values mean is `json`'s
//! matter.

use serde_json::Value;
use wire::{Failure, FailureKind};

/// Most characters that are shown of a value.
const SHOWN: usize = 40;

/// Keys, which values they take, and what those are called.
type Kind = (&'static [&'static str], fn(&Value) -> bool, &'static str);

/// What counts are called.
const COUNT: &str = "a whole number of 0 or more";

/// Of a decoder.
const DECODER: [Kind; 4] = [
    (
        &[
            "head_dim",
            "hidden_size",
            "intermediate_size",
            "max_position_embeddings",
            "moe_intermediate_size",
            "n_embd",
            "n_head",
            "n_inner",
            "n_layer",
            "n_positions",
            "num_attention_heads",
            "num_experts",
            "num_experts_per_tok",
            "num_hidden_layers",
            "num_key_value_heads",
            "num_local_experts",
            "original_max_position_embeddings",
            "sliding_window",
            "vocab_size",
        ],
        Value::is_u64,
        COUNT,
    ),
    (
        &[
            "attn_logit_softcapping",
            "final_logit_softcapping",
            "layer_norm_epsilon",
            "norm_epsilon",
            "partial_rotary_factor",
            "query_pre_attn_scalar",
            "rms_norm_eps",
            "rope_local_base_freq",
            "rope_theta",
        ],
        Value::is_number,
        "a number",
    ),
    (
        &["activation_function", "hidden_act", "hidden_activation"],
        Value::is_string,
        "a text",
    ),
    (
        &["rope_parameters", "rope_scaling"],
        Value::is_object,
        "an object",
    ),
];

/// Of what describes a rotary embedding.
const ROPE: [Kind; 3] = [
    (
        &[
            "attention_factor",
            "beta_fast",
            "beta_slow",
            "factor",
            "high_freq_factor",
            "low_freq_factor",
            "mscale",
            "mscale_all_dim",
            "original_max_position_embeddings",
            "partial_rotary_factor",
            "rope_theta",
        ],
        Value::is_number,
        "a number",
    ),
    (&["rope_type", "type"], Value::is_string, "a text"),
    (&["long_factor", "short_factor"], Value::is_array, "a list"),
];

/// Of an encoder, and of an encoder-decoder.
const READER: [Kind; 7] = [
    (
        &[
            "attention_head_size",
            "conv_groups",
            "conv_kernel_size",
            "d_ff",
            "d_kv",
            "d_model",
            "decoder_attention_heads",
            "decoder_ffn_dim",
            "decoder_layers",
            "decoder_vocab_size",
            "dim",
            "embedding_size",
            "encoder_attention_heads",
            "encoder_ffn_dim",
            "encoder_layers",
            "global_attn_every_n_layers",
            "hidden_dim",
            "hidden_size",
            "inner_group_num",
            "intermediate_size",
            "local_attention",
            "max_position_embeddings",
            "n_heads",
            "n_layers",
            "n_positions",
            "num_attention_heads",
            "num_decoder_layers",
            "num_heads",
            "num_hidden_groups",
            "num_hidden_layers",
            "num_labels",
            "num_layers",
            "pooler_hidden_size",
            "relative_attention_max_distance",
            "relative_attention_num_buckets",
            "type_vocab_size",
            "vocab_size",
        ],
        Value::is_u64,
        COUNT,
    ),
    (
        &["max_relative_positions", "pad_token_id", "position_buckets"],
        |value| value.is_u64() || value.is_i64(),
        "a whole number",
    ),
    (
        &[
            "global_rope_theta",
            "layer_norm_eps",
            "layer_norm_epsilon",
            "local_rope_theta",
            "norm_eps",
        ],
        Value::is_number,
        "a number",
    ),
    (
        &[
            "activation",
            "activation_function",
            "classifier_activation",
            "classifier_pooling",
            "conv_act",
            "feed_forward_proj",
            "hidden_act",
            "hidden_activation",
            "norm_rel_ebd",
            "pooler_hidden_act",
            "position_embedding_type",
            "problem_type",
        ],
        Value::is_string,
        "a text",
    ),
    (
        &[
            "add_final_layer_norm",
            "attention_bias",
            "classifier_bias",
            "decoder_bias",
            "is_decoder",
            "legacy",
            "mlp_bias",
            "norm_bias",
            "normalize_before",
            "position_biased_input",
            "relative_attention",
            "return_all_scores",
            "scale_embedding",
            "share_att_key",
            "share_encoder_decoder_embeddings",
            "static_position_embeddings",
            "tie_word_embeddings",
        ],
        Value::is_boolean,
        "true or false",
    ),
    (
        &["id2label"],
        names_ids,
        "an object that gives ids, which are whole numbers, their labels",
    ),
    (
        &["label2id"],
        |value| ids_of(value).is_some_and(|mut ids| ids.all(|id| id.is_u64() || id.is_null())),
        "an object that gives labels their ids",
    ),
];

/// Whether it is an object of labels by ids. transformers takes labels that are no texts, too.
fn names_ids(value: &Value) -> bool {
    let is_label = |label: &Value| !label.is_array() && !label.is_object();
    value.as_object().is_some_and(|labels| {
        let mut labels = labels.iter();
        labels.all(|(id, label)| id.parse::<u32>().is_ok() && is_label(label))
    })
}

fn ids_of(value: &Value) -> Option<impl Iterator<Item = &Value>> {
    value.as_object().map(serde_json::Map::values)
}

/// Of the configuration of an encoder or an encoder-decoder.
pub fn check_reader(values: &Value) -> Result<(), Failure> {
    check_by(&READER, values)
}

/// Fails on a size that no model has.
pub fn check_size(key: &str, size: usize, most: usize) -> Result<(), Failure> {
    if (1..=most).contains(&size) {
        return Ok(());
    }
    Err(unfit(
        key,
        size,
        &format!("a whole number from 1 to {most}"),
    ))
}

/// The failure of a value that no model can have.
pub fn unfit(key: &str, value: impl Into<Value>, what: &str) -> Failure {
    wrong(key, &value.into(), what)
}

/// Of the configuration of a decoder.
pub fn check(values: &Value) -> Result<(), Failure> {
    check_by(&DECODER, values)
}

/// Of what it says of a rotary embedding.
pub fn check_rope(values: &Value) -> Result<(), Failure> {
    check_by(&ROPE, values)
}

fn check_by(kinds: &[Kind], values: &Value) -> Result<(), Failure> {
    for (keys, takes, what) in kinds {
        for key in *keys {
            match &values[*key] {
                Value::Null => {}
                value if takes(value) => {}
                value => return Err(wrong(key, value, what)),
            }
        }
    }
    Ok(())
}

fn wrong(key: &str, value: &Value, what: &str) -> Failure {
    let text = value.to_string();
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    let message = format!("`{key}` of its configuration is {shown}: it has to be {what}");
    Failure::new(FailureKind::Corrupt, message).hint("mend `config.json`, or fetch it again")
}
