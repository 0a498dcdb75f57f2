//! Generation: an iterator of tokens at the core ([`Tokens`]), and [`run`], which drives it, streams
//! its text and says what it was. Beams and batches are not here yet.

mod processors;
mod sampling;
mod settings;
mod tokens;

use std::time::Instant;

pub use settings::{Defaults, Settings};
pub use tokens::Tokens;
use wire::{
    Failure,
    generate::{
        FinishReason, Generated, GenerationConfig, Prompt, StreamOptions, StreamedToken, Timing,
    },
    host::Event,
    text::TemplateOptions,
};

use crate::{
    Cancel, failures,
    families::CausalLm,
    tokenizer::{TextStreamer, Tokenizer},
};

/// A model with what generation needs beside it.
#[derive(Clone, Copy)]
pub struct Generator<'a> {
    /// The weights.
    pub model: &'a dyn CausalLm,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// What its `generation_config.json` says.
    pub defaults: &'a Defaults,
}

/// What a request asks of generation.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    /// What to continue.
    pub prompt: &'a Prompt,
    /// How.
    pub config: &'a GenerationConfig,
    /// Send the text as it comes, cut by these rules.
    pub stream: Option<StreamOptions>,
}

/// Continues a prompt to its end. A cancelled generation succeeds with what it had.
pub fn run(
    generator: Generator,
    task: Task,
    cancel: &Cancel,
    sink: &mut dyn FnMut(Event),
) -> Result<Generated, Failure> {
    let Generator {
        model,
        tokenizer,
        defaults,
    } = generator;
    let started = Instant::now();
    let prompt_ids = prompt_ids(tokenizer, task.prompt)?;
    if is_bare(tokenizer, task.prompt, &prompt_ids) {
        sink(Event::Notice(BARE_PROMPT.to_owned()));
    }
    let settings = Settings::resolve(task.config, defaults, prompt_ids.len(), model.sizes())?;
    let mut streamer = task
        .stream
        .map(|options| TextStreamer::new(tokenizer, options));
    if let Some(streamer) = &mut streamer {
        let text = streamer.prompt(&prompt_ids)?;
        if !text.is_empty() {
            sink(Event::Token(StreamedToken::now(None, text)));
        }
    }
    let mut tokens = Tokens::new(generator, prompt_ids.clone(), settings, cancel)?;
    let (mut first_token, mut prefill) = (0.0, 0.0);
    while let Some(token) = tokens.next() {
        let id = token?;
        if tokens.added().len() == 1 {
            prefill = tokens.prefill_seconds();
            first_token = started.elapsed().as_secs_f64();
        }
        if let Some(streamer) = &mut streamer {
            let text = streamer.put(&[id])?;
            sink(Event::Token(StreamedToken::now(Some(id), text)));
        }
    }
    if let Some(streamer) = &mut streamer {
        let text = streamer.end()?;
        if !text.is_empty() {
            sink(Event::Token(StreamedToken::now(None, text)));
        }
    }
    let ids = tokens.added().to_vec();
    let decode = if ids.is_empty() {
        0.0
    } else {
        started.elapsed().as_secs_f64() - first_token
    };
    Ok(Generated {
        text: tokenizer.decode(&ids, true)?,
        prompt_text: tokenizer.decode(&prompt_ids, true)?,
        prompt_ids,
        ids,
        finish_reason: tokens.finish_reason().unwrap_or(FinishReason::Length),
        timing: Timing {
            first_token,
            prefill,
            decode,
        },
    })
}

/// What a plain text to a chat model is told.
const BARE_PROMPT: &str = "this model was trained on conversations and continues a plain text rather than \
    answering it; for an answer, generate from `&messages![user: \"…\"]`, which its chat template writes out";

/// Whether a prompt is a text without any of the template's marks, for a model that has a template.
fn is_bare(tokenizer: &Tokenizer, prompt: &Prompt, ids: &[u32]) -> bool {
    let info = tokenizer.info();
    let begins = |id: &u32| info.special_token_ids.get("bos_token") == Some(id);
    let is_special = |id: &u32| info.all_special_ids.contains(id);
    matches!(prompt, Prompt::Text(_))
        && info.has_chat_template
        && !ids.iter().skip_while(|id| begins(id)).any(is_special)
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
