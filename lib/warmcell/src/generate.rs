//! `model.generate(prompt)`: the options of transformers' `generate`, a streamer, and the result.

use std::fmt;

use wire::{
    FailureKind,
    generate::{FinishReason, Generated, GenerationConfig, Prompt, StreamOptions, StreamedToken},
    host::{Request, Response},
    model::ModelSpec,
};

use crate::{
    Chat, Error, Messages, Result, TextIteratorStreamer, TextStream, TextStreamer, TokenIds,
    Tokenizer, Tokens,
    backend::{run_with, unexpected},
    rich::shows_as,
};

/// What a model can continue.
pub trait IntoPrompt {
    /// The prompt.
    fn into_prompt(self) -> Prompt;
}

impl IntoPrompt for &str {
    fn into_prompt(self) -> Prompt {
        Prompt::Text(self.to_owned())
    }
}

impl IntoPrompt for &String {
    fn into_prompt(self) -> Prompt {
        Prompt::Text(self.clone())
    }
}

/// A conversation is rendered by the model's own template, with the header of the answer.
impl IntoPrompt for &Messages {
    fn into_prompt(self) -> Prompt {
        Prompt::Chat(self.to_vec())
    }
}

impl IntoPrompt for &Tokens {
    fn into_prompt(self) -> Prompt {
        Prompt::Ids {
            ids: self.ids().to_vec(),
            fingerprint: self.fingerprint().map(str::to_owned),
        }
    }
}

/// A rendered conversation goes as it is, without its padding: its special tokens are not added a second
/// time.
impl IntoPrompt for &Chat {
    fn into_prompt(self) -> Prompt {
        let pairs = self.input_ids().iter().zip(self.attention_mask());
        Prompt::Ids {
            ids: pairs
                .filter(|(_, mask)| **mask == 1)
                .map(|(&id, _)| id)
                .collect(),
            fingerprint: Some(self.fingerprint().to_owned()),
        }
    }
}

/// How to continue a prompt. What is not set comes from the model's `generation_config.json`, then
/// from transformers' defaults.
#[must_use = "nothing is generated before `run()`"]
pub struct Generate {
    model: ModelSpec,
    prompt: Prompt,
    config: GenerationConfig,
    streamer: Option<TextStreamer>,
    on_token: Option<OnToken>,
}

type OnToken = Box<dyn FnMut(&StreamedToken)>;

/// One setter for each option, named as transformers names it.
macro_rules! options {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)*) => {
        $($(#[$doc])*
        pub fn $name(mut self, $name: $type) -> Self {
            self.config.$name = Some($name.into());
            self
        })*
    };
}

impl Generate {
    pub(crate) fn new(model: ModelSpec, prompt: Prompt) -> Self {
        Self {
            model,
            prompt,
            config: GenerationConfig::default(),
            streamer: None,
            on_token: None,
        }
    }

    options! {
        /// Most tokens to add.
        max_new_tokens: u32;
        /// Most tokens in all, the prompt included; `max_new_tokens` goes before it.
        max_length: u32;
        /// Fewest tokens to add before it may end by itself.
        min_new_tokens: u32;
        /// Divides the logits; above 0. Only with `do_sample`.
        temperature: f64;
        /// Keep this many likeliest tokens; 0 keeps all. Only with `do_sample`.
        top_k: u32;
        /// Keep the likeliest tokens up to this probability mass. Only with `do_sample`.
        top_p: f64;
        /// Keep tokens at least this times as likely as the likeliest. Only with `do_sample`.
        min_p: f64;
        /// Makes tokens that were seen less likely; 1 is off.
        repetition_penalty: f64;
        /// Token ids that end it.
        eos_token_id: Vec<u32>;
        /// Seed of the random draws. Not torch's stream.
        seed: u64;
    }

    /// Whether to draw from the distribution (`true`) or to take the likeliest token (`false`). Without
    /// it the model's own `generation_config.json` decides.
    pub fn do_sample(mut self, sample: bool) -> Self {
        self.config.do_sample = Some(sample);
        self
    }

    /// Texts that end it when they are completed.
    pub fn stop_strings<T: Into<String>>(mut self, texts: impl IntoIterator<Item = T>) -> Self {
        self.config.stop_strings = Some(texts.into_iter().map(Into::into).collect());
        self
    }

    /// Prints the text as it comes.
    pub fn streamer(mut self, streamer: TextStreamer) -> Self {
        self.streamer = Some(streamer);
        self
    }

    /// Calls a function with each new token and the text that became printable with it.
    pub fn on_token(mut self, on_token: impl FnMut(&StreamedToken) + 'static) -> Self {
        self.on_token = Some(Box::new(on_token));
        self
    }

    /// Generates, and gives the text as it comes. The model is loaded first when it is not resident
    /// any more.
    ///
    /// # Errors
    /// The streamer's tokenizer is not the model's, or the model host cannot be reached. What fails
    /// later is an item of the iterator.
    pub fn stream(self, streamer: TextIteratorStreamer) -> Result<TextStream> {
        check_streamer(&streamer.streamer, &self.model)?;
        let request = Request::Generate {
            model: self.model,
            prompt: self.prompt,
            config: self.config,
            stream: Some(streamer.streamer.options()),
        };
        streamer.start(&request)
    }

    pub(crate) fn config(mut self, config: GenerationConfig) -> Self {
        self.config = config;
        self
    }

    /// Generates. The model is loaded first when it is not resident any more.
    ///
    /// # Errors
    /// An option is invalid, the prompt is another tokenizer's or too long, the cell was
    /// interrupted, or the model host ended.
    pub fn run(self) -> Result<Generation> {
        let Self {
            model,
            prompt,
            config,
            streamer,
            mut on_token,
        } = self;
        let stream = match (&streamer, &on_token) {
            (Some(streamer), _) => Some(streamer.options()),
            (None, Some(_)) => Some(StreamOptions {
                skip_prompt: true,
                skip_special_tokens: true,
                clean_up_tokenization_spaces: None,
            }),
            (None, None) => None,
        };
        if let Some(streamer) = &streamer {
            check_streamer(streamer, &model)?;
        }
        let request = Request::Generate {
            model,
            prompt,
            config,
            stream,
        };
        let response = run_with(&request, |token| {
            if let Some(streamer) = &streamer {
                streamer.finalized(&token.text, false);
            }
            if let Some(on_token) = &mut on_token {
                on_token(token);
            }
        });
        if let Some(streamer) = &streamer {
            streamer.finalized("", true);
        }
        match response? {
            // Nobody here cancels and waits on: it was the user.
            Response::Generated(generated)
                if generated.finish_reason == FinishReason::Cancelled =>
            {
                Err(wire::Failure::interrupted().into())
            }
            Response::Generated(generated) => Ok(Generation { generated }),
            other => Err(unexpected(&other)),
        }
    }
}

impl fmt::Debug for Generate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Generate");
        debug
            .field("model", &self.model.source.repo)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// The text comes from the model's own tokenizer; a streamer of another would be ignored silently.
fn check_streamer(streamer: &TextStreamer, model: &ModelSpec) -> Result<()> {
    // Of one source: nothing has to be asked.
    if streamer.tokenizer().source == model.source {
        return Ok(());
    }
    let own = Tokenizer::load(model.source.clone())?;
    if own.own_fingerprint == streamer.tokenizer().own_fingerprint {
        return Ok(());
    }
    let message = format!(
        "the streamer's tokenizer is not that of `{}`",
        model.source.repo
    );
    Err(Error::new(FailureKind::InvalidArgument, message)
        .with_hint("make it with `TextStreamer::new(&model.tokenizer()?)`"))
}

/// What a model added to a prompt. `Display` is the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Generation {
    generated: Generated,
}

shows_as!(Generation, generated);

impl Generation {
    pub(crate) fn new(generated: Generated) -> Self {
        Self { generated }
    }

    /// The added text, without special tokens.
    pub fn text(&self) -> &str {
        &self.generated.text
    }

    /// The added tokens, the end-of-sequence token included.
    pub fn ids(&self) -> &[u32] {
        &self.generated.ids
    }

    /// The prompt's tokens.
    pub fn prompt_ids(&self) -> &[u32] {
        &self.generated.prompt_ids
    }

    /// The prompt's text, without special tokens.
    pub fn prompt_text(&self) -> &str {
        &self.generated.prompt_text
    }

    /// Why it ended.
    pub fn finish_reason(&self) -> FinishReason {
        self.generated.finish_reason
    }

    /// Tokens a second after the first; `None` when there is only one.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let (tokens, seconds) = (self.generated.ids.len(), self.generated.timing.decode);
        (tokens > 1 && seconds > 0.0).then(|| (tokens - 1) as f64 / seconds)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.generated.text)
    }
}
