//! `SentencePiece` models written out as the `tokenizer.json` that transformers converts them to, class
//! by class (`SpmConverter` and its heirs in `convert_slow_tokenizer.py`), and the merges that scores
//! imply.

use std::{collections::HashMap, path::Path};

use serde_json::{Map, Value as Json, json};
use wire::Failure;

use super::{
    class::{Class, PEGASUS_OFFSET},
    sentence_model::{Kind, Model, PieceKind},
    special::SpecialTokens,
    word_files::{Part, template},
};
use crate::failures;

/// Files under which a class's model is found.
pub(super) fn file_names(class: Class) -> &'static [&'static str] {
    match class {
        Class::Llama | Class::CodeLlama | Class::Gemma => &["tokenizer.model"],
        Class::T5 | Class::Albert | Class::Pegasus => &["spiece.model"],
        Class::XlmRoberta
        | Class::Camembert
        | Class::MBart
        | Class::MBart50
        | Class::Nllb
        | Class::M2M100 => &["sentencepiece.bpe.model"],
        Class::DebertaV2 => &["spm.model"],
        Class::Marian => &["source.spm"],
        Class::SpeechT5 => &["spm_char.model"],
        _ => &[],
    }
}

/// The `tokenizer.json` of a model file.
pub(super) fn convert(
    path: &Path,
    class: Class,
    config: &Json,
    special: &SpecialTokens,
) -> Result<Json, Failure> {
    let model = Model::read(path)?;
    let conversion = Conversion {
        model: &model,
        // Converted by the same converter.
        class: if class == Class::CodeLlama {
            Class::Llama
        } else {
            class
        },
        config,
        special,
    };
    let vocab = conversion.vocabulary();
    let mut ids = Map::new();
    for (id, (piece, _)) in vocab.iter().enumerate() {
        ids.insert(piece.clone(), id.into());
    }
    let post_processor = conversion.post_processor(&ids, path)?;
    let (pre_tokenizer, decoder) = (conversion.pre_tokenizer(), conversion.decoder());
    Ok(json!({
        "version": "1.0",
        "added_tokens": conversion.added(&ids),
        "normalizer": conversion.normalizer(),
        "pre_tokenizer": pre_tokenizer,
        "post_processor": post_processor,
        "decoder": decoder,
        "model": conversion.model(&vocab, &ids, path)?,
    }))
}

struct Conversion<'a> {
    model: &'a Model,
    class: Class,
    config: &'a Json,
    special: &'a SpecialTokens,
}

impl Conversion<'_> {
    fn flag(&self, name: &str, default: bool) -> bool {
        self.config[name].as_bool().unwrap_or(default)
    }

    fn is_legacy(&self) -> bool {
        self.flag("legacy", true)
    }

    fn adds_prefix(&self) -> bool {
        self.flag("add_prefix_space", true)
    }

    /// Pieces with their scores, by the ids of the class.
    fn vocabulary(&self) -> Vec<(String, f64)> {
        let piece = |name: &str| (name.to_owned(), 0.0);
        let named = |name: &str| piece(self.special.get(name).unwrap_or_default());
        let own = |skip: usize| {
            let pieces = self.model.pieces.iter().skip(skip);
            pieces.map(|piece| (piece.text.clone(), piece.score))
        };
        match self.class {
            Class::Llama => {
                let first = self
                    .model
                    .pieces
                    .iter()
                    .take(3)
                    .map(|first| piece(&first.text));
                first.chain(own(3)).collect()
            }
            Class::Gemma => {
                let first = ["pad_token", "eos_token", "bos_token"].map(named);
                let mut pieces: Vec<_> = first.into_iter().chain(own(3)).collect();
                // Older files lack the tab.
                if !pieces.iter().any(|(text, _)| text == "\t")
                    && let Some(tab) = pieces.iter_mut().find(|(text, _)| text == "<0x09>")
                {
                    *tab = piece("\t");
                }
                pieces
            }
            Class::T5 => {
                let sentinels = (0..self.config["extra_ids"].as_u64().unwrap_or(100)).rev();
                let sentinels = sentinels.map(|number| piece(&format!("<extra_id_{number}>")));
                own(0).chain(sentinels).collect()
            }
            Class::XlmRoberta | Class::MBart | Class::MBart50 => {
                let first = ["<s>", "<pad>", "</s>", "<unk>"].map(piece);
                let languages = self.class.language_codes().iter();
                let last = languages.copied().chain(["<mask>"]).map(piece);
                first.into_iter().chain(own(3)).chain(last).collect()
            }
            // Its languages are added to the vocabulary, and so is the mask.
            Class::Nllb => {
                let first = ["<s>", "<pad>", "</s>", "<unk>"].map(piece);
                first.into_iter().chain(own(3)).collect()
            }
            Class::Camembert => {
                let first = ["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>"].map(piece);
                let unused = std::iter::once(("<unk>NOTUSED".to_owned(), -100.0));
                let mask = std::iter::once(piece("<mask>"));
                first
                    .into_iter()
                    .chain(unused)
                    .chain(own(1))
                    .chain(mask)
                    .collect()
            }
            Class::Pegasus => {
                let first = ["pad_token", "eos_token"].map(named);
                let masks = [piece("<mask_1>"), named("mask_token")];
                let unused = (2..PEGASUS_OFFSET).map(|number| (format!("<unk_{number}>"), -100.0));
                first
                    .into_iter()
                    .chain(masks)
                    .chain(unused)
                    .chain(own(2))
                    .collect()
            }
            Class::Albert => {
                // A number with a comma behind it is cut in two.
                let demote = |(text, score): (String, f64)| {
                    let mut last = text.chars().rev();
                    let is_number = last.next() == Some(',')
                        && last.next().is_some_and(|digit| digit.is_ascii_digit());
                    let score = if is_number { score - 100.0 } else { score };
                    (text, score)
                };
                own(0).map(demote).collect()
            }
            _ => own(0).collect(),
        }
    }

    /// Control tokens, which are special, and what the model's maker defined, which is not.
    fn added(&self, ids: &Map<String, Json>) -> Vec<Json> {
        let pieces = self.model.pieces.iter();
        let added = pieces
            .filter(|piece| matches!(piece.kind, PieceKind::Control | PieceKind::UserDefined));
        added
            .filter_map(|piece| {
                let of_gemma = self.class == Class::Gemma
                    && matches!(piece.text.as_str(), "<start_of_turn>" | "<end_of_turn>");
                Some(json!({
                    "id": ids.get(&piece.text)?, "content": piece.text,
                    "special": piece.kind == PieceKind::Control || of_gemma,
                    "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
                }))
            })
            .collect()
    }

    fn model(
        &self,
        vocab: &[(String, f64)],
        ids: &Map<String, Json>,
        path: &Path,
    ) -> Result<Json, Failure> {
        let byte_fallback = matches!(self.class, Class::Llama | Class::Gemma);
        let unknown = match self.class {
            Class::Llama => 0,
            Class::Gemma
            | Class::XlmRoberta
            | Class::Camembert
            | Class::MBart
            | Class::MBart50
            | Class::Nllb => 3,
            Class::Pegasus => self.model.unknown_id + PEGASUS_OFFSET,
            _ => self.model.unknown_id,
        };
        match self.model.kind {
            Kind::Unigram => Ok(json!({
                "type": "Unigram", "unk_id": unknown, "vocab": vocab, "byte_fallback": byte_fallback,
            })),
            Kind::BytePairs => {
                let pieces = self.model.pieces.iter().enumerate();
                let mut own: HashMap<&str, usize> = pieces
                    .map(|(id, piece)| (piece.text.as_str(), id))
                    .collect();
                if self.class == Class::Gemma
                    && let Some(&byte) = own.get("<0x09>")
                {
                    own.entry("\t").or_insert(byte);
                }
                let scored = vocab.iter().map(|(piece, score)| (piece.as_str(), *score));
                Ok(json!({
                    "type": "BPE", "merges": merges(scored, &own), "vocab": ids,
                    "unk_token": self.model.unknown_piece,
                    "fuse_unk": true, "byte_fallback": byte_fallback,
                }))
            }
            Kind::Characters => Err(failures::corrupt(path, "it cuts into characters")),
        }
    }

    fn normalizer(&self) -> Json {
        let blanks = |content: &str| json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": content});
        let replace = |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
        let charsmap = charsmap(self.model);
        let steps: Vec<Json> = match self.class {
            Class::Llama if !self.is_legacy() => return Json::Null,
            Class::Llama => {
                let prefix = self
                    .adds_prefix()
                    .then(|| json!({"type": "Prepend", "prepend": "▁"}));
                prefix.into_iter().chain([replace(" ", "▁")]).collect()
            }
            Class::Gemma => return replace(" ", "▁"),
            Class::Albert => {
                let mut steps = vec![replace("``", "\""), replace("''", "\"")];
                if !self.flag("keep_accents", false) {
                    steps.extend([json!({"type": "NFKD"}), json!({"type": "StripAccents"})]);
                }
                if self.flag("do_lower_case", true) {
                    steps.push(json!({"type": "Lowercase"}));
                }
                steps.extend(charsmap);
                steps.push(blanks(" "));
                steps
            }
            Class::DebertaV2 => {
                let lower = self.flag("do_lower_case", false);
                let lower = lower.then(|| json!({"type": "Lowercase"}));
                let strip = json!({"type": "Strip", "strip_left": true, "strip_right": true});
                let steps = lower.into_iter().chain([strip]).chain(charsmap);
                steps.chain([blanks(" ")]).collect()
            }
            _ => {
                let strip = json!({"type": "Strip", "strip_left": false, "strip_right": true});
                charsmap.into_iter().chain([strip, blanks("▁")]).collect()
            }
        };
        json!({"type": "Sequence", "normalizers": steps})
    }

    /// Where the blank before a text's first word is put in.
    fn prepend_scheme(&self) -> &'static str {
        match (self.adds_prefix(), self.is_legacy()) {
            (false, _) => "never",
            (true, true) => "always",
            (true, false) => "first",
        }
    }

    fn metaspace(&self, split: bool) -> Json {
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": self.prepend_scheme(), "split": split})
    }

    fn pre_tokenizer(&self) -> Json {
        let sequence = |steps: Vec<Json>| json!({"type": "Sequence", "pretokenizers": steps});
        match self.class {
            Class::Llama if self.is_legacy() => Json::Null,
            Class::Llama => self.metaspace(false),
            Class::Gemma => {
                json!({"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": false})
            }
            Class::Pegasus => sequence(vec![
                json!({"type": "WhitespaceSplit"}),
                self.metaspace(true),
            ]),
            Class::DebertaV2 => {
                let by_punctuation = self.flag("split_by_punct", false);
                let punctuation = json!({"type": "Punctuation", "behavior": "Isolated"});
                let punctuation = by_punctuation.then_some(punctuation);
                sequence(
                    punctuation
                        .into_iter()
                        .chain([self.metaspace(true)])
                        .collect(),
                )
            }
            _ => self.metaspace(true),
        }
    }

    fn decoder(&self) -> Json {
        if !matches!(self.class, Class::Llama | Class::Gemma) {
            return self.metaspace(true);
        }
        let mut steps = vec![
            json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        if self.class == Class::Llama && self.adds_prefix() {
            steps.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        json!({"type": "Sequence", "decoders": steps})
    }

    fn post_processor(&self, ids: &Map<String, Json>, path: &Path) -> Result<Json, Failure> {
        use Part::{First, Second, Token};
        match self.class {
            Class::XlmRoberta | Class::Camembert => {
                let (first, last) = ("<s>", "</s>");
                let single = [Token(first, 0), First, Token(last, 0)];
                let pair = [
                    Token(first, 0),
                    First,
                    Token(last, 0),
                    Token(last, 0),
                    Second(0),
                    Token(last, 0),
                ];
                template(ids, path, &single, &pair)
            }
            Class::Albert | Class::DebertaV2 => {
                let single = [Token("[CLS]", 0), First, Token("[SEP]", 0)];
                let pair = [
                    Token("[CLS]", 0),
                    First,
                    Token("[SEP]", 0),
                    Second(1),
                    Token("[SEP]", 1),
                ];
                template(ids, path, &single, &pair)
            }
            Class::T5 => {
                let last = || Token("</s>", 0);
                let pair = [First, last(), Second(0), last()];
                template(ids, path, &[First, last()], &pair)
            }
            Class::Pegasus => {
                let last = self.special.get("eos_token").unwrap_or_default();
                let pair = [First, Second(0), Token(last, 0)];
                template(ids, path, &[First, Token(last, 0)], &pair)
            }
            // Llama's and Gemma's follow from `add_bos_token` and `add_eos_token`, others' from the language.
            _ => Ok(Json::Null),
        }
    }
}

/// The step that replaces characters, where the model has one.
pub(super) fn charsmap(model: &Model) -> Option<Json> {
    let charsmap = tokenizers::normalizers::Precompiled::from(&model.charsmap).ok()?;
    serde_json::to_value(charsmap).ok()
}

/// The merges that scores imply: each way to cut a piece into two others, the likelier pieces first
/// (`generate_merges` in transformers' `convert_slow_tokenizer.py`).
pub(super) fn merges<'a>(
    pieces: impl Iterator<Item = (&'a str, f64)>,
    ids: &HashMap<&str, usize>,
) -> Vec<Json> {
    let mut merges = Vec::new();
    for (piece, score) in pieces {
        let mut ways: Vec<(&str, &str)> = piece
            .char_indices()
            .skip(1)
            .map(|(at, _)| piece.split_at(at))
            .filter(|(a, b)| ids.contains_key(a) && ids.contains_key(b))
            .collect();
        ways.sort_by_key(|(a, b)| (ids[a], ids[b]));
        merges.extend(ways.into_iter().map(|(a, b)| (score, a, b)));
    }
    let sizes = |a: &str, b: &str| (a.chars().count(), b.chars().count());
    merges.sort_by(|(score, a, b), (score2, a2, b2)| {
        score2
            .total_cmp(score)
            .then_with(|| sizes(a2, b2).cmp(&sizes(a, b)))
    });
    merges.into_iter().map(|(_, a, b)| json!([a, b])).collect()
}
