//! The tokenizer of a repository's folder: which class it is, which of its files hold the vocabulary,
//! and the special tokens and templates beside them. What each kind of file means is in the files
//! named for it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use wire::{Failure, FailureKind, tokenize::Side};

use super::{
    Parts,
    class::Class,
    infilling::Infilling,
    languages::Languages,
    pieces,
    python::Python,
    special::{Sources, SpecialTokens},
    word_files,
};
use crate::{failures, template::Templates};

/// Files that a tokenizer is read from; what changes it when it changes.
const FILES: [&str; 9] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "config.json",
];

/// Reads a folder.
pub fn read(folder: &Path) -> Result<Parts, Failure> {
    let mut config = optional_json(&folder.join("tokenizer_config.json"))?;
    let class = class_of(folder, &mut config)?;
    let json_path = folder.join("tokenizer.json");
    let is_converted = converts(folder, class, &config) || !json_path.is_file();
    let json = if is_converted {
        Value::Null
    } else {
        json_object(&json_path)?
    };
    let sources = Sources {
        map: optional_json(&folder.join("special_tokens_map.json"))?,
        added: optional_json(&folder.join("added_tokens.json"))?,
        listed: json["added_tokens"].clone(),
        config,
    };
    let special = SpecialTokens::read(&sources, class, is_converted);
    let (json, python) = if is_converted {
        convert(folder, class, &sources.config, &special)?
    } else {
        (adapted(json, class, &sources.config, &special), None)
    };
    let config = sources.config;
    let flag = |name: &str| config[name].as_bool();
    // The Python classes of the BERT family, which a `vocab.txt` is converted from, clean up.
    let cleans = is_converted && is_word_piece(class);
    let side = |name: &str, default: Side| match config[name].as_str() {
        Some("left") => Side::Left,
        Some("right") => Side::Right,
        _ => default,
    };
    let class_name = config["tokenizer_class"]
        .as_str()
        .unwrap_or(class.name())
        .to_owned();
    Ok(Parts {
        chat_templates: Templates::read(folder, &config["chat_template"])?,
        clean_up_spaces: flag("clean_up_tokenization_spaces").unwrap_or(cleans),
        padding_side: side("padding_side", class.defaults().padding_side),
        truncation_side: side("truncation_side", Side::Right),
        // transformers writes 10^30 for a length that nobody knows. `max_len` is the key of old files.
        max_length: config["model_max_length"]
            .as_u64()
            .or_else(|| config["max_len"].as_u64())
            .and_then(|length| u32::try_from(length).ok()),
        split_special_tokens: flag("split_special_tokens").unwrap_or(false),
        inputs: inputs(class, &config),
        pad_token_type: class.defaults().pad_token_type,
        infilling: (class == Class::CodeLlama).then(|| Infilling::read(&config)),
        replaces_suffix: (class == Class::Clip).then(|| "</w>".to_owned()),
        class: Some(class_name),
        notice: None,
        files: present(folder, class),
        config,
        json,
        special,
        python,
    })
}

/// What a model is given: as the configuration lists it, else as the class does.
fn inputs(class: Class, config: &Value) -> Vec<String> {
    let names: Vec<&str> = match config["model_input_names"].as_array() {
        Some(names) => names.iter().filter_map(Value::as_str).collect(),
        None => class.defaults().inputs.to_vec(),
    };
    names.into_iter().map(str::to_owned).collect()
}

/// The class: what `tokenizer_config.json` says, then what `config.json` says, then what its model
/// uses, then what the files are of. One that knows languages is written into the configuration, by whose name
/// they are found.
fn class_of(folder: &Path, config: &mut Value) -> Result<Class, Failure> {
    if let Some(name) = config["tokenizer_class"].as_str() {
        return Ok(Class::named(name));
    }
    let model = optional_json(&folder.join("config.json"))?;
    let named = model["tokenizer_class"].as_str();
    let usual = model["model_type"]
        .as_str()
        .and_then(Languages::class_of_model);
    if let Some(name) = named.or(usual)
        && Languages::of(name, config).is_some()
    {
        config["tokenizer_class"] = name.into();
    }
    if let Some(name) = named {
        return Ok(Class::named(name));
    }
    let has = |name: &str| folder.join(name).is_file();
    Ok(match model["model_type"].as_str() {
        Some(model_type) => Class::of_model(model_type),
        None if has("tokenizer.json") => Class::Plain,
        None if has("vocab.txt") => Class::Bert,
        None if has("merges.txt") => Class::Gpt2,
        None => Class::Plain,
    })
}

/// Whether the vocabulary files go before a `tokenizer.json`: for classes that transformers has in
/// Python only, and where the configuration sets `add_prefix_space`, which those of Llama and T5 take
/// as a wish for a new conversion.
fn converts(folder: &Path, class: Class, config: &Value) -> bool {
    let sets_prefix = matches!(class, Class::Llama | Class::T5)
        && config
            .get("add_prefix_space")
            .is_some_and(|value| !value.is_null());
    (class.is_python_only() || sets_prefix) && model_file(folder, class).is_some()
}

fn model_file(folder: &Path, class: Class) -> Option<PathBuf> {
    let names = pieces::file_names(class).iter();
    names
        .map(|name| folder.join(name))
        .find(|path| path.is_file())
}

fn convert(
    folder: &Path,
    class: Class,
    config: &Value,
    special: &SpecialTokens,
) -> Result<(Value, Option<Python>), Failure> {
    let has = |name: &str| folder.join(name).is_file();
    if class.is_python_only() {
        if model_file(folder, class).is_none() {
            return Err(nothing_found(folder, class));
        }
        let python = Python::read(folder, class, config)?;
        let mut json = python.source_json().clone();
        if class == Class::M2M100 {
            with_language(&mut json, config, special, |token| python.known_id(token))?;
        }
        return Ok((json, Some(python)));
    }
    let json = if let Some(path) = model_file(folder, class) {
        pieces::convert(&path, class, config, special)?
    } else if has("vocab.txt") && is_word_piece(class) {
        word_files::word_piece(folder, class, config, special)?
    } else if has("vocab.json") && has("merges.txt") && is_byte_level(class) {
        word_files::byte_pairs(folder, class, config, special)?
    } else {
        return Err(nothing_found(folder, class));
    };
    let mut json = adapted(json, class, config, special);
    if !class.language_codes().is_empty() {
        let vocabulary = json.clone();
        // The languages of NLLB come behind what is converted.
        let id = |token: &str| {
            let added = || special.contents().any(|special| special == token);
            id_of(&vocabulary, token)
                .or_else(|| added().then(|| id_when_added(&vocabulary, token, special)))
        };
        with_language(&mut json, config, special, id)?;
    }
    Ok((json, None))
}

/// Puts the token of the language in which texts are, where none is named, into the post-processor.
fn with_language(
    json: &mut Value,
    config: &Value,
    special: &SpecialTokens,
    id_of: impl Fn(&str) -> Option<u64>,
) -> Result<(), Failure> {
    let name = config["tokenizer_class"].as_str().unwrap_or_default();
    let Some(languages) = Languages::of(name, config) else {
        return Ok(());
    };
    let language = languages.default(config);
    let steps = languages.post_processor(language, special, id_of);
    let Some(steps) = steps else {
        let [one, other] = languages.examples;
        return Err(failures::invalid(format!(
            "the tokenizer knows no language `{language}`, which its configuration names as `src_lang`"
        ))
        .hint(format!("write another there: codes look like `{one}` and `{other}`")));
    };
    json["post_processor"] = steps;
    Ok(())
}

fn is_byte_level(class: Class) -> bool {
    matches!(
        class,
        Class::Gpt2 | Class::Roberta | Class::Bart | Class::Mvp | Class::Qwen2 | Class::Clip
    )
}

fn nothing_found(folder: &Path, class: Class) -> Failure {
    let shown = folder.display();
    let has = |name: &&&str| folder.join(name).is_file();
    let vocabularies = [
        "vocab.txt",
        "vocab.json",
        "tokenizer.model",
        "spiece.model",
        "sentencepiece.bpe.model",
        "spm.model",
        "source.spm",
        "tekken.json",
    ];
    let found: Vec<&str> = vocabularies.iter().filter(has).copied().collect();
    if found.is_empty() {
        return Failure::new(
            FailureKind::NotFound,
            format!("`{shown}` has no `tokenizer.json` and no vocabulary file"),
        )
        .hint("save the tokenizer with transformers' `save_pretrained`, which writes one");
    }
    failures::unsupported(format!(
        "cannot load the tokenizer of `{shown}`: it has {} and no `tokenizer.json`, and its class{} \
         cannot be read from that",
        found.join(", "),
        if class == Class::Plain { " is not known, so it" } else { "" },
    ))
    .hint(
        "name its class as `tokenizer_class` in `tokenizer_config.json`, or save it with \
         transformers' `save_pretrained`, which writes a `tokenizer.json`",
    )
}

fn is_word_piece(class: Class) -> bool {
    matches!(class, Class::Bert | Class::DistilBert | Class::Mpnet)
}

/// A `tokenizer.json` with what the class's own constructor changes in it by the configuration.
fn adapted(mut json: Value, class: Class, config: &Value, special: &SpecialTokens) -> Value {
    let flag = |name: &str, default: bool| config[name].as_bool().unwrap_or(default);
    set_flags(&mut json, class, config);
    let languages = config["tokenizer_class"]
        .as_str()
        .and_then(|name| Languages::of(name, config));
    if let Some(languages) = languages {
        let language = languages.default(config);
        let id = |token: &str| id_of(&json, token);
        if let Some(steps) = languages.post_processor(language, special, id) {
            json["post_processor"] = steps;
        }
    }
    if let Some(adds_bos) = class.adds_bos_and_eos() {
        let ends = [
            ("add_bos_token", "bos_token", adds_bos),
            ("add_eos_token", "eos_token", false),
        ];
        let [bos, eos] = ends.map(|(asked, name, default)| {
            flag(asked, default).then(|| special.get(name)).flatten()
        });
        json["post_processor"] = bos_and_eos(&json, bos, eos, special);
    }
    json
}

/// Sets what the constructor sets in a normalizer, a pre-tokenizer and a post-processor that have it.
fn set_flags(json: &mut Value, class: Class, config: &Value) {
    let defaults = class.defaults();
    let prefix = config["add_prefix_space"]
        .as_bool()
        .or(defaults.add_prefix_space);
    if let Some(prefix) = prefix {
        set(&mut json["pre_tokenizer"], "add_prefix_space", prefix);
    }
    if json["normalizer"]["type"] == "BertNormalizer" {
        for (argument, name) in defaults.normalizer {
            let given = config[*argument].as_bool();
            json["normalizer"][*name] = match *argument {
                // Accents go with the upper case unless it is said.
                "strip_accents" => json!(given),
                _ => given.unwrap_or(true).into(),
            };
        }
    }
    if defaults.sets_post_processor {
        let trims = config["trim_offsets"].as_bool().unwrap_or(true);
        let post_processor = &mut json["post_processor"];
        set(
            post_processor,
            "add_prefix_space",
            prefix.unwrap_or_default(),
        );
        set(post_processor, "trim_offsets", trims);
    }
}

/// Sets a flag of a step that has it.
fn set(step: &mut Value, name: &str, flag: bool) {
    if let Some(value) = step.get_mut(name) {
        *value = flag.into();
    }
}

/// The post-processor of the classes of Llama, Gemma, Cohere and GPT-NeoX (`update_post_processor`).
fn bos_and_eos(
    json: &Value,
    bos: Option<&str>,
    eos: Option<&str>,
    special: &SpecialTokens,
) -> Value {
    let id =
        |token: &str| id_of(json, token).unwrap_or_else(|| id_when_added(json, token, special));
    let part = |token: Option<&str>, kind: u32| {
        token.map(|token| json!({"SpecialToken": {"id": token, "type_id": kind}}))
    };
    let text = |name: &str, kind: u32| Some(json!({"Sequence": {"id": name, "type_id": kind}}));
    let single = [part(bos, 0), text("A", 0), part(eos, 0)];
    let pair = single
        .clone()
        .into_iter()
        .chain([part(bos, 1), text("B", 1), part(eos, 1)]);
    let tokens: serde_json::Map<String, Value> = [bos, eos]
        .into_iter()
        .flatten()
        .map(|token| {
            let entry = json!({"id": token, "ids": [id(token)], "tokens": [token]});
            (token.to_owned(), entry)
        })
        .collect();
    json!({
        "type": "TemplateProcessing",
        "single": single.into_iter().flatten().collect::<Vec<_>>(),
        "pair": pair.flatten().collect::<Vec<_>>(),
        "special_tokens": tokens,
    })
}

/// A token's id in a `tokenizer.json`, whose vocabulary is a dictionary, or a list of pieces with scores.
fn id_of(json: &Value, token: &str) -> Option<u64> {
    let listed = json["added_tokens"].as_array().into_iter().flatten();
    let mut listed = listed.filter(|entry| entry["content"] == token);
    if let Some(entry) = listed.next() {
        return entry["id"].as_u64();
    }
    match &json["model"]["vocab"] {
        Value::Array(pieces) => {
            let at = pieces.iter().position(|piece| piece[0] == token)?;
            Some(at as u64)
        }
        vocabulary => vocabulary[token].as_u64(),
    }
}

/// The id that a special token gets which the vocabulary lacks: they come behind it, in their order.
fn id_when_added(json: &Value, token: &str, special: &SpecialTokens) -> u64 {
    let vocabulary = &json["model"]["vocab"];
    let size = match vocabulary {
        Value::Array(pieces) => pieces.len(),
        vocabulary => vocabulary.as_object().map_or(0, serde_json::Map::len),
    } as u64;
    let listed = json["added_tokens"].as_array().into_iter().flatten();
    let beyond = listed.filter_map(|entry| entry["id"].as_u64());
    let next = beyond.map(|id| id + 1).fold(size, u64::max);
    let missing = special.to_add(|content| id_of(json, content).is_some());
    let mut missing = missing
        .iter()
        .filter(|added| id_of(json, &added.content).is_none());
    let place = missing.position(|added| added.content == token);
    next + place.unwrap_or(0) as u64
}

/// The files of a folder that matter.
fn present(folder: &Path, class: Class) -> Vec<PathBuf> {
    let names = FILES.iter().chain(pieces::file_names(class));
    let paths = names
        .chain(&["target.spm", "target_vocab.json"])
        .map(|name| folder.join(name));
    paths.filter(|path| path.is_file()).collect()
}

/// A `tokenizer.json`, which is an object whatever else is in it.
fn json_object(path: &Path) -> Result<Value, Failure> {
    match optional_json(path)? {
        json @ Value::Object(_) => Ok(json),
        _ => Err(failures::corrupt(path, "it holds no object of JSON")),
    }
}

/// A file's JSON; null when there is none.
pub(crate) fn optional_json(path: &Path) -> Result<Value, Failure> {
    if !path.is_file() {
        return Ok(Value::Null);
    }
    let text = std::fs::read(path).map_err(|error| failures::io(path, &error))?;
    serde_json::from_slice(&text).map_err(|error| failures::corrupt(path, error))
}
