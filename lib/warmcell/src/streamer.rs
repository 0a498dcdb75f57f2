//! Text as it is generated: transformers' `TextStreamer`, printing or to a callback, and
//! `TextIteratorStreamer`. Where the text is cut is decided where the vocabulary is.

use std::{
    cell::RefCell,
    fmt,
    io::Write,
    rc::Rc,
    time::{Duration, Instant},
};

use wire::{
    FailureKind,
    generate::StreamOptions,
    host::{Event, Request, Response},
    tokenize::{DecodeOptions, Ids, StreamState, TokenizerAnswer, TokenizerCall},
};

use crate::{
    Error, Generation, Result, TokenIds, Tokenizer,
    backend::{self, Call, Next, unexpected},
    generate::{are_conversations, finished},
};

type OnText = Rc<RefCell<dyn FnMut(&str, bool)>>;

/// Prints a generation as it comes, at the pace of whole words; or hands it to a function.
///
/// ```no_run
/// # use warmcell::prelude::*;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let model = AutoModelForCausalLM::from_pretrained("x").load()?;
/// let tokenizer = model.tokenizer()?;
/// let streamer = TextStreamer::new(&tokenizer).skip_prompt(true);
/// model.generate(&messages![user: "Hello!"]).streamer(streamer).run()?;
///
/// let count = |text: &str, _is_end: bool| eprintln!("{} characters", text.len());
/// let streamer = TextStreamer::new(&tokenizer).on_finalized_text(count);
/// model.generate("Once upon a time").streamer(streamer).run()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TextStreamer {
    tokenizer: Tokenizer,
    options: StreamOptions,
    on_text: Option<OnText>,
    /// How far the text is that comes through [`Self::put`].
    state: StreamState,
    is_prompt: bool,
}

impl TextStreamer {
    /// A streamer that prints everything, the prompt and special tokens included.
    ///
    /// ```no_run
    /// # use warmcell::prelude::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let model = AutoModelForCausalLM::from_pretrained("x").load()?;
    /// let streamer = TextStreamer::new(&model.tokenizer()?).skip_prompt(true);
    /// model.generate("Once upon a time").streamer(streamer).run()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(tokenizer: &Tokenizer) -> Self {
        Self {
            tokenizer: tokenizer.clone(),
            options: StreamOptions::default(),
            on_text: None,
            state: StreamState::default(),
            is_prompt: true,
        }
    }

    /// Whether to leave the prompt out.
    #[must_use]
    pub fn skip_prompt(mut self, skip: bool) -> Self {
        self.options.skip_prompt = skip;
        self
    }

    /// Whether to leave special tokens out.
    #[must_use]
    pub fn skip_special_tokens(mut self, skip: bool) -> Self {
        self.options.skip_special_tokens = skip;
        self
    }

    /// Whether to take the blanks before punctuation away; without it the tokenizer decides.
    #[must_use]
    pub fn clean_up_tokenization_spaces(mut self, clean: bool) -> Self {
        self.options.clean_up_tokenization_spaces = Some(clean);
        self
    }

    /// Calls a function with each text instead of printing it, and whether it is the last.
    #[must_use]
    pub fn on_finalized_text(mut self, on_text: impl FnMut(&str, bool) + 'static) -> Self {
        self.on_text = Some(Rc::new(RefCell::new(on_text)));
        self
    }

    /// Takes ids by hand, as a generation loop would: the first call is the prompt's.
    ///
    /// # Errors
    /// The ids are another tokenizer's, or the model host ended.
    pub fn put(&mut self, ids: &(impl TokenIds + ?Sized)) -> Result<()> {
        if std::mem::take(&mut self.is_prompt) && self.options.skip_prompt {
            return Ok(());
        }
        self.tokenizer.check_vocabulary(ids.fingerprint())?;
        let text = self.advance(Some(ids.token_ids()))?;
        self.finalized(&text, false);
        Ok(())
    }

    /// Ends the text: what was held back is printed, and a line break.
    ///
    /// # Errors
    /// The model host ended.
    pub fn end(&mut self) -> Result<()> {
        let text = self.advance(None)?;
        self.is_prompt = true;
        self.finalized(&text, true);
        Ok(())
    }

    fn advance(&mut self, ids: Option<&[u32]>) -> Result<String> {
        let call = TokenizerCall::Stream {
            state: std::mem::take(&mut self.state),
            ids: ids.map(|ids| Ids(ids.to_vec())),
            options: DecodeOptions {
                skip_special_tokens: self.options.skip_special_tokens,
                clean_up_tokenization_spaces: self.options.clean_up_tokenization_spaces,
            },
        };
        match self.tokenizer.call(call)? {
            TokenizerAnswer::Streamed { text, state } => {
                self.state = state;
                Ok(text)
            }
            other => Err(unexpected(&Response::Tokenize(other))),
        }
    }

    /// transformers' `on_finalized_text`.
    pub(crate) fn finalized(&self, text: &str, is_end: bool) {
        if let Some(on_text) = &self.on_text {
            (on_text.borrow_mut())(text, is_end);
            return;
        }
        let end = if is_end { "\n" } else { "" };
        let mut out = std::io::stdout().lock();
        // Output that nobody reads any more is no reason to fail.
        let _ = write!(out, "{text}{end}").and_then(|()| out.flush());
    }

    /// Whether it prints, and calls no function.
    pub(crate) fn prints(&self) -> bool {
        self.on_text.is_none()
    }

    pub(crate) fn options(&self) -> StreamOptions {
        self.options
    }

    pub(crate) fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }
}

impl fmt::Debug for TextStreamer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextStreamer")
            .field("tokenizer", &self.tokenizer.info().name)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// How a generation's text comes through an iterator: `model.generate(…).stream(…)`.
///
/// ```no_run
/// # use warmcell::prelude::*;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let model = AutoModelForCausalLM::from_pretrained("x").load()?;
/// let streamer = TextIteratorStreamer::new(&model.tokenizer()?).skip_prompt(true);
/// for text in model.generate("Once upon a time").stream(streamer)? {
///     print!("{}", text?);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TextIteratorStreamer {
    pub(crate) streamer: TextStreamer,
    timeout: Option<Duration>,
}

impl TextIteratorStreamer {
    /// A streamer that gives everything, the prompt and special tokens included, and waits as long as
    /// it takes.
    pub fn new(tokenizer: &Tokenizer) -> Self {
        Self {
            streamer: TextStreamer::new(tokenizer),
            timeout: None,
        }
    }

    /// Whether to leave the prompt out.
    #[must_use]
    pub fn skip_prompt(mut self, skip: bool) -> Self {
        self.streamer = self.streamer.skip_prompt(skip);
        self
    }

    /// Whether to leave special tokens out.
    #[must_use]
    pub fn skip_special_tokens(mut self, skip: bool) -> Self {
        self.streamer = self.streamer.skip_special_tokens(skip);
        self
    }

    /// Longest wait for a text; after it the iterator gives an error and the generation ends.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    pub(crate) fn start(self, request: &Request) -> Result<TextStream> {
        Ok(TextStream {
            call: Some(backend::start(request)?),
            timeout: self.timeout,
            are_answers: are_conversations(request),
            generated: None,
        })
    }
}

/// The text of a generation under way. Dropping it ends the generation.
pub struct TextStream {
    call: Option<Call>,
    timeout: Option<Duration>,
    are_answers: bool,
    generated: Option<Generation>,
}

impl TextStream {
    /// The finished generation, once the iterator has ended.
    pub fn generation(&self) -> Option<Generation> {
        self.generated.clone()
    }

    fn advance(&mut self) -> Result<Option<String>> {
        let deadline = self.timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let Some(call) = &mut self.call else {
                return Ok(None);
            };
            match call.next(deadline)? {
                Next::Event(Event::Token(token)) if token.text.is_empty() => {}
                Next::Event(Event::Token(token)) => return Ok(Some(token.text)),
                Next::Event(Event::Done(response)) => {
                    self.generated = Some(finished(response, self.are_answers)?);
                    self.call = None;
                }
                Next::Event(Event::Failed(failure)) => return Err(failure.into()),
                Next::Event(Event::Progress(_) | Event::Notice(_)) => {}
                Next::Nothing => {
                    let waited = self.timeout.unwrap_or_default().as_secs_f64();
                    let message = format!("no text came for {waited} s");
                    return Err(Error::new(FailureKind::Host, message)
                        .with_hint("set a longer `timeout`, or none"));
                }
            }
        }
    }
}

impl Iterator for TextStream {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if next.is_err() {
            self.call = None;
        }
        next.transpose()
    }
}

impl fmt::Debug for TextStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextStream")
            .field("timeout", &self.timeout)
            .field("is_over", &self.call.is_none())
            .finish_non_exhaustive()
    }
}
