//! The pipeline `text-generation`: texts to continue and conversations to answer, with transformers' arguments
//! and defaults (4.57.6).

use serde::{Deserialize, Serialize};

use crate::{
    generate::{Generated, GenerationConfig},
    text::ChatMessage,
};

/// What is continued.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum GenerationInput {
    /// A text. An empty one is begun, where the model has a token to begin with.
    Text(String),
    /// A conversation. The last message is continued where it is the assistant's, and answered where not.
    Chat(Vec<ChatMessage>),
}

/// Arguments of such a pipeline.
#[expect(
    clippy::struct_excessive_bools,
    reason = "transformers' own arguments, each by itself"
)]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TextGenerationOptions {
    /// Give the text with what was continued.
    pub return_full_text: bool,
    /// Take the blanks before punctuation away.
    pub clean_up_tokenization_spaces: bool,
    /// Whether the last message of a conversation is continued; where it is the assistant's when not given.
    pub continue_final_message: Option<bool>,
    /// Cut texts that are longer than the tokenizer says that the model reads.
    pub truncation: bool,
    /// What goes before every text; what the configuration says when not given.
    pub prefix: Option<String>,
    /// Cut the beginning off texts that leave no room for the tokens to add: transformers'
    /// `handle_long_generation="hole"`.
    pub cuts_beginning: bool,
    /// Add the special tokens that the tokenizer puts around a text; of no effect on conversations, whose
    /// template writes them.
    pub add_special_tokens: bool,
    /// Leave special tokens out of the result.
    pub skip_special_tokens: bool,
    /// A text each of whose tokens ends the result.
    pub stop_sequence: Option<String>,
    /// What the call says of generation. What is not set comes from the configuration's
    /// `task_specific_params`, then from the pipeline's own defaults, then from the model's files.
    pub generation: GenerationConfig,
    /// A configuration in the place of the pipeline's defaults and the task's parameters.
    pub generation_config: Option<GenerationConfig>,
}

impl Default for TextGenerationOptions {
    fn default() -> Self {
        Self {
            return_full_text: true,
            clean_up_tokenization_spaces: true,
            continue_final_message: None,
            truncation: false,
            prefix: None,
            cuts_beginning: false,
            add_special_tokens: true,
            skip_special_tokens: true,
            stop_sequence: None,
            generation: GenerationConfig::default(),
            generation_config: None,
        }
    }
}

/// What was written after a text, or in a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GeneratedText {
    /// The text, after what it continues where that was asked for. Of a conversation, what was added.
    pub text: String,
    /// The conversation with what was added, where there is one and it was asked for.
    pub messages: Option<Vec<ChatMessage>>,
    /// The tokens of what was continued, those that were added, and those that fill them up to the longest
    /// of its input's: transformers' `generated_token_ids`.
    pub token_ids: Vec<u32>,
    /// Tokens that were added, the end-of-sequence token included.
    pub tokens: u32,
    /// Tokens of what was continued, prefix and special tokens included.
    pub prompt_tokens: u32,
    /// The sequence behind it, where it was streamed: why it ended, and where the time went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streamed: Option<Box<Generated>>,
}
