//! Keys of a `generation_config.json` by which transformers 4.57 would answer otherwise and which
//! generation here does not have. They are named instead of passed over in silence; values that change
//! nothing (one group of beams, a static cache) are not.

use serde_json::Value;

/// A line for each thing to tell of a file.
pub fn notices(config: &Value, file: &str) -> Vec<String> {
    let mut notices = Vec::new();
    let changing: Vec<String> = CHANGES
        .iter()
        .filter_map(|(key, changes)| {
            let value = config.get(key).filter(|value| !value.is_null())?;
            changes(value).then(|| format!("`{key}` ({value})"))
        })
        .collect();
    if !changing.is_empty() {
        notices.push(format!(
            "`{file}` sets {}, which generation here does not have: answers are those without",
            changing.join(", ")
        ));
    }
    if let Some(id) = config.get("pad_token_id").and_then(Value::as_i64)
        && id < 0
    {
        notices.push(format!(
            "`{file}`: `pad_token_id` should be positive but got {id}; rows of a batch are padded as if it \
             were not set"
        ));
    }
    notices
}

/// Whether a value of a key changes an answer.
type Changes = fn(&Value) -> bool;

const CHANGES: [(&str, Changes); 11] = [
    ("watermarking_config", |_| true),
    ("token_healing", is_true),
    // The others keep the same numbers in other places.
    ("cache_implementation", |value| value == "quantized"),
    ("penalty_alpha", is_above_zero),
    ("dola_layers", |_| true),
    ("diversity_penalty", is_above_zero),
    ("num_beam_groups", |value| value.as_u64() != Some(1)),
    ("constraints", is_filled),
    ("force_words_ids", is_filled),
    ("assistant_early_exit", |_| true),
    ("forced_decoder_ids", is_filled),
];

fn is_true(value: &Value) -> bool {
    value == true
}

fn is_above_zero(value: &Value) -> bool {
    value.as_f64().is_some_and(|value| value > 0.0)
}

fn is_filled(value: &Value) -> bool {
    value.as_array().is_none_or(|items| !items.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::notices;

    #[test]
    fn what_changes_answers_is_named() {
        let config = json!({
            "token_healing": true, "cache_implementation": "quantized",
            "penalty_alpha": 0.6, "num_beam_groups": 2, "watermarking_config": {"bias": 2.0},
            "pad_token_id": -1, "temperature": 0.5,
        });
        let told = notices(&config, "generation_config.json");
        assert_eq!(told.len(), 2);
        assert_eq!(
            told[0],
            "`generation_config.json` sets `watermarking_config` ({\"bias\":2.0}), \
             `token_healing` (true), `cache_implementation` (\"quantized\"), \
             `penalty_alpha` (0.6), `num_beam_groups` (2), which generation here does not have: answers \
             are those without"
        );
        assert!(told[1].contains("`pad_token_id` should be positive but got -1"));
    }

    #[test]
    fn what_changes_nothing_is_not() {
        let config = json!({
            "token_healing": false, "cache_implementation": "hybrid",
            "penalty_alpha": null, "diversity_penalty": 0.0, "num_beam_groups": 1,
            "watermarking_config": null, "force_words_ids": [], "pad_token_id": 0,
        });
        assert_eq!(notices(&config, "config.json"), [""; 0]);
    }
}
