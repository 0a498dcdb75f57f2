//! Calls of `apply_chat_template` with each of its parameters, against what transformers answers
//! (`fixtures/chat_calls.json`, by `make_chat_calls.py`).

use std::{fs, path::Path};

use engine::{
    Cancel,
    hub::{Layout, ModelFiles},
    tokenizer::Tokenizer,
};
use serde_json::{Map, Value, json};
use wire::{
    FailureKind,
    text::{ChatMessage, RenderedChat, TemplateOptions},
};

use crate::support::{fixture, json};

/// The parts of an error's text, ours and theirs, by which each is known.
const ERRORS: [(&str, &str); 8] = [
    (
        "multiple chat templates with no default",
        "has several chat templates",
    ),
    ("tokenizer.chat_template is not set", "has no chat template"),
    (
        "continue_final_message and add_generation_prompt",
        "not compatible",
    ),
    (
        "not compatible with return_assistant_tokens_mask",
        "not compatible",
    ),
    ("does not appear in the chat", "does not appear in the chat"),
    (
        "TemplateError: no system message",
        "refuses message 0: no system message, please",
    ),
    (
        "Documents should be a list of dicts",
        "a document is no object",
    ),
    (
        "UndefinedError: 'dict object' has no attribute 'content'",
        "tried to use + operator on unsupported types string and undefined",
    ),
];

#[test]
fn calls_answer_as_in_transformers() {
    let fixture = json("chat_calls.json");
    let folder = tempfile::tempdir().unwrap();
    let setups = fixture["setups"].as_object().unwrap();
    let mut tokenizers = Map::new();
    let mut loaded = Vec::new();
    for (at, (name, files)) in setups.iter().enumerate() {
        tokenizers.insert(name.clone(), at.into());
        loaded.push(prepared(&folder.path().join(at.to_string()), files));
    }
    let calls = fixture["calls"].as_array().unwrap();
    assert!(calls.len() > 75);
    let mut wrong = Vec::new();
    for call in calls {
        let at = tokenizers[call["setup"].as_str().unwrap()]
            .as_u64()
            .unwrap();
        let got = answer(&loaded[at as usize], call);
        let wanted = &call["answer"];
        let is_same = match wanted["error"].as_str() {
            Some(error) => ERRORS.iter().any(|(theirs, ours)| {
                error.contains(theirs)
                    && got["error"].as_str().is_some_and(|got| got.contains(ours))
            }),
            None => got == *wanted,
        };
        if !is_same {
            wrong.push(format!(
                "{} {}\n     got {got}\n  wanted {wanted}",
                call["setup"], call["options"]
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// The small tokenizer with these files and this configuration.
fn prepared(folder: &Path, files: &Value) -> Tokenizer {
    fs::create_dir(folder).unwrap();
    for entry in fs::read_dir(fixture("tokenizers/qwen2")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    for (name, content) in files.as_object().unwrap() {
        if name == "config" {
            let path = folder.join("tokenizer_config.json");
            let mut config: Map<String, Value> =
                serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            config.extend(content.as_object().unwrap().clone());
            fs::write(path, Value::from(config).to_string()).unwrap();
        } else {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content.as_str().unwrap()).unwrap();
        }
    }
    let files = ModelFiles {
        name: "small".into(),
        layout: Layout::Folder(folder.to_owned()),
    };
    Tokenizer::load(&files).unwrap()
}

/// The answer in the form that transformers gives.
fn answer(tokenizer: &Tokenizer, call: &Value) -> Value {
    let conversations: Vec<Vec<ChatMessage>> =
        serde_json::from_value(call["conversations"].clone()).unwrap();
    let options = options(call["options"].as_object().unwrap());
    let has_mask = options.return_assistant_tokens_mask;
    match tokenizer.apply_chat_templates(&conversations, &options, &Cancel::new()) {
        Ok(chats) => columns(&chats, has_mask),
        Err(failure) => {
            assert_ne!(failure.kind, FailureKind::Internal);
            json!({"error": failure.message})
        }
    }
}

fn columns(chats: &[RenderedChat], has_mask: bool) -> Value {
    let column = |part: fn(&RenderedChat) -> Value| chats.iter().map(part).collect::<Value>();
    let mut answer = json!({
        "texts": column(|chat| json!(chat.text)),
        "input_ids": column(|chat| json!(chat.inputs.input_ids)),
        "attention_mask": column(|chat| json!(chat.inputs.attention_mask)),
    });
    if has_mask {
        answer["assistant_masks"] = column(|chat| json!(chat.assistant_mask));
    }
    answer
}

/// Python's keyword arguments as options; what is no parameter is a variable of the template.
fn options(arguments: &Map<String, Value>) -> TemplateOptions {
    let mut known = json!({});
    let mut variables = Map::new();
    for (name, value) in arguments {
        match (name.as_str(), value) {
            ("padding", Value::Bool(true)) => known[name] = "Longest".into(),
            ("padding", _) => known[name] = "MaxLength".into(),
            ("truncation", _) => known[name] = "LongestFirst".into(),
            ("tokenizer_kwargs", kwargs) => {
                assert_eq!(kwargs["padding_side"], "left");
                known["padding_side"] = "Left".into();
            }
            ("style" | "limit" | "image_token" | "audio_token", _) => {
                variables.insert(name.clone(), value.clone());
            }
            // There a keyword argument, which goes before the tokenizer's own in a template.
            _ => known[name] = value.clone(),
        }
    }
    known["variables"] = variables.into();
    serde_json::from_value(known).unwrap()
}
