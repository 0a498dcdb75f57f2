//! The short way from text to tokens for byte-level BPE: GPT-2's, and that of most language models
//! since. The crate `tokenizers` keeps for every byte where it came from and makes each piece of the
//! text anew; here pieces are slices of the text, and what a piece was cut into is remembered.
//!
//! Added tokens, regular expressions and merges are those of the crate, which also encodes each piece
//! that is not known yet, so the tokens and their offsets are the crate's. Where anything else is to
//! be done to a text, this way is not taken.

use std::{
    ops::Range,
    sync::{Mutex, PoisonError},
};

use ahash::AHashMap;
use aho_corasick::AhoCorasick;
use tokenizers::{
    Encoding as Raw, Model, ModelWrapper, NormalizerWrapper, OffsetReferential, OffsetType,
    PreTokenizedString, PreTokenizer, PreTokenizerWrapper, Result, SplitDelimiterBehavior,
    pre_tokenizers::{byte_level::ByteLevel, split::SplitPattern},
    utils::SysRegex,
};
use unicode_normalization_alignments::{IsNormalized, is_nfc_quick};

/// How GPT-2 cuts a text, which `ByteLevel` does by itself.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// Longer pieces do not come again.
const LONGEST_REMEMBERED: usize = 128;
/// Tokens that are remembered, some ten megabytes: then all is forgotten.
const REMEMBERED: usize = 1 << 17;

/// What it knows of a tokenizer.
pub(super) struct ByteLevelBpe {
    steps: Vec<Step>,
    /// Whether the crate composes characters (NFC): a text of which that changes something is its.
    composes: bool,
    /// Finds whether a text has any added token.
    added: AhoCorasick,
    /// One for each thread that encodes at the same time.
    memories: Mutex<Vec<Memory>>,
}

/// How a text is cut, one step after the other.
enum Step {
    /// At each match, which is a piece of its own.
    Matches(SysRegex),
    /// Each digit alone.
    Digits,
}

/// The tokens of pieces.
#[derive(Default)]
struct Memory {
    pieces: AHashMap<Box<str>, Range<usize>>,
    tokens: Vec<Known>,
}

/// A token of a piece.
struct Known {
    id: u32,
    token: String,
    /// Bytes of the piece.
    span: (usize, usize),
}

/// What an encoding is made of.
struct Columns {
    ids: Vec<u32>,
    tokens: Vec<String>,
    words: Vec<Option<u32>>,
    offsets: Vec<(usize, usize)>,
    /// Pieces so far.
    count: u32,
}

impl ByteLevelBpe {
    /// `None` when the tokenizer is of another kind.
    pub(super) fn new(tokenizer: &tokenizers::Tokenizer) -> Option<Self> {
        let ModelWrapper::BPE(model) = tokenizer.get_model() else {
            return None;
        };
        // Merges that are left out by chance are not to be remembered.
        if model.dropout.is_some() {
            return None;
        }
        let composes = match tokenizer.get_normalizer() {
            None => false,
            Some(NormalizerWrapper::NFC(_)) => true,
            Some(_) => return None,
        };
        let contents = tokenizer.get_added_tokens_decoder().into_values();
        let contents: Vec<String> = contents.map(|token| token.content).collect();
        if composes && !contents.iter().all(|content| is_composed(content)) {
            return None;
        }
        Some(Self {
            steps: steps(tokenizer.get_pre_tokenizer()?)?,
            composes,
            added: AhoCorasick::new(contents).ok()?,
            memories: Mutex::default(),
        })
    }

    /// Encodes a text, without anything around it; `None` when it is for the crate.
    pub(super) fn encode(
        &self,
        text: &str,
        tokenizer: &tokenizers::Tokenizer,
    ) -> Option<Result<Raw>> {
        if self.composes && !is_composed(text) {
            return None;
        }
        let memories = || self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        let mut memory = memories().pop().unwrap_or_default();
        let result = self.columns(text, tokenizer, &mut memory);
        memories().push(memory);
        Some(result.map(Columns::into_raw))
    }

    fn columns(
        &self,
        text: &str,
        tokenizer: &tokenizers::Tokenizer,
        memory: &mut Memory,
    ) -> Result<Columns> {
        let mut columns = Columns::with_capacity(text.len() / 3);
        let model = tokenizer.get_model();
        let mut cut = |part: &str, start: usize, columns: &mut Columns| -> Result<()> {
            let mut result = Ok(());
            pieces(&self.steps, part, start, &mut |piece, at| {
                if result.is_ok() {
                    result = memory.recall(piece, at, model, columns);
                }
            });
            result
        };
        if !self.added.is_match(text) {
            cut(text, 0, &mut columns)?;
            return Ok(columns);
        }
        let vocabulary = tokenizer.get_added_vocabulary();
        let parts = vocabulary.extract_and_normalize(tokenizer.get_normalizer(), text);
        for (part, (start, end), tokens) in
            parts.get_splits(OffsetReferential::Original, OffsetType::Byte)
        {
            match tokens {
                Some(tokens) => {
                    for token in tokens {
                        columns.push(token.id, token.value.clone(), (start, end));
                    }
                    columns.count += 1;
                }
                None => cut(part, start, &mut columns)?,
            }
        }
        Ok(columns)
    }
}

impl Memory {
    /// Adds the tokens of a piece, which stands at this byte of the text.
    fn recall(
        &mut self,
        piece: &str,
        at: usize,
        model: &ModelWrapper,
        columns: &mut Columns,
    ) -> Result<()> {
        let range = match self.pieces.get(piece) {
            Some(range) => range.clone(),
            None => self.learn(piece, model)?,
        };
        for known in &self.tokens[range] {
            let (start, end) = known.span;
            columns.push(known.id, known.token.clone(), (at + start, at + end));
        }
        columns.count += 1;
        Ok(())
    }

    fn learn(&mut self, piece: &str, model: &ModelWrapper) -> Result<Range<usize>> {
        if self.tokens.len() > REMEMBERED {
            self.pieces.clear();
            self.tokens.clear();
        }
        let mut parts = PreTokenizedString::from(piece);
        ByteLevel::new(false, false, false).pre_tokenize(&mut parts)?;
        parts.tokenize(|part| model.tokenize(part.get()))?;
        let raw = parts.into_encoding(None, 0, OffsetType::Byte)?;
        let start = self.tokens.len();
        let tokens = raw
            .get_ids()
            .iter()
            .zip(raw.get_tokens())
            .zip(raw.get_offsets());
        self.tokens
            .extend(tokens.map(|((&id, token), &span)| Known {
                id,
                token: token.clone(),
                span,
            }));
        let range = start..self.tokens.len();
        if piece.len() <= LONGEST_REMEMBERED {
            self.pieces.insert(piece.into(), range.clone());
        }
        Ok(range)
    }
}

impl Columns {
    fn with_capacity(tokens: usize) -> Self {
        Self {
            ids: Vec::with_capacity(tokens),
            tokens: Vec::with_capacity(tokens),
            words: Vec::with_capacity(tokens),
            offsets: Vec::with_capacity(tokens),
            count: 0,
        }
    }

    fn push(&mut self, id: u32, token: String, offsets: (usize, usize)) {
        self.ids.push(id);
        self.tokens.push(token);
        self.words.push(Some(self.count));
        self.offsets.push(offsets);
    }

    fn into_raw(self) -> Raw {
        let length = self.ids.len();
        Raw::new(
            self.ids,
            vec![0; length],
            self.tokens,
            self.words,
            self.offsets,
            vec![0; length],
            vec![1; length],
            Vec::new(),
            AHashMap::new(),
        )
    }
}

/// The steps of a pre-tokenizer; `None` when it has one that is not known here.
fn steps(pre_tokenizer: &PreTokenizerWrapper) -> Option<Vec<Step>> {
    let sequence = match pre_tokenizer {
        PreTokenizerWrapper::Sequence(sequence) => sequence.as_ref(),
        one => std::slice::from_ref(one),
    };
    let (PreTokenizerWrapper::ByteLevel(last), before) = sequence.split_last()? else {
        return None;
    };
    if last.add_prefix_space {
        return None;
    }
    let mut steps = before.iter().map(step).collect::<Option<Vec<Step>>>()?;
    if last.use_regex {
        steps.push(Step::Matches(SysRegex::new(GPT2).ok()?));
    }
    Some(steps)
}

fn step(pre_tokenizer: &PreTokenizerWrapper) -> Option<Step> {
    match pre_tokenizer {
        PreTokenizerWrapper::Digits(digits) => digits.individual_digits.then_some(Step::Digits),
        PreTokenizerWrapper::Split(split) => {
            let SplitPattern::Regex(pattern) = &split.pattern else {
                return None;
            };
            // Matches and what is between them are pieces alike.
            let isolates = split.behavior == SplitDelimiterBehavior::Isolated;
            let regex = isolates.then(|| SysRegex::new(pattern).ok())??;
            Some(Step::Matches(regex))
        }
        _ => None,
    }
}

/// Cuts a text that stands at byte `at` by all steps, and visits the pieces in their order.
fn pieces(steps: &[Step], text: &str, at: usize, visit: &mut dyn FnMut(&str, usize)) {
    if text.is_empty() {
        return;
    }
    let Some((step, later)) = steps.split_first() else {
        return visit(text, at);
    };
    let mut before = 0;
    let mut found = |start: usize, end: usize| {
        pieces(later, &text[before..start], at + before, visit);
        pieces(later, &text[start..end], at + start, visit);
        before = end;
    };
    match step {
        Step::Matches(regex) => regex
            .find_iter(text)
            .for_each(|(start, end)| found(start, end)),
        Step::Digits => text
            .char_indices()
            .filter(|(_, character)| character.is_numeric())
            .for_each(|(start, digit)| found(start, start + digit.len_utf8())),
    }
    pieces(later, &text[before..], at + before, visit);
}

fn is_composed(text: &str) -> bool {
    text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::{collection::vec, prelude::*, sample::select};
    use serde_json::json;

    use super::*;

    /// What text is made of that is hard to cut.
    const PARTS: &[&str] = &[
        " ",
        "  ",
        "\n",
        "\r\n",
        "\t",
        "a",
        "The",
        " quick",
        "don't",
        "'S",
        "1",
        "42",
        "٣",
        "½",
        "한국어",
        "日本",
        "😀",
        "👩‍👩‍👧",
        "é",
        "e\u{301}",
        "\u{301}",
        "ﬁ",
        "Å",
        "\u{212b}",
        "नमस्ते",
        "<|im_start|>",
        "<|im_end|>",
        "<new>",
        "<ne",
        "fn f() {",
        "___",
        "...",
        "\u{a0}",
        "\u{200b}",
        "\u{0}",
        "ß",
        "İ",
    ];

    /// A tokenizer of the fixtures, cut in a model's way, with added tokens of all kinds.
    fn tokenizer(folder: &str, change: &serde_json::Value) -> tokenizers::Tokenizer {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures/tokenizers")
            .join(folder)
            .join("tokenizer.json");
        let text = std::fs::read(path).expect("the fixture is there");
        let mut json: serde_json::Value = serde_json::from_slice(&text).expect("is JSON");
        for (key, value) in change.as_object().into_iter().flatten() {
            json[key] = value.clone();
        }
        let mut tokenizer: tokenizers::Tokenizer =
            serde_json::from_value(json).expect("is a tokenizer");
        tokenizer.with_post_processor(None::<tokenizers::PostProcessorWrapper>);
        let added = [
            tokenizers::AddedToken::from("<|im_start|>", true),
            tokenizers::AddedToken::from("<|im_end|>", true).rstrip(true),
            tokenizers::AddedToken::from("<new>", false).lstrip(true),
        ];
        tokenizer.add_tokens(added).expect("can be added");
        tokenizer
    }

    fn tokenizers() -> Vec<tokenizers::Tokenizer> {
        let byte_level = |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex});
        let split = |pattern: &str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
        let steps = |steps: Vec<serde_json::Value>| json!({"pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}});
        let llama = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
        let digits = json!({"type": "Digits", "individual_digits": true});
        let mut composing = steps(vec![split(llama), byte_level(false)]);
        composing["normalizer"] = json!({"type": "NFC"});
        vec![
            tokenizer("json_gpt2", &json!({})),
            tokenizer("json_gpt2", &steps(vec![digits, byte_level(true)])),
            tokenizer("json_gpt2", &steps(vec![split(llama), byte_level(false)])),
            tokenizer("json_gpt2", &composing),
        ]
    }

    #[test]
    fn other_kinds_are_left_to_the_crate() {
        for folder in ["json_bert", "json_llama", "json_roberta"] {
            let spaced = tokenizer(folder, &json!({}));
            let known = ByteLevelBpe::new(&spaced).is_some();
            let prefixes = matches!(spaced.get_pre_tokenizer(), Some(PreTokenizerWrapper::ByteLevel(it)) if !it.add_prefix_space);
            assert_eq!(known, prefixes, "{folder}");
        }
    }

    #[test]
    fn a_text_that_would_be_composed_is_left_to_the_crate() {
        let tokenizers = tokenizers();
        let composing = tokenizers.last().expect("is there");
        let short = ByteLevelBpe::new(composing).expect("is byte-level BPE");
        assert!(short.encode("e\u{301}", composing).is_none());
        assert!(short.encode("é 한국어", composing).is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn tokens_and_offsets_are_those_of_the_crate(texts in vec(vec(select(PARTS), 0..30), 1..4)) {
            for tokenizer in tokenizers() {
                let short = ByteLevelBpe::new(&tokenizer).expect("is byte-level BPE");
                // The later texts meet what the earlier ones left in memory.
                for text in texts.iter().map(|parts| parts.concat()) {
                    let expected = tokenizer.encode(text.as_str(), false).expect("encodes");
                    if let Some(found) = short.encode(&text, &tokenizer) {
                        prop_assert_eq!(found.expect("encodes"), expected, "{:?}", text);
                    }
                }
            }
        }

        #[test]
        fn any_text_at_all_gives_the_tokens_of_the_crate(text in ".{0,60}") {
            for tokenizer in tokenizers() {
                let short = ByteLevelBpe::new(&tokenizer).expect("is byte-level BPE");
                let expected = tokenizer.encode(text.as_str(), false).expect("encodes");
                if let Some(found) = short.encode(&text, &tokenizer) {
                    prop_assert_eq!(found.expect("encodes"), expected);
                }
            }
        }
    }
}
