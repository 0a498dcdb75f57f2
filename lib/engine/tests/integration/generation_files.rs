//! What a model's files say of generation when they say it oddly: values that no field can have, no JSON at
//! all, ends of turns that a GGUF file names by their text alone.

use std::path::Path;

use engine::{generate::Defaults, hub::Layout, weights::Weights};
use wire::generate::GenerationConfig;

use crate::{
    generation::Tiny,
    support::{ask, gguf::Gguf},
};

fn with_file(text: &str) -> Tiny {
    Tiny::with("tiny_llama/grouped", &[("generation_config.json", text)])
}

/// Repositories have such values, and transformers loads them.
#[test]
fn an_odd_value_is_passed_over_and_told() {
    let tiny = with_file(
        r#"{"top_k": -1, "eos_token_id": [-1], "bos_token_id": [1], "seed": "none", "max_new_tokens": 4}"#,
    );
    let told = tiny.notices(GenerationConfig::default());
    for key in [
        "`top_k` (-1) is passed over",
        "`bos_token_id` ([1]) is passed over",
    ] {
        assert!(told.contains(key), "{told}");
    }
    assert!(!told.contains("seed") && !told.contains("eos"), "{told}");
    // What is right beside it counts.
    let ids = tiny.generate(&[vec![5, 6, 7]], GenerationConfig::default());
    assert_eq!(ids[0].ids.len(), 4);
}

#[test]
fn a_file_that_is_no_json_is_told_and_the_configuration_speaks() {
    let tiny = with_file("{\"max_new_tokens\": 4");
    let told = tiny.notices(GenerationConfig::default());
    assert!(
        told.contains("`generation_config.json` is no JSON"),
        "{told}"
    );
}

/// `_prepare_generation_config`: greedy, said by the temperature alone.
#[test]
fn a_configuration_of_temperature_zero_is_greedy() {
    let text = r#"{"do_sample": true, "temperature": 0.9, "transformers_version": "4.57.6"}"#;
    let tiny = with_file(text);
    let greedy = tiny.generate(
        &[vec![5, 6, 7]],
        GenerationConfig {
            do_sample: Some(false),
            max_new_tokens: Some(8),
            ..Default::default()
        },
    );
    let own = GenerationConfig {
        temperature: Some(0.0),
        max_new_tokens: Some(8),
        ..Default::default()
    };
    let mut request = tiny.request(&[vec![5, 6, 7]], GenerationConfig::default());
    let wire::host::Request::Generate {
        generation_config, ..
    } = &mut request
    else {
        panic!("another request")
    };
    *generation_config = Some(own.clone());
    let Ok(wire::host::Response::Generated(cold)) = ask(&tiny.service, request).0 else {
        panic!("no text")
    };
    assert_eq!(cold[0].ids, greedy[0].ids);
    // Said by the call itself it stays an error, as there.
    let called = GenerationConfig {
        do_sample: Some(true),
        ..own
    };
    let failure = tiny.fail(&[vec![5, 6, 7]], called);
    assert!(failure.message.contains("strictly positive"), "{failure:?}");
}

#[test]
fn guesses_need_the_cache() {
    let config = GenerationConfig {
        use_cache: Some(false),
        prompt_lookup_num_tokens: Some(3),
        max_new_tokens: Some(4),
        ..Default::default()
    };
    let failure = Tiny::new().fail(&[vec![5, 6, 7]], config);
    assert_eq!(
        failure.message,
        "assisted generate requires `use_cache=True`"
    );
}

/// Phi's, Gemma's and Llama's files name the end of a document, and a chat ends its turns by another token.
#[test]
fn turns_of_a_gguf_end_by_what_their_tokens_are_called() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = [
        ("<|endoftext|>", 3),
        ("<|end|>", 3),
        ("<|assistant|>", 3),
        ("<end_of_turn>", 4),
        // A piece of text that only looks like one.
        ("<|im_end|>", 1),
        ("word", 1),
    ];
    let ends = ends_of(folder.path(), &tokens, Some(0));
    assert_eq!(ends, Some(vec![0, 1, 3]));
    let ends = ends_of(folder.path(), &tokens, Some(2));
    assert_eq!(ends, Some(vec![2, 0, 1, 3]));
    assert_eq!(ends_of(folder.path(), &tokens[4..], None), None);
}

fn ends_of(folder: &Path, tokens: &[(&str, i32)], eos: Option<u32>) -> Option<Vec<u32>> {
    let list = |kind: u32, items: Vec<u8>| {
        let mut value = kind.to_le_bytes().to_vec();
        value.extend((tokens.len() as u64).to_le_bytes());
        value.extend(items);
        value
    };
    let texts = tokens.iter().flat_map(|(text, _)| {
        let mut item = (text.len() as u64).to_le_bytes().to_vec();
        item.extend(text.as_bytes());
        item
    });
    let kinds = tokens.iter().flat_map(|(_, kind)| kind.to_le_bytes());
    let mut file = Gguf::new()
        .pair("tokenizer.ggml.tokens", 9, &list(8, texts.collect()))
        .pair("tokenizer.ggml.token_type", 9, &list(5, kinds.collect()));
    if let Some(eos) = eos {
        file = file.pair("tokenizer.ggml.eos_token_id", 4, &eos.to_le_bytes());
    }
    let path = folder.join("model.gguf");
    std::fs::write(&path, file.0).unwrap();
    let layout = Layout::Gguf(path);
    let weights = Weights::open(&layout).unwrap();
    let (defaults, _) = Defaults::read(&layout, &weights).unwrap();
    defaults.config.eos_token_id
}
