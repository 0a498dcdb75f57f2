//! Tokenizers of every kind that repositories ship, against transformers' own classes: ids, types,
//! masks, offsets, tokens, decoded texts, padding, truncation, windows and added tokens. The files
//! and what transformers gave are by `fixtures/make_tokenizers.py`.

#![expect(
    clippy::needless_pass_by_value,
    reason = "what a test compares it makes for the comparison"
)]

use std::path::Path;

use engine::{
    Cancel,
    hub::{Layout, ModelFiles},
    tokenizer::{TextStreamer, Tokenizer},
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use wire::{
    generate::StreamOptions,
    tokenize::{
        DecodeOptions, EncodeOptions, EncodedRow, NewToken, Padding, Side, TextInput, Truncation,
    },
};

use crate::support::{fixture, ids, json, one_test_each};

one_test_each![
    bert_uncased,
    bert_cased,
    bert_plain,
    mpnet,
    gpt2,
    gpt2_bos,
    roberta,
    bart,
    qwen2,
    clip,
    llama,
    llama_new,
    gemma,
    t5,
    xlm_roberta,
    camembert,
    deberta_v2,
    albert,
    pegasus,
    marian,
    speecht5,
    json_bert,
    json_llama,
    json_gpt2,
    json_roberta,
    json_gpt_neox,
    json_cohere,
    json_bloom,
    code_llama,
    json_code_llama,
    bare_llama,
    mbart,
    mbart_listed,
    mbart50,
    nllb,
    nllb_old,
    m2m100,
    m2m100_bare,
];

fn load(folder: &Path) -> Tokenizer {
    let files = ModelFiles {
        name: "small".into(),
        layout: Layout::Folder(folder.to_owned()),
    };
    Tokenizer::load(&files).unwrap_or_else(|failure| panic!("{failure}"))
}

/// Differences, so that one run shows all.
#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    fn compare<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, got: T, wanted: T) {
        if got != wanted {
            self.0
                .push(format!("{what}\n     got {got:?}\n  wanted {wanted:?}"));
        }
    }
}

fn check(kind: &str) {
    let folder = fixture("tokenizers").join(kind);
    let tokenizer = load(&folder);
    let cases = json(&format!("tokenizers/{kind}/cases.json"));
    let texts = json("tokenizers/texts.json");
    let mut differences = Differences::default();
    described(&tokenizer, &cases, &mut differences);
    let inputs = texts["texts"].as_array().unwrap();
    for (text, case) in inputs.iter().zip(cases["texts"].as_array().unwrap()) {
        one(
            &tokenizer,
            text.as_str().unwrap().into(),
            case,
            &mut differences,
        );
    }
    for (text, wanted) in inputs.iter().zip(cases["plain"].as_array().unwrap()) {
        let encoding = tokenizer.encode(text.as_str().unwrap(), false).unwrap();
        let got: Vec<u32> = encoding.tokens.iter().map(|token| token.id).collect();
        differences.compare(&format!("bare {text}"), got, ids(wanted));
    }
    let pairs = texts["pairs"].as_array().unwrap();
    for (pair, case) in pairs.iter().zip(cases["pairs"].as_array().unwrap()) {
        let [first, second] = [0, 1].map(|at: usize| pair[at].as_str().unwrap());
        let pair = (first, second).into();
        // CodeLlama's fill in between a pair that comes alone, and not in a list.
        if kind.ends_with("code_llama") {
            looked_at(&tokenizer, &pair, case, &mut differences);
        } else {
            one(&tokenizer, pair, case, &mut differences);
        }
    }
    for case in cases["infilled"].as_array().into_iter().flatten() {
        infilled(&tokenizer, case, &mut differences);
    }
    let split = EncodeOptions {
        split_special_tokens: true,
        ..EncodeOptions::default()
    };
    for (text, wanted) in inputs[26..29]
        .iter()
        .zip(cases["split"].as_array().unwrap())
    {
        let encoding = tokenizer
            .encode_input(&text.as_str().unwrap().into(), &split)
            .unwrap();
        differences.compare(&format!("split {text}"), token_ids(&encoding), ids(wanted));
    }
    let alone = tokenizer
        .encode_input(&("Hello world", "").into(), &EncodeOptions::default())
        .unwrap();
    differences.compare(
        "an empty second text",
        token_ids(&alone),
        ids(&cases["empty_second"]),
    );
    for (special, lists) in [false, true]
        .into_iter()
        .zip(cases["counts"].as_array().unwrap())
    {
        counted(&tokenizer, special, lists, &mut differences);
    }
    for case in cases["batches"].as_array().unwrap() {
        batch(&tokenizer, case, &mut differences);
    }
    extended(&tokenizer, &cases["extended"], &mut differences);
    of_target(&tokenizer, &cases["target"], &mut differences);
    for case in cases["languages"].as_array().into_iter().flatten() {
        let text = case["text"].as_str().unwrap();
        one(&tokenizer, text.into(), case, &mut differences);
    }
    for (place, case) in texts["streamed"]
        .as_array()
        .unwrap()
        .iter()
        .zip(cases["streams"].as_array().unwrap())
    {
        streamed(
            &tokenizer,
            place.as_u64().unwrap() % 2 == 0,
            case,
            &mut differences,
        );
    }
    let long = tokenizer.encode(&long_text(&texts), true).unwrap();
    let mut hash = Sha256::new();
    for token in &long.tokens {
        hash.update(token.id.to_le_bytes());
    }
    differences.compare(
        "a million characters",
        hex(&hash.finalize()),
        text_of(&cases["long_sha256"]),
    );
    let count = differences.0.len();
    assert!(
        count == 0,
        "{kind}: {count} differences\n{}",
        differences.0.join("\n")
    );
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn described(tokenizer: &Tokenizer, cases: &Value, differences: &mut Differences) {
    let info = tokenizer.info();
    differences.compare(
        "length",
        u64::from(info.vocab_size),
        cases["length"].as_u64().unwrap(),
    );
    let own = cases["vocab_size"].as_u64().unwrap();
    differences.compare("vocab_size", u64::from(info.own_vocab_size), own);
    for (name, got) in info.named_tokens() {
        let wanted = cases["special_tokens_map"][name].as_str();
        differences.compare(name, got.as_deref(), wanted);
        let wanted = cases["special_ids"][name].as_u64();
        let got = info.special_token_ids.get(name).map(|id| u64::from(*id));
        differences.compare(&format!("{name}_id"), got, wanted);
    }
    let list: Vec<&str> = cases["special_tokens_map"]["additional_special_tokens"]
        .as_array()
        .map(|tokens| tokens.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let got: Vec<&str> = info
        .additional_special_tokens
        .iter()
        .map(String::as_str)
        .collect();
    differences.compare("additional_special_tokens", got, list);
    differences.compare(
        "all_special_ids",
        info.all_special_ids.clone(),
        ids(&cases["all_special_ids"]),
    );
    let side = if cases["padding_side"] == "left" {
        Side::Left
    } else {
        Side::Right
    };
    differences.compare("padding_side", info.padding_side, side);
    let limit = info.model_max_length.map_or(1_000_000_000, u64::from);
    differences.compare(
        "model_max_length",
        limit,
        cases["max_length"].as_u64().unwrap(),
    );
    let inputs: Vec<String> = serde_json::from_value(cases["inputs"].clone()).unwrap();
    differences.compare("model_input_names", info.model_input_names.clone(), inputs);
    differences.compare(
        "clean_up",
        Some(info.clean_up_tokenization_spaces),
        cases["clean_up"].as_bool(),
    );
    let added = tokenizer.vocabulary(true);
    let wanted = cases["added"].as_array().unwrap().iter();
    let wanted: Vec<(String, u32)> = wanted
        .map(|entry| (text_of(&entry[1]), entry[0].as_u64().unwrap() as u32))
        .collect();
    differences.compare("added tokens", added, wanted);
    let vocabulary = tokenizer.vocabulary(false);
    let lines: Vec<String> = vocabulary
        .iter()
        .map(|(token, id)| format!("{id} {token}"))
        .collect();
    let got = hex(&Sha256::digest(lines.join("\n")));
    differences.compare("vocabulary", got, text_of(&cases["vocab_sha256"]));
}

fn one(tokenizer: &Tokenizer, input: TextInput, case: &Value, differences: &mut Differences) {
    let what = format!("{:?} {:?}", input.text, input.pair);
    let options = EncodeOptions::default();
    let rows = tokenizer
        .encode_batch(std::slice::from_ref(&input), &options, &Cancel::new())
        .unwrap()
        .rows;
    row(&what, &rows[0], case, differences);
    looked_at(tokenizer, &input, case, differences);
}

fn looked_at(
    tokenizer: &Tokenizer,
    input: &TextInput,
    case: &Value,
    differences: &mut Differences,
) {
    let what = format!("{:?} {:?}", input.text, input.pair);
    let encoding = tokenizer
        .encode_input(input, &EncodeOptions::default())
        .unwrap();
    let got = token_ids(&encoding);
    differences.compare(
        &format!("{what}: ids to look at"),
        got.clone(),
        ids(&case["ids"]),
    );
    spans(&what, &encoding, differences);
    let wanted: Vec<Option<String>> = serde_json::from_value(case["tokens"].clone()).unwrap();
    let tokens = tokenizer.convert_ids_to_tokens(&got, false);
    differences.compare(&format!("{what}: tokens"), tokens, wanted);
    if input.pair.is_none() {
        let wanted: Vec<String> = serde_json::from_value(case["plain"].clone()).unwrap();
        differences.compare(
            &format!("{what}: tokenize"),
            tokenizer.tokenize(&input.text).unwrap(),
            wanted,
        );
    }
    for (name, skip, clean) in [
        ("decoded", false, None),
        ("skipped", true, None),
        ("cleaned", false, Some(true)),
    ] {
        let options = DecodeOptions {
            skip_special_tokens: skip,
            clean_up_tokenization_spaces: clean,
        };
        let text = tokenizer.decode_with(&got, options).unwrap();
        differences.compare(&format!("{what}: {name}"), text, text_of(&case[name]));
    }
}

fn token_ids(encoding: &wire::text::Encoding) -> Vec<u32> {
    encoding.tokens.iter().map(|token| token.id).collect()
}

/// A text around what is to be filled in.
fn infilled(tokenizer: &Tokenizer, case: &Value, differences: &mut Differences) {
    let text = case["text"].as_str().unwrap();
    let input = match case["text_pair"].as_str() {
        Some(pair) => (text, pair).into(),
        None => text.into(),
    };
    let tokenizer = match case["added"].as_array() {
        Some(added) => {
            let added: Vec<NewToken> = added
                .iter()
                .map(|token| NewToken::new(text_of(token)))
                .collect();
            &tokenizer.with_added(&added).unwrap()
        }
        None => tokenizer,
    };
    let options = EncodeOptions {
        suffix_first: case["suffix_first"] == true,
        ..options(case)
    };
    let what = format!("filled in: {case}");
    let encoding = match (tokenizer.encode_input(&input, &options), case.get("error")) {
        (Ok(encoding), None) => encoding,
        (got, error) => {
            differences.compare(&what, got.is_err(), error.is_some());
            return;
        }
    };
    let got = token_ids(&encoding);
    differences.compare(&what, got.clone(), ids(&case["ids"]));
    spans(&what, &encoding, differences);
    // Of a piece of plain letters, the span is its text.
    for token in &encoding.tokens {
        let (start, end) = (token.bytes.0 as usize, token.bytes.1 as usize);
        if start < end && token.piece.chars().all(|c| c.is_ascii_alphabetic()) {
            differences.compare(&what, encoding.text[start..end].trim(), &token.piece);
        }
    }
    for (name, skip) in [("decoded", false), ("skipped", true)] {
        let text = tokenizer.decode(&got, skip).unwrap();
        differences.compare(&format!("{what}: {name}"), text, text_of(&case[name]));
    }
}

/// What `add_tokens` counts, list by list, and that all at once come to the same.
fn counted(tokenizer: &Tokenizer, special: bool, lists: &Value, differences: &mut Differences) {
    let mut extended = tokenizer.with_added(&[]).unwrap();
    let mut all: Vec<NewToken> = Vec::new();
    for case in lists.as_array().unwrap() {
        let what = format!("add_tokens({}, special_tokens={special})", case["tokens"]);
        let mut added: Vec<NewToken> = Vec::new();
        for token in case["tokens"].as_array().unwrap() {
            let token = new_token(token, special);
            // The handle's part: what a list has twice is added once.
            if !added.contains(&token) {
                added.push(token);
            }
        }
        let before = extended.info().added_tokens;
        extended = extended.with_added(&added).unwrap();
        let info = extended.info();
        let count = u64::from(info.added_tokens - before);
        differences.compare(&what, Some(count), case["count"].as_u64());
        let length = u64::from(info.vocab_size);
        differences.compare(&what, Some(length), case["length"].as_u64());
        for (token, id) in case["tokens"]
            .as_array()
            .unwrap()
            .iter()
            .zip(case["ids"].as_array().unwrap())
        {
            let token = new_token(token, special).content;
            if !token.is_empty() {
                let got = tokenizer_id(&extended, token);
                differences.compare(&what, got, id.as_u64());
            }
        }
        all.extend(added);
    }
    let at_once = tokenizer.with_added(&all).unwrap();
    differences.compare("added at once", at_once.info(), extended.info());
}

fn tokenizer_id(tokenizer: &Tokenizer, token: String) -> Option<u64> {
    tokenizer.convert_tokens_to_ids(&[token])[0].map(u64::from)
}

/// A token of the script: its text, or a pair of it and how it is found.
fn new_token(given: &Value, special: bool) -> NewToken {
    let flags = given[1].as_str().unwrap_or_default();
    let content = given.as_str().or(given[0].as_str()).unwrap();
    NewToken {
        special,
        single_word: flags.contains('w'),
        lstrip: flags.contains('l'),
        rstrip: flags.contains('r'),
        normalized: flags.contains(['n', 'N']).then(|| flags.contains('N')),
        ..NewToken::new(content)
    }
}

/// Spans of what is looked at lie in the text and end where characters end.
fn spans(what: &str, encoding: &wire::text::Encoding, differences: &mut Differences) {
    for token in &encoding.tokens {
        let (start, end) = (token.bytes.0 as usize, token.bytes.1 as usize);
        let is_whole = encoding.text.get(start..end).is_some();
        differences.compare(&format!("{what}: span of {token:?}"), is_whole, true);
    }
}

fn row(what: &str, got: &EncodedRow, wanted: &Value, differences: &mut Differences) {
    differences.compare(
        &format!("{what}: ids"),
        got.input_ids.clone(),
        ids(&wanted["ids"]),
    );
    let mask = got.attention_mask.clone();
    differences.compare(
        &format!("{what}: attention mask"),
        mask,
        ids(&wanted["mask"]),
    );
    let special = got.special_tokens_mask.clone();
    differences.compare(
        &format!("{what}: special mask"),
        special,
        ids(&wanted["special"]),
    );
    if wanted.get("types").is_some() {
        let types = got.token_type_ids.clone();
        differences.compare(&format!("{what}: types"), types, ids(&wanted["types"]));
    }
    if wanted.get("offsets").is_some() {
        let pairs = got.char_starts.iter().zip(&got.char_ends);
        let offsets: Vec<u32> = pairs.flat_map(|(start, end)| [*start, *end]).collect();
        differences.compare(
            &format!("{what}: offsets"),
            offsets,
            ids(&wanted["offsets"]),
        );
    }
    if let Some(sample) = wanted.get("sample") {
        differences.compare(
            &format!("{what}: sample"),
            Some(u64::from(got.sample)),
            sample.as_u64(),
        );
    }
}

fn batch(tokenizer: &Tokenizer, case: &Value, differences: &mut Differences) {
    let texts = case["texts"].as_array().unwrap().iter().map(text_of);
    let inputs: Vec<TextInput> = match case["pairs"].as_array() {
        Some(pairs) => texts
            .zip(pairs.iter().map(text_of))
            .map(Into::into)
            .collect(),
        None => texts.map(TextInput::from).collect(),
    };
    let what = case["options"].to_string();
    let got = tokenizer.encode_batch(&inputs, &options(&case["options"]), &Cancel::new());
    let Some(wanted) = case["rows"].as_array() else {
        differences.compare(
            &format!("{what} is refused: {}", case["error"]),
            got.is_err(),
            true,
        );
        return;
    };
    match got {
        Ok(batch) => {
            differences.compare(&format!("{what}: rows"), batch.rows.len(), wanted.len());
            for (at, (got, wanted)) in batch.rows.iter().zip(wanted).enumerate() {
                row(&format!("{what} row {at}"), got, wanted, differences);
            }
        }
        Err(failure) => differences.0.push(format!("{what}: {failure}")),
    }
}

fn options(given: &Value) -> EncodeOptions {
    let number = |name: &str| given[name].as_u64().map(|number| number as u32);
    EncodeOptions {
        add_special_tokens: given["add_special_tokens"].as_bool().unwrap_or(true),
        padding: match &given["padding"] {
            Value::Bool(true) => Padding::Longest,
            Value::String(name) if name == "longest" => Padding::Longest,
            Value::String(_) => Padding::MaxLength,
            _ => Padding::DoNotPad,
        },
        truncation: match &given["truncation"] {
            Value::String(name) if name == "only_first" => Truncation::OnlyFirst,
            Value::String(name) if name == "only_second" => Truncation::OnlySecond,
            Value::Bool(true) | Value::String(_) => Truncation::LongestFirst,
            _ => Truncation::DoNotTruncate,
        },
        max_length: number("max_length"),
        stride: number("stride").unwrap_or(0),
        pad_to_multiple_of: number("pad_to_multiple_of"),
        padding_side: given["padding_side"].as_str().map(|side| match side {
            "left" => Side::Left,
            _ => Side::Right,
        }),
        return_overflowing_tokens: given["return_overflowing_tokens"] == true,
        split_special_tokens: given["split_special_tokens"] == true,
        ..Default::default()
    }
}

/// Marian's texts of the target language; no other kind has the case.
fn of_target(tokenizer: &Tokenizer, case: &Value, differences: &mut Differences) {
    let Some(texts) = case["texts"].as_array() else {
        return;
    };
    let inputs = texts.iter().map(|text| text.as_str().unwrap().into());
    let options = EncodeOptions {
        text_target: true,
        ..EncodeOptions::default()
    };
    let batch = tokenizer
        .encode_batch(&inputs.collect::<Vec<_>>(), &options, &Cancel::new())
        .unwrap();
    for (row, wanted) in batch.rows.iter().zip(case["ids"].as_array().unwrap()) {
        differences.compare("text_target", row.input_ids.clone(), ids(wanted));
    }
}

fn extended(tokenizer: &Tokenizer, case: &Value, differences: &mut Differences) {
    let added = [
        NewToken::new("[NEW]"),
        NewToken::new("newtoken"),
        NewToken::special("<ent>"),
    ];
    let extended = tokenizer.with_added(&added).unwrap();
    let length = u64::from(extended.info().vocab_size);
    differences.compare("extended length", length, case["length"].as_u64().unwrap());
    let text = case["text"].as_str().unwrap();
    let encoding = extended.encode(text, true).unwrap();
    let got: Vec<u32> = encoding.tokens.iter().map(|token| token.id).collect();
    differences.compare("extended ids", got.clone(), ids(&case["ids"]));
    for (name, skip) in [("decoded", false), ("skipped", true)] {
        let decoded = extended.decode(&got, skip).unwrap();
        differences.compare(&format!("extended {name}"), decoded, text_of(&case[name]));
    }
}

/// What `TextStreamer` of transformers prints: for the prompt, of two tokens, for each token after it,
/// and at the end.
fn streamed(tokenizer: &Tokenizer, skips: bool, case: &Value, differences: &mut Differences) {
    let options = StreamOptions {
        skip_special_tokens: skips,
        ..Default::default()
    };
    let mut streamer = TextStreamer::new(tokenizer, options);
    let all = ids(&case["ids"]);
    let (prompt, rest) = all.split_at(all.len().min(2));
    let mut printed = vec![streamer.prompt(prompt).unwrap()];
    printed.extend(rest.iter().map(|id| streamer.put(&[*id]).unwrap()));
    printed.push(streamer.end().unwrap());
    let wanted: Vec<String> = serde_json::from_value(case["printed"].clone()).unwrap();
    differences.compare("streamed", printed, wanted);
    // Complete characters alone, and together the whole text. Classes that trim or tidy the whole
    // text have no such pieces.
    let decode = DecodeOptions {
        clean_up_tokenization_spaces: Some(false),
        ..Default::default()
    };
    let whole = tokenizer.decode_with(&all, decode).unwrap();
    if tokenizer.info().model == "BPE" && tokenizer.info().class.as_deref() != Some("CLIPTokenizer")
    {
        let pieces = tokenizer.decode_stream(&all, decode).unwrap();
        differences.compare("decoded one by one", pieces.concat(), whole.clone());
        let broken = pieces
            .iter()
            .filter(|piece| piece.contains('\u{FFFD}'))
            .count();
        let own = whole.matches('\u{FFFD}').count();
        differences.compare("characters in parts", broken > own, false);
    }
}

/// `long_text` of the script.
pub fn long_text(texts: &Value) -> String {
    let lists = ["texts", "corpus"].map(|name| texts[name].as_array().unwrap());
    let parts: Vec<&str> = lists
        .into_iter()
        .flatten()
        .map(|text| text.as_str().unwrap())
        .collect();
    let text = parts.join("\n") + "\n";
    let long: String = text.chars().cycle().take(1_000_000).collect();
    assert_eq!(
        hex(&Sha256::digest(&long)),
        texts["long_sha256"],
        "the script makes another text"
    );
    long
}
