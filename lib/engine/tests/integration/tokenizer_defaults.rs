//! What classes of transformers bring along where `tokenizer_config.json` names them and nothing else: special
//! tokens, how they are found, inputs, padding, and what they change in a `tokenizer.json`. What transformers
//! gave is by `fixtures/make_tokenizer_defaults.py`.

use std::path::Path;

use engine::{
    Cancel,
    hub::{Layout, ModelFiles},
    tokenizer::Tokenizer,
};
use serde_json::{Value, json};
use wire::tokenize::{EncodeOptions, EncodedRow, Padding, Side, TextInput, Truncation};

use crate::support::json as fixture_json;

fn load(folder: &Path, file: &Value, class: &str) -> Tokenizer {
    let config = json!({ "tokenizer_class": class });
    for (name, value) in [("tokenizer.json", file), ("tokenizer_config.json", &config)] {
        std::fs::write(folder.join(name), value.to_string()).unwrap();
    }
    let files = ModelFiles {
        name: class.into(),
        layout: Layout::Folder(folder.to_owned()),
    };
    Tokenizer::load(&files).unwrap_or_else(|failure| panic!("{class}: {failure}"))
}

#[test]
fn classes_bring_their_defaults_along() {
    let fixture = fixture_json("tokenizers/defaults.json");
    let folder = tempfile::tempdir().unwrap();
    let classes = fixture["classes"].as_object().unwrap();
    assert!(classes.len() > 45);
    let mut differences = Vec::new();
    for (class, kinds) in classes {
        for (kind, wanted) in kinds.as_object().unwrap() {
            let tokenizer = load(folder.path(), &fixture["files"][kind], class);
            let got = described(&tokenizer, &fixture, wanted);
            for (name, got) in got.as_object().unwrap() {
                if *got != wanted[name] {
                    let wanted = &wanted[name];
                    differences.push(format!(
                        "{class} {kind} {name}\n     got {got}\n  wanted {wanted}"
                    ));
                }
            }
        }
    }
    let count = differences.len();
    assert!(
        count == 0,
        "{count} differences\n{}",
        differences.join("\n")
    );
}

/// The same description as the script's.
fn described(tokenizer: &Tokenizer, fixture: &Value, wanted: &Value) -> Value {
    let info = tokenizer.info();
    let side = match info.padding_side {
        Side::Left => "left",
        Side::Right => "right",
    };
    let mut special = serde_json::Map::new();
    for (name, token) in info.named_tokens() {
        special.extend(token.as_ref().map(|token| (name.to_owned(), json!(token))));
    }
    let additional = &info.additional_special_tokens;
    if !additional.is_empty() {
        special.insert("additional_special_tokens".into(), json!(additional));
    }
    let mut got = json!({
        "special_tokens_map": special,
        "all_special_ids": info.all_special_ids,
        "added": added(tokenizer),
        "padding_side": side,
        "inputs": info.model_input_names,
    });
    // Classes of documents take no text in transformers.
    if wanted.get("texts").is_none() {
        return got;
    }
    let texts = fixture["texts"].as_array().unwrap();
    let texts: Vec<TextInput> = texts
        .iter()
        .map(|text| text.as_str().unwrap().into())
        .collect();
    let rows = encoded(tokenizer, &texts, &EncodeOptions::default());
    got["texts"] = rows.iter().map(ids_and_offsets).collect();
    let [first, second] = [0, 1].map(|at: usize| fixture["pair"][at].as_str().unwrap());
    let pair = encoded(
        tokenizer,
        &[(first, second).into()],
        &EncodeOptions::default(),
    );
    let pair = columns(&info.model_input_names, &pair);
    got["pair"] = pair
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, rows)| (name.clone(), rows[0].clone()))
        .collect::<serde_json::Map<_, _>>()
        .into();
    if info.pad_token.is_some() {
        let options = EncodeOptions {
            padding: Padding::Longest,
            ..EncodeOptions::default()
        };
        let rows = encoded(tokenizer, &texts[..2], &options);
        got["padded"] = columns(&info.model_input_names, &rows);
    }
    got
}

fn encoded(
    tokenizer: &Tokenizer,
    inputs: &[TextInput],
    options: &EncodeOptions,
) -> Vec<EncodedRow> {
    let batch = tokenizer.encode_batch(inputs, options, &Cancel::new());
    batch.unwrap_or_else(|failure| panic!("{failure}")).rows
}

fn ids_and_offsets(row: &EncodedRow) -> Value {
    let spans = row.char_starts.iter().zip(&row.char_ends);
    json!({"ids": row.input_ids, "offsets": spans.collect::<Vec<_>>()})
}

/// Columns of what the model is given.
fn columns(names: &[String], rows: &[EncodedRow]) -> Value {
    let of = |row: &EncodedRow, name: &str| match name {
        "token_type_ids" => row.token_type_ids.clone(),
        "attention_mask" => row.attention_mask.clone(),
        _ => row.input_ids.clone(),
    };
    let column = |name: &String| {
        let rows: Vec<Vec<u32>> = rows.iter().map(|row| of(row, name)).collect();
        (name.clone(), json!(rows))
    };
    names
        .iter()
        .map(column)
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Added tokens, each with its id and how it is found.
fn added(tokenizer: &Tokenizer) -> Value {
    let folder = tempfile::tempdir().unwrap();
    tokenizer.save(folder.path()).unwrap();
    let text = std::fs::read(folder.path().join("tokenizer_config.json")).unwrap();
    let config: Value = serde_json::from_slice(&text).unwrap();
    let tokens = config["added_tokens_decoder"].as_object().unwrap();
    let mut tokens: Vec<(u64, &Value)> = tokens
        .iter()
        .map(|(id, token)| (id.parse().unwrap(), token))
        .collect();
    tokens.sort_unstable_by_key(|(id, _)| *id);
    let described = tokens.into_iter().map(|(id, token)| {
        let flags = [
            ("lstrip", 'l'),
            ("rstrip", 'r'),
            ("single_word", 'w'),
            ("normalized", 'N'),
            ("special", 's'),
        ];
        let set = flags.iter().filter(|(name, _)| token[*name] == true);
        json!([
            id,
            token["content"],
            set.map(|(_, letter)| letter).collect::<String>()
        ])
    });
    described.collect()
}

/// Too large a stride is refused also where nothing is cut.
#[test]
fn strides_are_refused_as_in_transformers() {
    let fixture = fixture_json("tokenizers/defaults.json");
    let folder = tempfile::tempdir().unwrap();
    let file = &fixture["files"]["unlisted"];
    let tokenizer = load(folder.path(), file, "PreTrainedTokenizerFast");
    for case in fixture["strides"].as_array().unwrap() {
        let number = |name: &str| case[name].as_u64().unwrap() as u32;
        let options = EncodeOptions {
            truncation: Truncation::LongestFirst,
            max_length: Some(number("max_length")),
            stride: number("stride"),
            add_special_tokens: case["add_special_tokens"] == true,
            ..EncodeOptions::default()
        };
        let input = case["text"].as_str().unwrap().into();
        let got = tokenizer.encode_batch(&[input], &options, &Cancel::new());
        assert_eq!(got.is_err(), case["refused"] == true, "{case}");
    }
}
