//! Text to token ids and back, by the crate `tokenizers`: from whatever files a repository has, or
//! from the vocabulary inside a GGUF file. All become the same object, with the special tokens, the
//! chat template and the identity of the vocabulary beside it.

mod adding;
mod answer;
mod batch;
mod byte_level;
mod charsmap;
mod chat;
mod class;
mod decode;
mod defaults;
mod dictionary;
mod encode;
mod files;
mod gguf;
mod identity;
mod infilling;
mod language_codes;
mod languages;
mod lowercase;
mod merging;
mod pieces;
mod python;
mod save;
mod sentence_model;
mod shelf;
mod special;
mod streamer;
mod vocabulary;
mod windows;
mod word_files;

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::OnceLock,
};

use serde_json::Value;
use tokenizers::PostProcessorWrapper;
use wire::{Failure, FailureKind, model::TokenizerInfo, tokenize::Side};

pub(crate) use self::{batch::Characters, files::optional_json};
use self::{
    byte_level::ByteLevelBpe, identity::Identity, infilling::Infilling, python::Python,
    special::SpecialTokens,
};
pub use self::{shelf::Shelf, streamer::TextStreamer};
use crate::{
    failures,
    hub::{Layout, ModelFiles},
    template::Templates,
};

/// A loaded tokenizer.
pub struct Tokenizer {
    /// Without its post-processor, which is applied after truncation.
    inner: tokenizers::Tokenizer,
    /// The same, cutting the text of special tokens too; made when it is first asked for.
    splitting: OnceLock<tokenizers::Tokenizer>,
    /// A shorter way to the same tokens, where there is one; made when it is first asked for.
    byte_level: OnceLock<Option<ByteLevelBpe>>,
    post_processor: Option<PostProcessorWrapper>,
    /// The same with whole offsets: what a token table shows, blanks before words included.
    whole_offsets: Option<PostProcessorWrapper>,
    special_ids: HashSet<u32>,
    /// The added tokens as they were written, and whether they are special. `tokenizers` itself would
    /// give the normalised spelling.
    added: HashMap<u32, (String, bool)>,
    parts: Parts,
    identity: Identity,
    info: TokenizerInfo,
}

/// What the files say of a tokenizer, whatever the files.
#[derive(Clone)]
struct Parts {
    /// As in a `tokenizer.json`.
    json: Value,
    /// `tokenizer_config.json`.
    config: Value,
    /// Name of the class there.
    class: Option<String>,
    special: SpecialTokens,
    /// Rules of the classes that transformers has in Python only.
    python: Option<Python>,
    /// How `CodeLlama`'s class fills in.
    infilling: Option<Infilling>,
    chat_templates: Templates,
    /// Whether decoding takes the blanks before punctuation away.
    clean_up_spaces: bool,
    padding_side: Side,
    truncation_side: Side,
    /// Longest sequence that the model takes.
    max_length: Option<u32>,
    /// Whether the text of special tokens is cut like any other.
    split_special_tokens: bool,
    /// Names of what a model is given.
    inputs: Vec<String>,
    /// The token type of padding.
    pad_token_type: u32,
    /// The end of a word, which CLIP's class replaces by a blank once more after decoding.
    replaces_suffix: Option<String>,
    /// What its user should know, once.
    notice: Option<String>,
    /// The files it was read from.
    files: Vec<PathBuf>,
}

impl Tokenizer {
    /// Loads the tokenizer of a model. Fails when there is none, or none of a kind that is known.
    pub fn load(files: &ModelFiles) -> Result<Self, Failure> {
        let parts = match &files.layout {
            Layout::Gguf(path) => gguf::read(path)?,
            Layout::Folder(folder) => files::read(folder)?,
        };
        Self::new(&files.name, parts)
    }

    fn new(name: &str, parts: Parts) -> Result<Self, Failure> {
        let damaged = |error: &dyn std::fmt::Display| {
            Failure::new(
                FailureKind::Corrupt,
                format!("cannot load the tokenizer of `{name}`: {error}"),
            )
        };
        let bytes = serde_json::to_vec(&parts.json).map_err(|error| damaged(&error))?;
        let mut inner =
            tokenizers::Tokenizer::from_bytes(&bytes).map_err(|error| damaged(&error))?;
        // A file may carry the truncation it was trained with; transformers sets both a call.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| damaged(&error))?;
        let known: HashSet<String> = inner
            .get_added_tokens_decoder()
            .into_values()
            .map(|token| token.content)
            .collect();
        let mut tokens = parts.special.to_add(|content| known.contains(content));
        if parts.python.is_some() {
            // Their added tokens are searched in the text as it is.
            tokens = tokens
                .into_iter()
                .map(|token| token.normalized(false))
                .collect();
        }
        inner.add_tokens(tokens).map_err(|error| damaged(&error))?;
        let post_processor = inner.get_post_processor().cloned();
        inner.with_post_processor(None::<PostProcessorWrapper>);
        let mut tokenizer = Self {
            whole_offsets: whole_offsets(&parts.json["post_processor"], post_processor.as_ref()),
            inner,
            splitting: OnceLock::new(),
            byte_level: OnceLock::new(),
            post_processor,
            special_ids: HashSet::new(),
            added: HashMap::new(),
            parts,
            identity: Identity::default(),
            info: TokenizerInfo::default(),
        };
        tokenizer.describe(name);
        Ok(tokenizer)
    }

    /// The same around another `inner`.
    fn with_inner(&self, inner: tokenizers::Tokenizer) -> Self {
        let mut tokenizer = Self {
            inner,
            splitting: OnceLock::new(),
            byte_level: OnceLock::new(),
            post_processor: self.post_processor.clone(),
            whole_offsets: self.whole_offsets.clone(),
            special_ids: HashSet::new(),
            added: HashMap::new(),
            parts: self.parts.clone(),
            identity: Identity::default(),
            info: TokenizerInfo::default(),
        };
        tokenizer.describe(&self.info.name);
        tokenizer
    }

    /// What is known of it.
    pub fn info(&self) -> &TokenizerInfo {
        &self.info
    }

    /// Identity of the vocabulary: a hash of the merges, and of its tokens and their ids.
    pub fn fingerprint(&self) -> &str {
        &self.info.fingerprint
    }

    fn failed(&self, what: &str, error: &dyn std::error::Error) -> Failure {
        failures::invalid(format!(
            "the tokenizer of `{}` cannot {what}: {error}",
            self.info.name
        ))
    }
}

/// The post-processor without the trimming of offsets; the same one where it trims nothing.
fn whole_offsets(json: &Value, own: Option<&PostProcessorWrapper>) -> Option<PostProcessorWrapper> {
    let mut json = json.clone();
    stop_trimming(&mut json);
    serde_json::from_value(json).ok().or_else(|| own.cloned())
}

fn stop_trimming(json: &mut Value) {
    if let Some(trims) = json.get_mut("trim_offsets") {
        *trims = false.into();
    }
    let steps = json.get_mut("processors").and_then(Value::as_array_mut);
    steps.into_iter().flatten().for_each(stop_trimming);
}
