//! `model.generate(prompt)`: the options of transformers' `generate`, a streamer, and the result.

use std::fmt;

use ::display::Pending;
use wire::{
    generate::{
        AssistantSchedule, EarlyStopping, FinishReason, GenerationConfig, Prompt, StreamOptions,
        StreamedToken,
    },
    host::{Request, Response},
    model::ModelSpec,
};

use crate::{
    Generation, IntoPrompt, Model, Result, TextIteratorStreamer, TextStream, TextStreamer,
    backend::unexpected,
    listener::{Listener, check_streamer},
    pending, seed,
};

/// How to continue a prompt. What is not set comes from the [`GenerationConfig`] it was given, then from
/// the model's `generation_config.json`, then from transformers' defaults.
///
/// ```no_run
/// use warmcell::prelude::*;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let model = AutoModelForCausalLM::from_pretrained("x").load()?;
/// // Drawn, repeatably; three at once.
/// let drawn = model.generate("Once upon a time").do_sample(true).top_p(0.9).seed(7)
///     .num_return_sequences(3).max_new_tokens(40).run()?;
/// // A batch, padded on the left: the answers come in the order of the questions.
/// let chats = vec![messages![user: "Name a fruit."], messages![user: "Name a colour."]];
/// let answers = model.generate(&chats).max_new_tokens(20).run()?;
/// // Beams, the best first, each with its score.
/// let beams = model.generate("The capital of France is").num_beams(4).num_return_sequences(4).run()?;
/// for beam in beams.sequences() {
///     println!("{:?} {}", beam.details.score, beam.text);
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is generated before `run()`"]
pub struct Generate {
    model: ModelSpec,
    prompts: Vec<Prompt>,
    /// What the call says.
    config: GenerationConfig,
    /// What the user's own configuration says.
    generation_config: Option<GenerationConfig>,
    assistant: Option<ModelSpec>,
    listener: Listener,
}

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
    pub(crate) fn new(model: ModelSpec, prompts: Vec<Prompt>) -> Self {
        Self {
            model,
            prompts,
            config: GenerationConfig::default(),
            generation_config: None,
            assistant: None,
            listener: Listener::default(),
        }
    }

    options! {
        /// Most tokens to add.
        max_new_tokens: u32;
        /// Most tokens in all, the prompt included; `max_new_tokens` goes before it.
        max_length: u32;
        /// Fewest tokens to add before it may end by itself.
        min_new_tokens: u32;
        /// Fewest tokens in all before it may end by itself; `min_new_tokens` goes before it.
        min_length: u32;
        /// Seconds after which it ends with the token that is under way.
        max_time: f64;
        /// Whether to draw from the distribution (`true`) or to take the likeliest token (`false`).
        /// Without it the model's own `generation_config.json` decides.
        do_sample: bool;
        /// Seed of the random draws: the same seed gives the same text here, and another than torch's.
        seed: u64;
        /// Divides the logits; above 0. Only with `do_sample`.
        temperature: f64;
        /// Keep this many likeliest tokens; 0 keeps all, 50 when not set. Only with `do_sample`.
        top_k: u32;
        /// Keep the likeliest tokens up to this probability mass. Only with `do_sample`.
        top_p: f64;
        /// Keep tokens at least this times as likely as the likeliest. Only with `do_sample`.
        min_p: f64;
        /// Keep the tokens whose surprise is nearest to the expected one, up to this probability mass.
        /// Only with `do_sample`.
        typical_p: f64;
        /// Keep tokens at least this likely. Only with `do_sample`.
        epsilon_cutoff: f64;
        /// The same with a bound that falls where the distribution is flat. Only with `do_sample`.
        eta_cutoff: f64;
        /// Sequences that are followed at once: beam search from 2 on.
        num_beams: u32;
        /// Exponent of the length by which beam search divides a sequence's score: above 0 longer ones win.
        length_penalty: f64;
        /// Sequences to give for each prompt; with `do_sample` or `num_beams`.
        num_return_sequences: u32;
        /// Makes tokens that were seen less likely; 1 is off.
        repetition_penalty: f64;
        /// Makes tokens of the prompt more likely; 1 is off.
        encoder_repetition_penalty: f64;
        /// No run of this many tokens comes twice; 0 is off.
        no_repeat_ngram_size: u32;
        /// No run of this many tokens of the prompt comes again; 0 is off.
        encoder_no_repeat_ngram_size: u32;
        /// Runs of tokens that must not come.
        bad_words_ids: Vec<Vec<u32>>;
        /// Runs of tokens, each with what is added to the logit of its last token once the others are
        /// there.
        sequence_bias: Vec<(Vec<u32>, f64)>;
        /// Token that comes first where the prompt is one token.
        forced_bos_token_id: u32;
        /// Tokens of which one comes last where the length ends it.
        forced_eos_token_id: Vec<u32>;
        /// Replace what is no number, or infinite, before tokens are chosen.
        remove_invalid_values: bool;
        /// Tokens after which ending becomes likelier, and by which factor a token.
        exponential_decay_length_penalty: (u32, f64);
        /// Tokens that never come.
        suppress_tokens: Vec<u32>;
        /// Tokens that do not come first.
        begin_suppress_tokens: Vec<u32>;
        /// Make scores the logarithms of probabilities, which processors leave them not.
        renormalize_logits: bool;
        /// Token that the decoder of a model with an encoder starts with.
        decoder_start_token_id: u32;
        /// Token ids that end it.
        eos_token_id: Vec<u32>;
        /// Token that fills shorter prompts of a batch.
        pad_token_id: u32;
        /// Keep the processed logits of each step: [`Generation::scores`].
        output_scores: bool;
        /// Keep the model's own logits of each step: [`Generation::logits`].
        output_logits: bool;
        /// Keep how likely each token was, and so many of the likeliest beside it, 100 at most:
        /// [`Generation::logprobs`]. Not with beams, which choose sequences. No option of transformers,
        /// whose `compute_transition_scores` gives the same numbers.
        logprobs: u32;
        /// Classifier-free guidance: above 1 the text keeps closer to the prompt, by moving away from what
        /// the model says without it; 1 is off. See [`Self::negative_prompt`].
        guidance_scale: f64;
        /// Whether to start from the keys and values that an earlier turn of the conversation left, which
        /// it does when not told otherwise.
        use_cache: bool;
        /// Prompt lookup decoding: guess this many tokens at once from what followed the same tokens
        /// before. The text is the same; it comes faster where it repeats the prompt.
        prompt_lookup_num_tokens: u32;
        /// Longest run of last tokens that prompt lookup looks for; 2 when not set.
        max_matching_ngram_size: u32;
        /// Most tokens that the assistant guesses at once; 20 when not set.
        num_assistant_tokens: u32;
        /// Whether that number stays or changes with what comes of the guesses; it stays when not told
        /// otherwise.
        num_assistant_tokens_schedule: AssistantSchedule;
        /// The assistant stops after a token that it holds less likely than this; 0.4 when not set.
        assistant_confidence_threshold: f64;
    }

    /// What to move away from with `guidance_scale`: a prompt in the place of the own one, or as many as
    /// there are prompts; transformers' `negative_prompt_ids`. Without it the model reads the prompt's last
    /// token alone.
    ///
    /// ```no_run
    /// # use warmcell::prelude::*;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let model = AutoModelForCausalLM::from_pretrained("x").load()?;
    /// model.generate("Today, a dragon flew over Paris, France,").guidance_scale(1.5)
    ///     .negative_prompt("A very happy event happened,").max_new_tokens(20).run()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn negative_prompt(mut self, prompt: impl IntoPrompt) -> Self {
        self.config.negative_prompts = Some(prompt.into_prompts());
        self
    }

    /// When a beam search ends: `true` once there are as many finished sequences as beams, `false` once no
    /// better one is likely, [`EarlyStopping::Never`] once none is possible.
    pub fn early_stopping(mut self, early: impl Into<EarlyStopping>) -> Self {
        self.config.early_stopping = Some(early.into());
        self
    }

    /// Texts that end it when they are completed.
    pub fn stop_strings<T: Into<String>>(mut self, texts: impl IntoIterator<Item = T>) -> Self {
        self.config.stop_strings = Some(texts.into_iter().map(Into::into).collect());
        self
    }

    /// A configuration of your own. What the call says goes before it; the model's files come after where
    /// transformers 4.50 or later has written them, and of older ones the special tokens alone.
    pub fn generation_config(mut self, config: GenerationConfig) -> Self {
        self.generation_config = Some(config);
        self
    }

    /// Assisted decoding: a smaller model of the same vocabulary guesses tokens, which this one checks many
    /// at once. The text is the same; it comes faster where the guesses are right.
    pub fn assistant_model(mut self, assistant: &Model) -> Self {
        self.assistant = Some(assistant.spec().clone());
        self
    }

    /// Prints the text as it comes.
    pub fn streamer(mut self, streamer: TextStreamer) -> Self {
        self.listener.streamer = Some(streamer);
        self
    }

    /// Calls a function with each new token and the text that became printable with it.
    pub fn on_token(mut self, on_token: impl FnMut(&StreamedToken) + 'static) -> Self {
        self.listener.on_token = Some(Box::new(on_token));
        self
    }

    /// Generates, and gives the text as it comes. The model is loaded first when it is not resident
    /// any more.
    ///
    /// # Errors
    /// The streamer's tokenizer is not the model's, or the model host cannot be reached. What fails
    /// later is an item of the iterator.
    pub fn stream(self, streamer: TextIteratorStreamer) -> Result<TextStream> {
        check_streamer(&streamer.streamer, &self.model.source)?;
        let options = streamer.streamer.options();
        streamer.start(&self.into_request(Some(options)))
    }

    /// What it would do.
    pub(crate) fn pending(&self) -> Pending {
        let prompts = pending::of_prompts(self.prompts.len(), &self.model);
        let pending = pending::run(
            format!("generate from {prompts}"),
            "nothing was generated yet",
        );
        // Plain values: writing them as JSON cannot fail.
        let set = serde_json::to_value(&self.config).unwrap_or_default();
        let own = self.generation_config.as_ref();
        let assistant = self.assistant.as_ref();
        pending
            .with_fields(&set)
            .with("generation_config", own.map(|_| "your own"))
            .with("assistant_model", assistant.map(|spec| &spec.source.repo))
            .with("streamer", self.listener.streamer.as_ref().map(|_| "set"))
    }

    fn into_request(self, stream: Option<StreamOptions>) -> Request {
        // A seed of the user's configuration is one, though nothing of transformers'.
        let own = self.generation_config.as_ref();
        let config = GenerationConfig {
            seed: self.config.seed.or(own.and_then(|own| own.seed)),
            ..self.config
        };
        Request::Generate {
            model: self.model,
            prompts: self.prompts,
            config: seed::fill(config),
            generation_config: self.generation_config,
            stream,
            assistant: self.assistant,
        }
    }

    /// Generates. The model is loaded first when it is not resident any more.
    ///
    /// With a streamer that prints, a front end with widgets shows the text in one, with a button that
    /// stops it: the result then has the text so far, and [`FinishReason::Cancelled`].
    ///
    /// # Errors
    /// An option is invalid, the prompt is another tokenizer's or too long, the cell was
    /// interrupted, or the model host ended.
    pub fn run(mut self) -> Result<Generation> {
        let listener = std::mem::take(&mut self.listener);
        listener.check(&self.model.source)?;
        let request = self.into_request(listener.options());
        let (response, is_stopped) = listener.run(&request, |response| match response {
            Response::Generated(generated) => generated.first().cloned(),
            _ => None,
        });
        if is_stopped {
            // The user has ended it and wants what there is.
            return generation(response?, are_conversations(&request));
        }
        finished(response?, are_conversations(&request))
    }
}

/// Whether all prompts of a request are conversations, of which a model makes answers.
pub(crate) fn are_conversations(request: &Request) -> bool {
    matches!(request, Request::Generate { prompts, .. }
        if prompts.iter().all(|prompt| matches!(prompt, Prompt::Chat(_))))
}

/// The generation of an answer. Nobody here cancels and waits on: a cancelled one was the user's doing.
pub(crate) fn finished(response: Response, are_answers: bool) -> Result<Generation> {
    if let Response::Generated(generated) = &response
        && generated
            .iter()
            .any(|one| one.finish_reason == FinishReason::Cancelled)
    {
        return Err(wire::Failure::interrupted().into());
    }
    generation(response, are_answers)
}

fn generation(response: Response, are_answers: bool) -> Result<Generation> {
    let generated = match response {
        Response::Generated(generated) => generated,
        other => return Err(unexpected(&other)),
    };
    let nothing = || unexpected(&Response::Generated(Vec::new()));
    Generation::new(generated, are_answers).ok_or_else(nothing)
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
