//! Pipelines that write one text about another: summaries, translations, and whatever else an
//! encoder-decoder was trained for, with transformers' names, arguments and defaults (4.57.6).

use serde::{Deserialize, Serialize};

use crate::generate::{Generated, GenerationConfig};

/// Tasks that a pipeline runs by an encoder-decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Text2TextTask {
    /// `summarization`.
    Summarization,
    /// `translation`, and `translation_xx_to_yy`.
    Translation,
    /// `text2text-generation`.
    Text2TextGeneration,
}

impl Text2TextTask {
    /// All of them.
    pub const ALL: [Self; 3] = [
        Self::Summarization,
        Self::Translation,
        Self::Text2TextGeneration,
    ];

    /// transformers' name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Summarization => "summarization",
            Self::Translation => "translation",
            Self::Text2TextGeneration => "text2text-generation",
        }
    }

    /// The beginning of the keys of transformers' dictionaries: `summary_text`.
    pub fn key(self) -> &'static str {
        match self {
            Self::Summarization => "summary",
            Self::Translation => "translation",
            Self::Text2TextGeneration => "generated",
        }
    }

    /// The model and the revision that transformers 4.57.6 takes when none is given: `SUPPORTED_TASKS` of
    /// its `pipelines/__init__.py`. It has one for translations of [`DEFAULT_PAIRS`] only.
    pub fn default_model(self) -> (&'static str, &'static str) {
        match self {
            Self::Summarization => ("sshleifer/distilbart-cnn-12-6", "a4f8f3e"),
            Self::Translation | Self::Text2TextGeneration => ("google-t5/t5-base", "a9723ea"),
        }
    }
}

/// Languages between which there is a default model.
pub const DEFAULT_PAIRS: [(&str, &str); 3] = [("en", "fr"), ("en", "de"), ("en", "ro")];

/// Arguments of such a pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Text2TextOptions {
    /// What to write.
    pub task: Text2TextTask,
    /// The languages in the name `translation_xx_to_yy`.
    pub pair: Option<(String, String)>,
    /// The language of the input, for models of many; goes before `pair`.
    pub src_lang: Option<String>,
    /// The language to write in.
    pub tgt_lang: Option<String>,
    /// Cut texts that are longer than the tokenizer says that the model reads.
    pub truncation: bool,
    /// Take the blanks before punctuation away.
    pub clean_up_tokenization_spaces: bool,
    /// A text whose first token ends the result.
    pub stop_sequence: Option<String>,
    /// What the call says of generation. What is not set comes from the configuration's `task_specific_params`, then from
    /// the pipeline's own defaults, then from the model's files.
    pub generation: GenerationConfig,
    /// A configuration in the place of the pipeline's defaults and the task's parameters.
    pub generation_config: Option<GenerationConfig>,
}

impl Default for Text2TextOptions {
    fn default() -> Self {
        Self {
            task: Text2TextTask::Text2TextGeneration,
            pair: None,
            src_lang: None,
            tgt_lang: None,
            truncation: false,
            clean_up_tokenization_spaces: false,
            stop_sequence: None,
            generation: GenerationConfig::default(),
            generation_config: None,
        }
    }
}

/// A text that was written about another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WrittenText {
    /// The text, without special tokens.
    pub text: String,
    /// Its tokens, with the one that the decoder started with and those that fill it up to the longest
    /// of its input's: transformers' `…_token_ids`.
    pub token_ids: Vec<u32>,
    /// Tokens that were written, the end-of-sequence token included.
    pub tokens: u32,
    /// Tokens of the input, prefix and special tokens included.
    pub source_tokens: u32,
    /// The sequence behind it, where it was streamed: why it ended, and where the time went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streamed: Option<Box<Generated>>,
}
