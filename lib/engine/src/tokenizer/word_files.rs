//! Vocabularies in plain files, written out as the `tokenizer.json` that transformers converts them
//! to (`convert_slow_tokenizer.py`): `vocab.txt` of `WordPiece`, and `vocab.json` with `merges.txt` of
//! the byte-level BPE family.

use std::path::Path;

use serde_json::{Map, Value as Json, json};
use wire::Failure;

use super::{class::Class, gguf::byte_level_step, special::SpecialTokens};
use crate::failures;

/// How Qwen2 cuts a text before merging.
pub(super) const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// How CLIP does.
const CLIP: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
/// Merges that CLIP reads of its file.
const CLIP_MERGES: usize = 49_152 - 256 - 2;

/// `vocab.txt`: a token a line.
pub(super) fn word_piece(
    folder: &Path,
    class: Class,
    config: &Json,
    special: &SpecialTokens,
) -> Result<Json, Failure> {
    let path = folder.join("vocab.txt");
    let text = std::fs::read_to_string(&path).map_err(|error| failures::io(&path, &error))?;
    let mut vocab = Map::new();
    for (id, token) in text.lines().enumerate() {
        vocab.insert(token.to_owned(), id.into());
    }
    let flag = |name: &str, default: bool| config[name].as_bool().unwrap_or(default);
    let name = |name: &str| special.get(name).unwrap_or_default().to_owned();
    let (cls, sep) = (name("cls_token"), name("sep_token"));
    let single = [Part::Token(&cls, 0), Part::First, Part::Token(&sep, 0)];
    let mut pair = vec![Part::Token(&cls, 0), Part::First, Part::Token(&sep, 0)];
    // MPNet has two between its texts.
    if class == Class::Mpnet {
        pair.push(Part::Token(&sep, 0));
    }
    pair.extend([Part::Second(1), Part::Token(&sep, 1)]);
    let post_processor = template(&vocab, &path, &single, &pair)?;
    Ok(json!({
        "version": "1.0",
        "added_tokens": [],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": true,
            "handle_chinese_chars": flag("tokenize_chinese_chars", true),
            "strip_accents": config["strip_accents"].as_bool(),
            "lowercase": flag("do_lower_case", true),
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": post_processor,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {
            "type": "WordPiece", "vocab": vocab, "unk_token": name("unk_token"),
            "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
        },
    }))
}

/// `vocab.json` and `merges.txt`.
pub(super) fn byte_pairs(
    folder: &Path,
    class: Class,
    config: &Json,
    special: &SpecialTokens,
) -> Result<Json, Failure> {
    let path = folder.join("vocab.json");
    let Json::Object(vocab) = super::files::optional_json(&path)? else {
        return Err(failures::corrupt(
            &path,
            "it is no object of tokens and ids",
        ));
    };
    let merges = merges(&folder.join("merges.txt"), class)?;
    let prefix = config["add_prefix_space"].as_bool().unwrap_or(false);
    let name = |name: &str| special.get(name).unwrap_or_default().to_owned();
    let step = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": use_regex});
    let ends = |first: &str, last: &str, trim: bool, prefix: bool| {
        let pair = |token: &str| json!([token, vocab.get(token).unwrap_or(&json!(0))]);
        json!({
            "type": "RobertaProcessing", "sep": pair(last), "cls": pair(first),
            "trim_offsets": trim, "add_prefix_space": prefix,
        })
    };
    let untrimmed = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true});
    let mut normalizer = Json::Null;
    let mut pre_tokenizer = step(true);
    let mut post_processor = untrimmed;
    let mut suffix = "";
    let mut unknown = None;
    match class {
        Class::Qwen2 => {
            normalizer = json!({"type": "NFC"});
            pre_tokenizer = json!({"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": QWEN2}, "behavior": "Isolated", "invert": false},
                step(false),
            ]});
        }
        Class::Clip => {
            normalizer = json!({"type": "Sequence", "normalizers": [
                {"type": "NFC"},
                {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
                {"type": "Lowercase"},
            ]});
            pre_tokenizer = json!({"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": CLIP}, "behavior": "Removed", "invert": true},
                byte_level_step(true),
            ]});
            post_processor = ends(&name("bos_token"), &name("eos_token"), false, false);
            (suffix, unknown) = ("</w>", Some(name("unk_token")));
        }
        Class::Roberta | Class::Bart | Class::Mvp => {
            let trim = config["trim_offsets"].as_bool().unwrap_or(true);
            post_processor = ends(&name("cls_token"), &name("sep_token"), trim, prefix);
        }
        _ if config["add_bos_token"].as_bool() == Some(true) => {
            let bos = name("bos_token");
            let single = [Part::Token(&bos, 0), Part::First];
            let pair = [Part::Token(&bos, 0), Part::First, Part::Second(1)];
            post_processor = template(&vocab, &path, &single, &pair)?;
        }
        _ => {}
    }
    Ok(json!({
        "version": "1.0",
        "added_tokens": [],
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": post_processor,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE", "vocab": vocab, "merges": merges, "unk_token": unknown,
            "continuing_subword_prefix": "", "end_of_word_suffix": suffix,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
        },
    }))
}

/// The lines of `merges.txt` that each class reads.
fn merges(path: &Path, class: Class) -> Result<Vec<Json>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| failures::io(path, &error))?;
    let lines: Vec<&str> = match class {
        Class::Qwen2 => {
            let lines = text.lines().map(str::trim).enumerate();
            let is_merge = |(number, line): &(usize, &str)| {
                !(line.is_empty() || *number == 0 && line.starts_with("#version:"))
            };
            lines.filter(is_merge).map(|(_, line)| line).collect()
        }
        Class::Clip => text.trim().lines().skip(1).take(CLIP_MERGES).collect(),
        // The first line names the version; what follows the last line break is no merge.
        _ => {
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            whole.split('\n').skip(1).collect()
        }
    };
    let pair = |line: &&str| -> Result<Json, Failure> {
        let mut parts = line.split_whitespace();
        match (parts.next(), parts.next(), parts.next()) {
            (Some(left), Some(right), None) => Ok(json!([left, right])),
            _ => Err(failures::corrupt(
                path,
                format!("`{line}` is no pair of pieces"),
            )),
        }
    };
    lines.iter().map(pair).collect()
}

/// A part of what a post-processor makes of texts, with its token type.
pub(super) enum Part<'a> {
    /// A special token.
    Token(&'a str, u32),
    /// The first text.
    First,
    /// The second text.
    Second(u32),
}

/// A `TemplateProcessing`. Fails when a token of it is not in the vocabulary.
pub(super) fn template(
    vocab: &Map<String, Json>,
    path: &Path,
    single: &[Part],
    pair: &[Part],
) -> Result<Json, Failure> {
    let mut tokens = Map::new();
    for part in pair.iter().chain(single) {
        if let Part::Token(token, _) = part {
            let id = vocab.get(*token).ok_or_else(|| {
                failures::corrupt(path, format!("the special token `{token}` is not in it"))
            })?;
            let entry = json!({"id": token, "ids": [id], "tokens": [token]});
            tokens.insert((*token).to_owned(), entry);
        }
    }
    let parts = |parts: &[Part]| -> Vec<Json> {
        let part = |part: &Part| match part {
            Part::Token(token, kind) => json!({"SpecialToken": {"id": token, "type_id": kind}}),
            Part::First => json!({"Sequence": {"id": "A", "type_id": 0}}),
            Part::Second(kind) => json!({"Sequence": {"id": "B", "type_id": kind}}),
        };
        parts.iter().map(part).collect()
    };
    Ok(json!({
        "type": "TemplateProcessing",
        "single": parts(single), "pair": parts(pair), "special_tokens": tokens,
    }))
}
