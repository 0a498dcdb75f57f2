//! Generation: what is asked for, what comes while it runs, and what it was in the end.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::text::ChatMessage;

/// What a model continues.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Prompt {
    /// Text, encoded with the tokenizer's special tokens.
    Text(String),
    /// Token ids as they are, with the identity of the vocabulary they belong to, if known.
    Ids {
        /// The tokens.
        ids: Vec<u32>,
        /// Identity of their vocabulary; another model's is refused.
        fingerprint: Option<String>,
    },
    /// A conversation, rendered by the model's own chat template with a generation prompt.
    Chat(Vec<ChatMessage>),
}

/// `GenerationConfig`: what is `None` comes from the model's `generation_config.json`, then from
/// transformers' defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GenerationConfig {
    /// Most tokens to add.
    pub max_new_tokens: Option<u32>,
    /// Most tokens in all; `max_new_tokens` goes before it.
    pub max_length: Option<u32>,
    /// Fewest tokens to add before an end-of-sequence token may come.
    pub min_new_tokens: Option<u32>,
    /// Draw from the distribution instead of taking the likeliest token.
    pub do_sample: Option<bool>,
    /// Divides the logits; above 0.
    pub temperature: Option<f64>,
    /// Keep this many likeliest tokens; 0 keeps all.
    pub top_k: Option<u32>,
    /// Keep the likeliest tokens up to this probability mass, in (0, 1].
    pub top_p: Option<f64>,
    /// Keep tokens at least this times as likely as the likeliest, in [0, 1].
    pub min_p: Option<f64>,
    /// Divides (or multiplies) the logits of tokens that were seen; 1 is off.
    pub repetition_penalty: Option<f64>,
    /// Token ids that end the generation.
    pub eos_token_id: Option<Vec<u32>>,
    /// Texts that end the generation when they are completed.
    pub stop_strings: Option<Vec<String>>,
    /// Seed of the random draws. Not torch's stream.
    pub seed: Option<u64>,
}

/// How streamed text is cut and decoded: transformers' `TextStreamer`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamOptions {
    /// Leave the prompt out.
    pub skip_prompt: bool,
    /// Leave special tokens out.
    pub skip_special_tokens: bool,
    /// Take the blanks before punctuation away; as the tokenizer's configuration says when not given.
    pub clean_up_tokenization_spaces: Option<bool>,
}

/// A token as it comes, with the text that became printable with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamedToken {
    /// The token; `None` for the prompt's text, and for text that came free at the end.
    pub id: Option<u32>,
    /// Text to print now; may be empty.
    pub text: String,
    /// When the engine had it, in microseconds since the Unix epoch.
    pub produced_at: u64,
}

impl StreamedToken {
    /// A token that was produced just now.
    pub fn now(id: Option<u32>, text: String) -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            id,
            text,
            produced_at: since_epoch.as_micros() as u64,
        }
    }
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FinishReason {
    /// An end-of-sequence token came.
    EndOfSequence,
    /// A stop string was completed.
    StopString,
    /// The limit of tokens was reached.
    Length,
    /// The request was cancelled.
    Cancelled,
}

/// Where the time went, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// From the request to the first token.
    pub first_token: f64,
    /// Reading the prompt.
    pub prefill: f64,
    /// Producing the tokens after the first.
    pub decode: f64,
}

/// A finished generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generated {
    /// Tokens of the prompt.
    pub prompt_ids: Vec<u32>,
    /// Tokens that were added, the end-of-sequence token included.
    pub ids: Vec<u32>,
    /// The added text, without special tokens.
    pub text: String,
    /// The prompt's text, without special tokens.
    pub prompt_text: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Where the time went.
    pub timing: Timing,
}
