//! The vocabulary inside a GGUF file, written out as the `tokenizer.json` that its repository would
//! have. How a text is cut before merging is only a name there (`tokenizer.ggml.pre`); the patterns
//! are those of the original repositories, which llama.cpp (`llama-vocab.cpp`) also follows.
//! candle's own conversion adds a prefix space to `smollm` and so gives other ids.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use serde_json::{Value as Json, json};
use wire::{Failure, tokenize::Side};

use super::{Parts, pieces::merges, special::SpecialTokens, word_files::QWEN2};
use crate::{
    failures,
    template::Templates,
    weights::{Description, Metadata, Value, Weights},
};

/// Reads the vocabulary of a file.
pub fn read(path: &Path) -> Result<Parts, Failure> {
    let weights = Weights::open(&crate::hub::Layout::Gguf(path.to_owned()))?;
    let Description::Gguf(metadata) = &weights.description else {
        return Err(failures::corrupt(path, "it has no vocabulary"));
    };
    let vocabulary = Vocabulary::read(metadata)
        .ok_or_else(|| failures::corrupt(path, "its vocabulary is missing or incomplete"))?;
    let json = match metadata.text("tokenizer.ggml.model") {
        Some("gpt2") => byte_level(&vocabulary, metadata)?,
        Some("llama") => sentence_piece(&vocabulary, metadata),
        other => {
            return Err(failures::unsupported(format!(
                "cannot load the tokenizer of `{}`: vocabulary type `{}` is not supported",
                path.display(),
                other.unwrap_or("none")
            ))
            .hint(
                "types that load: gpt2, llama; or take the tokenizer from the original repository",
            ));
        }
    };
    let token = |name: &str| {
        let id = metadata.count(&format!("tokenizer.ggml.{name}_token_id"))?;
        vocabulary.tokens.get(id).map(|token| (*token).to_owned())
    };
    let is_byte_level = metadata.text("tokenizer.ggml.model") == Some("gpt2");
    let notice = (is_byte_level && is_unnamed(metadata)).then(|| {
        format!(
            "`{}` does not say how its tokenizer cuts a text: it is cut by llama.cpp's default rules, \
             and its ids may differ from the original's",
            path.display()
        )
    });
    let keys = [
        ("bos_token", "bos"),
        ("eos_token", "eos"),
        ("unk_token", "unknown"),
        ("pad_token", "padding"),
    ];
    let named = keys
        .into_iter()
        .filter_map(|(name, key)| Some((name, token(key)?)));
    Ok(Parts {
        json,
        config: Json::Null,
        class: None,
        special: SpecialTokens::of_names(named),
        python: None,
        infilling: None,
        chat_templates: Templates::of_gguf(metadata),
        clean_up_spaces: false,
        padding_side: Side::Right,
        truncation_side: Side::Right,
        max_length: None,
        split_special_tokens: false,
        inputs: ["input_ids", "attention_mask"].map(str::to_owned).to_vec(),
        pad_token_type: 0,
        replaces_suffix: None,
        notice,
        files: vec![path.to_owned()],
    })
}

struct Vocabulary<'a> {
    tokens: Vec<&'a str>,
    /// `llama_token_type` of each token; all normal where the file has none.
    kinds: Vec<i64>,
    /// Score of each token, in `SentencePiece` vocabularies.
    scores: Vec<f64>,
    merges: Vec<&'a str>,
}

/// `LLAMA_TOKEN_TYPE_CONTROL`.
const CONTROL: i64 = 3;
/// `LLAMA_TOKEN_TYPE_USER_DEFINED`.
const USER_DEFINED: i64 = 4;

impl<'a> Vocabulary<'a> {
    fn read(metadata: &'a Metadata) -> Option<Self> {
        let texts = |key: &str| -> Option<Vec<&'a str>> {
            let text = |value: &'a Value| match value {
                Value::Text(text) => Some(text.as_str()),
                _ => None,
            };
            metadata.list(key)?.iter().map(text).collect()
        };
        let tokens = texts("tokenizer.ggml.tokens")?;
        let kinds = metadata.list("tokenizer.ggml.token_type").unwrap_or(&[]);
        let scores = metadata.list("tokenizer.ggml.scores").unwrap_or(&[]);
        Some(Self {
            kinds: kinds
                .iter()
                .map(|kind| {
                    if let Value::Integer(kind) = kind {
                        *kind
                    } else {
                        1
                    }
                })
                .collect(),
            scores: scores
                .iter()
                .map(|score| {
                    if let Value::Float(score) = score {
                        *score
                    } else {
                        0.0
                    }
                })
                .collect(),
            merges: texts("tokenizer.ggml.merges").unwrap_or_default(),
            tokens,
        })
    }

    fn ids(&self) -> serde_json::Map<String, Json> {
        let pairs = self.tokens.iter().enumerate();
        pairs
            .map(|(id, token)| ((*token).to_owned(), id.into()))
            .collect()
    }

    /// The merges that scores imply.
    fn merges_of_scores(&self) -> Vec<Json> {
        let ids = self.tokens.iter().enumerate();
        let ids: HashMap<&str, usize> = ids.map(|(id, token)| (*token, id)).collect();
        merges(
            self.tokens.iter().copied().zip(self.scores.iter().copied()),
            &ids,
        )
    }

    /// Tokens that are found in a text as they are, before anything is cut.
    fn added(&self) -> Vec<Json> {
        let kinds = self.kinds.iter().enumerate();
        kinds
            .filter(|(id, kind)| {
                matches!(**kind, CONTROL | USER_DEFINED) && *id < self.tokens.len()
            })
            .map(|(id, kind)| {
                json!({
                    "id": id, "content": self.tokens[id], "special": *kind == CONTROL,
                    "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
                })
            })
            .collect()
    }
}

fn byte_level(vocabulary: &Vocabulary, metadata: &Metadata) -> Result<Json, Failure> {
    let kind = metadata.text("tokenizer.ggml.pre").unwrap_or("default");
    let cut = Cut::of(kind)?;
    // Files may list merges that a later edit of the vocabulary left without their result.
    let known: HashSet<&str> = vocabulary.tokens.iter().copied().collect();
    let whole = |merge: &&&str| {
        merge.split_once(' ').is_some_and(|(a, b)| {
            known.contains(a) && known.contains(b) && known.contains(format!("{a}{b}").as_str())
        })
    };
    let merges: Vec<Json> = vocabulary
        .merges
        .iter()
        .filter(whole)
        .filter_map(|merge| merge.split_once(' '))
        .map(|(a, b)| json!([a, b]))
        .collect();
    let normalizer = if cut.nfc {
        json!({"type": "NFC"})
    } else {
        Json::Null
    };
    Ok(json!({
        "version": "1.0",
        "added_tokens": vocabulary.added(),
        "normalizer": normalizer,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": cut.steps},
        "post_processor": adding_bos(vocabulary, metadata, cut.adds_bos)
            .unwrap_or_else(|| byte_level_step(false)),
        "decoder": byte_level_step(true),
        "model": {
            "type": "BPE", "vocab": vocabulary.ids(), "merges": merges,
            "ignore_merges": cut.ignore_merges, "fuse_unk": false, "byte_fallback": false,
        },
    }))
}

/// Whether the file leaves open how a text is cut before merging.
fn is_unnamed(metadata: &Metadata) -> bool {
    matches!(metadata.text("tokenizer.ggml.pre"), None | Some("default"))
}

/// How a text is cut before merging.
struct Cut {
    steps: Vec<Json>,
    nfc: bool,
    /// Whether a piece that is a token by itself is taken without merging.
    ignore_merges: bool,
    /// Whether a text begins with the beginning-of-sequence token where the file does not say: what
    /// llama.cpp (`llama_vocab::impl::load`) does for the kind.
    adds_bos: bool,
}

impl Cut {
    /// The pre-tokenizer of a kind. An unknown one is refused: a guess would give other ids, silently.
    fn of(kind: &str) -> Result<Self, Failure> {
        // `LLAMA_VOCAB_PRE_TYPE_DEFAULT`: each pattern cuts what the one before left.
        const DEFAULT: [&str; 4] = [
            r"[\p{P}\$\+<=>\^~\|]+",
            r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
            r"\p{N}+",
            r"[0-9][0-9][0-9]",
        ];
        const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
        // Of GPT-4o (`o200k_base`), which Phi-4-mini has. llama.cpp spells the letter classes with
        // look-aheads that cut accents elsewhere; this is the original's own pattern.
        const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
        const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
        let split = |patterns: &[&str]| -> Vec<Json> {
            let steps = patterns.iter().map(|pattern| {
                json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
            });
            steps.chain([byte_level_step(false)]).collect()
        };
        let plain = |steps: Vec<Json>| Self {
            steps,
            nfc: false,
            ignore_merges: false,
            adds_bos: false,
        };
        Ok(match kind {
            "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" => plain(vec![
                json!({"type": "Digits", "individual_digits": true}),
                byte_level_step(true),
            ]),
            "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "lfm2" => Self {
                ignore_merges: true,
                adds_bos: true,
                ..plain(split(&[LLAMA3]))
            },
            // `dbrx` is what llama.cpp writes for Phi-4 of 14 billion parameters.
            "smaug-bpe" | "dbrx" => plain(split(&[LLAMA3])),
            "gpt-4o" | "llama4" => plain(split(&[O200K])),
            "tekken" => Self {
                ignore_merges: true,
                adds_bos: true,
                ..plain(split(&[TEKKEN]))
            },
            "qwen2" | "deepseek-r1-qwen" => Self {
                nfc: true,
                ..plain(split(&[QWEN2]))
            },
            "default" => plain(split(&DEFAULT)),
            "gpt-2" | "gpt2" | "olmo" | "phi-2" | "jina-es" | "jina-de" => {
                plain(vec![byte_level_step(true)])
            }
            other => {
                return Err(failures::unsupported(format!(
                    "the GGUF file's pre-tokenizer `{other}` is not supported"
                ))
                .hint(
                    "take the tokenizer from the original repository, which has a `tokenizer.json`",
                ));
            }
        })
    }
}

pub(super) fn byte_level_step(use_regex: bool) -> Json {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex})
}

/// A post-processor that puts the beginning-of-sequence token first, where the file asks for it.
fn adding_bos(vocabulary: &Vocabulary, metadata: &Metadata, default: bool) -> Option<Json> {
    if !metadata
        .flag("tokenizer.ggml.add_bos_token")
        .unwrap_or(default)
    {
        return None;
    }
    let id = metadata.count("tokenizer.ggml.bos_token_id")?;
    let bos = vocabulary.tokens.get(id)?;
    let special = json!({"SpecialToken": {"id": bos, "type_id": 0}});
    let first = json!({"Sequence": {"id": "A", "type_id": 0}});
    let second = json!({"Sequence": {"id": "B", "type_id": 1}});
    Some(json!({
        "type": "TemplateProcessing",
        "single": [special, first],
        "pair": [special, first, special, second],
        "special_tokens": {*bos: {"id": bos, "ids": [id], "tokens": [bos]}},
    }))
}

fn sentence_piece(vocabulary: &Vocabulary, metadata: &Metadata) -> Json {
    let prefix = metadata
        .flag("tokenizer.ggml.add_space_prefix")
        .unwrap_or(true);
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let normalizer = if prefix {
        json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]})
    } else {
        replace
    };
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    let unknown = metadata
        .count("tokenizer.ggml.unknown_token_id")
        .unwrap_or(0);
    json!({
        "version": "1.0",
        "added_tokens": vocabulary.added(),
        "normalizer": normalizer,
        "pre_tokenizer": null,
        "post_processor": adding_bos(vocabulary, metadata, true),
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {
            "type": "BPE", "vocab": vocabulary.ids(), "merges": vocabulary.merges_of_scores(),
            "unk_token": vocabulary.tokens.get(unknown), "fuse_unk": true, "byte_fallback": true,
        },
    })
}
