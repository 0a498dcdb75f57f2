//! Generation: what is asked for, what comes while it runs, and what it was in the end.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

pub use crate::generation_config::{AssistantSchedule, EarlyStopping, GenerationConfig};
use crate::{array::Array, logprobs::Logprobs, text::ChatMessage};

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
    /// The limit of time was reached.
    Time,
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

/// A finished sequence: what was added to one prompt.
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
    /// Where the time went: that of all sequences of a request, which are made together.
    pub timing: Timing,
    /// What was asked for beside the text, and how it was come by.
    #[serde(default)]
    pub details: Details,
}

/// What is known of a sequence beside its tokens. Lists have an entry a token that was added.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Details {
    /// Of beam search: the sum of the logarithms of its probabilities over its length to the power of
    /// `length_penalty`, transformers' `sequences_scores`.
    pub score: Option<f32>,
    /// Of beam search: the row of the batch, prompts times beams, that each token continued.
    pub beam_indices: Option<Vec<u32>>,
    /// Logits after all processors `(tokens, vocabulary)`, of beam search logarithms of probabilities;
    /// with `output_scores`.
    pub scores: Option<Array>,
    /// Logits as the model gave them `(tokens, vocabulary)`; with `output_logits`.
    pub logits: Option<Array>,
    /// How likely each token was, and what stood beside it; with `logprobs`.
    pub logprobs: Option<Logprobs>,
    /// Tokens of the prompt that were not read, since an earlier turn had read them.
    pub reused: u32,
    /// Tokens that a draft guessed.
    pub drafted: u32,
    /// Of these, how many were right.
    pub accepted: u32,
}

/// What a model computes of prompts, without continuing them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forward {
    /// The prompts, padded on the left to one length, `(batch, tokens)`.
    pub input_ids: Vec<Vec<u32>>,
    /// 1 for a token, 0 for padding.
    pub attention_mask: Vec<Vec<u32>>,
    /// `(batch, tokens, vocabulary)`. What stands at padding means nothing.
    pub logits: Array,
    /// When asked for: the token vectors, then what each layer gives, the last one normalised, each
    /// `(batch, tokens, hidden)`: transformers' `hidden_states`.
    pub hidden_states: Vec<Array>,
}
