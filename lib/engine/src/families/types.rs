//! Whether the values of a `config.json` are of the types that its keys take: one that is not is told, and neither taken
//! for one that is missing nor replaced by a default. `null` is as good as nothing. What the values mean is `json`'s
//! matter.

use serde_json::Value;
use wire::{Failure, FailureKind};

/// Most characters that are shown of a value.
const SHOWN: usize = 40;

/// Keys, which values they take, and what those are called.
type Kind = (&'static [&'static str], fn(&Value) -> bool, &'static str);

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
        "a whole number of 0 or more",
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
