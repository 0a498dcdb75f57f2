//! Generation: an iterator of tokens at the core ([`Tokens`]), batches and beams beside it, and [`run`],
//! which chooses among them, streams the text and says what it was.

mod batch;
mod beams;
mod deciding;
mod defaults;
mod drafts;
mod forward;
mod guidance;
mod logprobs;
mod output;
mod prefixes;
pub mod processors;
mod reading;
mod sampling;
mod seq2seq;
mod settings;
mod steps;
mod stopping;
mod tokens;
mod unheeded;
mod validate;

use std::time::Instant;

use batch::Batch;
pub use defaults::Defaults;
use output::{Outcome, Sequence};
pub use prefixes::PrefixCaches;
pub use settings::Settings;
use settings::Situation;
pub use steps::{Reclaim, Seat, Steps};
pub use stopping::StopStrings;
pub use tokens::Tokens;
use wire::{
    Failure, FailureKind,
    generate::{
        FinishReason, Forward, Generated, GenerationConfig, Prompt, StreamOptions, StreamedToken,
    },
    host::Event,
    model::Device,
    text::TemplateOptions,
};

use crate::{
    Cancel, failures,
    families::CausalLm,
    layers::{KvCache, Memory},
    memory,
    tokenizer::{TextStreamer, Tokenizer},
};

/// A model with what generation needs beside it.
#[derive(Clone, Copy)]
pub struct Generator<'a> {
    /// Its place among the requests on the model.
    pub seat: &'a Seat<'a>,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// What its files say of generation.
    pub defaults: &'a Defaults,
    /// What earlier turns left.
    pub prefixes: &'a PrefixCaches,
    /// What is written about, by a model with an encoder, once that has read it.
    pub about: Option<About<'a>>,
}

/// Source texts.
#[derive(Clone, Copy)]
pub struct About<'a> {
    /// Their tokens.
    sources: &'a [Vec<u32>],
    /// What the encoder made of them.
    memory: &'a Memory,
}

impl<'a> Generator<'a> {
    /// The weights.
    pub fn model(self) -> &'a dyn CausalLm {
        self.seat.model()
    }

    /// An empty cache for sequences that begin with so much padding each.
    fn new_cache(self, padding: &[usize]) -> Result<KvCache, Failure> {
        let cache = self.model().new_batch_cache(padding);
        match self.about {
            Some(about) => cache
                .about(about.memory.clone())
                .map_err(failures::internal),
            None => Ok(cache),
        }
    }

    /// What processors take for the prompts of a batch: those that the encoder read, where there is one.
    fn prompts<'b>(self, batch: &'b Batch) -> Vec<&'b [u32]>
    where
        'a: 'b,
    {
        let rows = self.about.map_or(&batch.rows[..], |about| about.sources);
        rows.iter().map(Vec::as_slice).collect()
    }

    /// The tokens that the encoder read for a sequence, where there is an encoder.
    fn source(self, prompt: usize) -> Option<&'a [u32]> {
        let sources = self.about?.sources;
        sources.get(prompt).map(Vec::as_slice)
    }
}

/// What a request asks of generation.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    /// What to continue.
    pub prompts: &'a [Prompt],
    /// What the call says.
    pub config: &'a GenerationConfig,
    /// A user's own configuration, between the call and the model's files.
    pub generation_config: Option<&'a GenerationConfig>,
    /// Send the text as it comes, cut by these rules.
    pub stream: Option<StreamOptions>,
    /// A smaller model that guesses.
    pub assistant: Option<Generator<'a>>,
}

/// Continues prompts to their ends, or with a model that has an encoder writes about them:
/// `num_return_sequences` for each, in order. A cancelled generation succeeds with what it had.
pub fn run(
    generator: Generator,
    task: Task,
    cancel: &Cancel,
    sink: &mut dyn FnMut(Event),
) -> Result<Vec<Generated>, Failure> {
    let started = Instant::now();
    let defaults = generator.defaults.under(task.generation_config);
    let generator = Generator {
        defaults: &defaults,
        ..generator
    };
    let prompts = read_prompts(generator, task.prompts)?;
    let negative = negative_prompts(generator, task.config)?;
    if let Some(reader) = generator.model().source_reader() {
        let written = seq2seq::run(
            (generator, reader),
            task,
            (&prompts, negative.as_deref()),
            (cancel, started),
            sink,
        )?;
        return written.into_generated(
            &prompts,
            generator.tokenizer,
            started.elapsed().as_secs_f64(),
        );
    }
    for (prompt, ids) in task.prompts.iter().zip(&prompts) {
        let is_text = matches!(prompt, Prompt::Text(_));
        if let Some(notice) = bare_prompt(generator.tokenizer, ids).filter(|_| is_text) {
            sink(Event::Notice(notice.to_owned()));
            break;
        }
    }
    let situation = Situation {
        prompt_length: prompts.iter().map(Vec::len).max().unwrap_or(0),
        prompts: prompts.len(),
        sizes: generator.model().sizes(),
        has_assistant: task.assistant.is_some(),
        streams: task.stream.is_some(),
        negative: negative.as_deref(),
    };
    let (settings, notices) =
        Settings::resolve(task.config, &generator.defaults.config, situation)?;
    for notice in notices {
        sink(Event::Notice(notice));
    }
    let outcome = sequences(
        (generator, task),
        &prompts,
        &settings,
        (cancel, started),
        sink,
    )?;
    outcome.into_generated(
        &prompts,
        generator.tokenizer,
        started.elapsed().as_secs_f64(),
    )
}

/// The sequences of prompts, by the way that settings choose.
fn sequences(
    (generator, task): (Generator, Task),
    prompts: &[Vec<u32>],
    settings: &Settings,
    clock: (&Cancel, Instant),
    sink: &mut dyn FnMut(Event),
) -> Result<Outcome, Failure> {
    let vocabulary = generator.model().sizes().vocab_size;
    check_room((prompts.len(), vocabulary), settings)?;
    match settings.beams {
        Some(beams) => {
            let batch = padded(generator, prompts, task.config, sink);
            beams::run(generator, &batch, (settings, beams), clock)
        }
        None if prompts.len() * settings.num_return_sequences > 1 => {
            let batch = padded(generator, prompts, task.config, sink);
            batch::run(generator, &batch, settings, clock)
        }
        None => single(generator, &task, (&prompts[0], settings), clock, sink),
    }
}

/// Fails where main memory has no room for as many sequences at once as are asked for: their tokens, and what a step
/// makes of them. Keys and values look for theirs as they grow.
fn check_room((prompts, vocabulary): (usize, usize), settings: &Settings) -> Result<(), Failure> {
    let (name, count) = match settings.beams {
        Some(beams) => ("num_beams", beams.count),
        None => ("num_return_sequences", settings.num_return_sequences),
    };
    if count == 1 {
        return Ok(());
    }
    // Tokens twice, scores three times, and what is kept of a sequence beside them.
    let bytes = 2 * 4 * settings.prompt_length + 3 * 4 * vocabulary + 512;
    let wanted = (prompts as u64)
        .saturating_mul(count as u64)
        .saturating_mul(bytes as u64);
    let what = || format!("`{name}` of {count} (prompts: {prompts})");
    memory::check(Device::Cpu, wanted, what).map_err(|shortage| {
        Failure::new(FailureKind::OutOfMemory, shortage.to_string())
            .hint(format!("ask for fewer `{name}`"))
    })
}

/// What a model computes of prompts, without continuing them.
pub fn forward(
    generator: Generator,
    prompts: &[Prompt],
    output_hidden_states: bool,
    cancel: &Cancel,
    sink: &mut dyn FnMut(Event),
) -> Result<Forward, Failure> {
    if generator.model().source_reader().is_some() {
        return Err(failures::unsupported(
            "`forward` looks into a decoder alone, and this model has an encoder before it",
        )
        .hint("`generate` with `output_logits` or `output_scores` gives each step's numbers"));
    }
    let prompts = read_prompts(generator, prompts)?;
    let config = GenerationConfig::default();
    let batch = padded(generator, &prompts, &config, sink);
    forward::run(generator.model(), batch, output_hidden_states, cancel)
}

/// One sequence, token by token.
fn single(
    generator: Generator,
    task: &Task,
    (prompt, settings): (&[u32], &Settings),
    clock: (&Cancel, Instant),
    sink: &mut dyn FnMut(Event),
) -> Result<Outcome, Failure> {
    let mut streamer = task
        .stream
        .map(|options| TextStreamer::new(generator.tokenizer, options));
    if let Some(streamer) = &mut streamer {
        send(None, streamer.prompt(prompt)?, sink);
    }
    let mut tokens = Tokens::new(generator, task.assistant, prompt.to_vec(), settings, clock)?;
    let mut outcome = Outcome::default();
    while let Some(token) = tokens.next() {
        let id = token?;
        if tokens.added().len() == 1 {
            outcome.prefill = tokens.prefill_seconds();
            outcome.first_token = clock.1.elapsed().as_secs_f64();
        }
        if let Some(streamer) = &mut streamer {
            let text = streamer.put(&[id])?;
            sink(Event::Token(StreamedToken::now(Some(id), text)));
        }
    }
    if let Some(streamer) = &mut streamer {
        send(None, streamer.end()?, sink);
    }
    outcome.sequences.push(Sequence {
        prompt: 0,
        ids: tokens.added().to_vec(),
        finish_reason: tokens.finish_reason().unwrap_or(FinishReason::Length),
        details: tokens.take_details(),
    });
    Ok(outcome)
}

fn send(id: Option<u32>, text: String, sink: &mut dyn FnMut(Event)) {
    if !text.is_empty() {
        sink(Event::Token(StreamedToken::now(id, text)));
    }
}

/// Prompts of one length. The token that fills the shorter ones is not looked at by the model.
fn padded(
    generator: Generator,
    prompts: &[Vec<u32>],
    config: &GenerationConfig,
    sink: &mut dyn FnMut(Event),
) -> Batch {
    let info = generator.tokenizer.info();
    let known = config
        .pad_token_id
        .or(generator.defaults.config.pad_token_id)
        .or_else(|| info.special_token_ids.get("pad_token").copied());
    let ends = config.eos_token_id.as_ref();
    let end = ends
        .or(generator.defaults.config.eos_token_id.as_ref())
        .and_then(|ids| ids.first().copied());
    let is_uneven = prompts.iter().any(|ids| ids.len() != prompts[0].len());
    let pad = match (known, end) {
        (Some(pad), _) => pad,
        (None, Some(end)) => {
            if is_uneven {
                sink(Event::Notice(format!(
                    "Setting `pad_token_id` to `eos_token_id`:{end} for open-end generation."
                )));
            }
            end
        }
        (None, None) => 0,
    };
    // A tokenizer may have a token that the model has no row for.
    let pad = if (pad as usize) < generator.model().sizes().vocab_size {
        pad
    } else {
        0
    };
    Batch::new(prompts, pad)
}

/// The tokens of prompts. Fails on an id that the model does not know, and when there is none.
fn read_prompts(generator: Generator, prompts: &[Prompt]) -> Result<Vec<Vec<u32>>, Failure> {
    if prompts.is_empty() {
        return Err(failures::invalid("there is no prompt to continue").hint("give at least one"));
    }
    let model = generator.model();
    let vocab_size = match model.source_reader() {
        Some(reader) => reader.vocab_size(),
        None => model.sizes().vocab_size,
    };
    let read = prompts.iter().map(|prompt| {
        let ids = prompt_ids(generator.tokenizer, prompt)?;
        match ids.iter().find(|&&id| id as usize >= vocab_size) {
            None => Ok(ids),
            Some(id) => Err(failures::invalid(format!(
                "the prompt has token {id}, the model knows {vocab_size}"
            ))
            .hint("encode the prompt with the model's own tokenizer")),
        }
    });
    let read: Vec<Vec<u32>> = read.collect::<Result<_, _>>()?;
    if read.iter().any(Vec::is_empty) {
        return Err(failures::invalid("the prompt has no tokens")
            .hint("a model continues at least one token; give it some text"));
    }
    Ok(read)
}

/// The tokens that guidance reads in the prompts' place.
fn negative_prompts(
    generator: Generator,
    request: &GenerationConfig,
) -> Result<Option<Vec<Vec<u32>>>, Failure> {
    let prompts = request.negative_prompts.as_ref();
    match prompts.or(generator.defaults.config.negative_prompts.as_ref()) {
        Some(prompts) if !prompts.is_empty() => read_prompts(generator, prompts).map(Some),
        _ => Ok(None),
    }
}

/// What a plain text to a chat model is told.
const BARE_PROMPT: &str = "this model was trained on conversations and continues a plain text rather than \
    answering it; for an answer, generate from `&messages![user: \"…\"]`, which its chat template writes out";

/// What is told of the tokens of a text that has none of the template's marks, for a model that has a
/// template.
pub fn bare_prompt(tokenizer: &Tokenizer, ids: &[u32]) -> Option<&'static str> {
    let info = tokenizer.info();
    let begins = |id: &u32| info.special_token_ids.get("bos_token") == Some(id);
    let is_special = |id: &u32| info.all_special_ids.contains(id);
    let is_bare = info.has_chat_template && !ids.iter().skip_while(|id| begins(id)).any(is_special);
    is_bare.then_some(BARE_PROMPT)
}

fn prompt_ids(tokenizer: &Tokenizer, prompt: &Prompt) -> Result<Vec<u32>, Failure> {
    let encoding = match prompt {
        Prompt::Text(text) => tokenizer.encode(text, true)?,
        Prompt::Chat(messages) => {
            let options = TemplateOptions {
                add_generation_prompt: true,
                ..Default::default()
            };
            tokenizer.apply_chat_template(messages, &options)?.encoding
        }
        Prompt::Ids { ids, fingerprint } => {
            if fingerprint
                .as_deref()
                .is_some_and(|theirs| theirs != tokenizer.fingerprint())
            {
                return Err(failures::invalid(format!(
                    "the prompt's tokens were made by another tokenizer than that of `{}`: an id is a \
                     place in a vocabulary, and the model has learned what its own ids mean",
                    tokenizer.info().name
                ))
                .hint("encode the prompt with the tokenizer of the model that continues it"));
            }
            return Ok(ids.clone());
        }
    };
    Ok(encoding.tokens.iter().map(|token| token.id).collect())
}
