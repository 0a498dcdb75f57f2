//! Text to token ids and back, by the crate `tokenizers`: from a repository's `tokenizer.json` or
//! from the vocabulary inside a GGUF file. Both become the same object, with the special tokens, the
//! chat template and the identity of the vocabulary beside it.

mod files;
mod gguf;
mod streamer;

use std::collections::HashSet;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
pub use streamer::TextStreamer;
use wire::{
    Failure, FailureKind,
    model::TokenizerInfo,
    text::{ChatMessage, Encoding, RenderedChat, TemplateOptions, Token},
};

use crate::{
    failures,
    hub::{Layout, ModelFiles},
    template,
};

/// A loaded tokenizer.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    special_ids: HashSet<u32>,
    parts: Parts,
    info: TokenizerInfo,
}

/// What a file says of its tokenizer, whatever the file.
struct Parts {
    /// The text of a `tokenizer.json`.
    json: Vec<u8>,
    special: SpecialTokens,
    chat_template: Option<String>,
    /// Whether decoding takes the blanks before punctuation away, as `tokenizer_config.json` may ask.
    clean_up_spaces: bool,
}

/// The named special tokens.
#[derive(Clone, Debug, Default)]
struct SpecialTokens {
    bos: Option<String>,
    eos: Option<String>,
    pad: Option<String>,
    unk: Option<String>,
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
        let mut inner =
            tokenizers::Tokenizer::from_bytes(&parts.json).map_err(|error| damaged(&error))?;
        // A file may carry the truncation it was trained with; transformers sets both a call.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| damaged(&error))?;
        let json: Value = serde_json::from_slice(&parts.json).map_err(|error| damaged(&error))?;
        let special_ids = inner
            .get_added_tokens_decoder()
            .iter()
            .filter(|(_, token)| token.special)
            .map(|(&id, _)| id)
            .collect();
        let info = TokenizerInfo {
            name: name.to_owned(),
            model: json["model"]["type"].as_str().unwrap_or("BPE").to_owned(),
            vocab_size: inner.get_vocab_size(true) as u32,
            bos_token: parts.special.bos.clone(),
            eos_token: parts.special.eos.clone(),
            pad_token: parts.special.pad.clone(),
            unk_token: parts.special.unk.clone(),
            has_chat_template: parts.chat_template.is_some(),
            fingerprint: fingerprint(&inner, &json["model"]["merges"]),
        };
        Ok(Self {
            inner,
            special_ids,
            parts,
            info,
        })
    }

    /// What is known of it.
    pub fn info(&self) -> &TokenizerInfo {
        &self.info
    }

    /// Identity of the vocabulary: a hash of its tokens, their ids and the merges.
    pub fn fingerprint(&self) -> &str {
        &self.info.fingerprint
    }

    /// Id of a token by its exact spelling.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Encodes a text, with what the post-processor adds when `add_special_tokens`.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Encoding, Failure> {
        let encoded = self
            .inner
            .encode(text, add_special_tokens)
            .map_err(|error| self.failed("encode", error.as_ref()))?;
        let tokens = encoded
            .get_ids()
            .iter()
            .zip(encoded.get_tokens())
            .zip(encoded.get_offsets())
            .map(|((&id, piece), &(start, end))| Token {
                id,
                piece: piece.clone(),
                bytes: (start as u32, end as u32),
                special: self.special_ids.contains(&id),
            })
            .collect();
        Ok(Encoding {
            text: text.to_owned(),
            tokens,
            fingerprint: self.info.fingerprint.clone(),
        })
    }

    /// Decodes ids. Ids past the vocabulary decode to nothing, as in transformers.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, Failure> {
        let text = self
            .inner
            .decode(ids, skip_special_tokens)
            .map_err(|error| self.failed("decode", error.as_ref()))?;
        Ok(if self.parts.clean_up_spaces {
            clean_up_spaces(&text)
        } else {
            text
        })
    }

    /// Renders a conversation by the chat template, and encodes the text without adding to it.
    pub fn apply_chat_template(
        &self,
        messages: &[ChatMessage],
        options: &TemplateOptions,
    ) -> Result<RenderedChat, Failure> {
        let own = self.parts.chat_template.as_ref();
        let Some(source) = options.chat_template.as_ref().or(own) else {
            return Err(failures::invalid(format!(
                "the tokenizer of `{}` has no chat template",
                self.info.name
            ))
            .hint("pass one as `chat_template`, or encode plain text"));
        };
        let text = template::render(source, self.context(messages, options)?)?;
        let encoding = self.encode(&text, false)?;
        Ok(RenderedChat {
            messages: messages.to_vec(),
            text,
            encoding,
            add_generation_prompt: options.add_generation_prompt,
        })
    }

    /// The variables of a template, in the order of precedence that transformers has.
    fn context(
        &self,
        messages: &[ChatMessage],
        options: &TemplateOptions,
    ) -> Result<Map<String, Value>, Failure> {
        let messages = serde_json::to_value(messages)
            .map_err(|error| failures::invalid(format!("messages cannot be rendered: {error}")))?;
        let special = &self.parts.special;
        let mut context = Map::new();
        context.insert("messages".into(), messages);
        context.insert("tools".into(), Value::Null);
        context.insert("documents".into(), Value::Null);
        context.insert(
            "add_generation_prompt".into(),
            options.add_generation_prompt.into(),
        );
        let named = [
            ("bos_token", &special.bos),
            ("eos_token", &special.eos),
            ("pad_token", &special.pad),
            ("unk_token", &special.unk),
        ];
        for (name, token) in named {
            if let Some(token) = token {
                context.insert(name.into(), token.as_str().into());
            }
        }
        context.extend(options.variables.clone());
        Ok(context)
    }

    fn failed(&self, what: &str, error: &dyn std::error::Error) -> Failure {
        failures::invalid(format!(
            "the tokenizer of `{}` cannot {what}: {error}",
            self.info.name
        ))
    }
}

fn fingerprint(tokenizer: &tokenizers::Tokenizer, merges: &Value) -> String {
    let mut vocabulary: Vec<(u32, String)> = tokenizer
        .get_vocab(true)
        .into_iter()
        .map(|(token, id)| (id, token))
        .collect();
    vocabulary.sort_unstable();
    let mut hash = Sha256::new();
    for (id, token) in &vocabulary {
        hash.update(id.to_le_bytes());
        hash.update((token.len() as u64).to_le_bytes());
        hash.update(token);
    }
    for merge in merges.as_array().into_iter().flatten() {
        // Older files write a merge as one text, newer ones as a pair.
        match merge {
            Value::String(pair) => hash.update(pair),
            pair => {
                hash.update(pair[0].as_str().unwrap_or_default());
                hash.update(" ");
                hash.update(pair[1].as_str().unwrap_or_default());
            }
        }
        hash.update([0]);
    }
    hash.finalize()
        .iter()
        .take(16)
        .fold(String::new(), |mut text, byte| {
            use std::fmt::Write as _;
            write!(text, "{byte:02x}").expect("writing to a string does not fail");
            text
        })
}

/// `clean_up_tokenization` of transformers.
fn clean_up_spaces(text: &str) -> String {
    let pairs = [
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    ];
    pairs
        .into_iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}
