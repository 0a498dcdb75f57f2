//! Everything a cell needs in scope: `use warmcell::prelude::*;`.

pub use crate::{
    AddedToken, Aggregation, Array, AssistantSchedule, Audio, AutoModelForCausalLM,
    AutoModelForSeq2SeqLM, AutoTokenizer, BatchEncoding, BitsAndBytesConfig, Bundle, Chat,
    ChatMessage, DType, DecodeOptions, Device, DisplayHandle, EarlyStopping, EncodeOptions,
    FourBitType, Generation, GenerationConfig, Html, Image, Json, Markdown, Messages, Model,
    Padding, PipelineInput, RichDisplay, ScoreFunction, Side, StreamedToken, TemplateOptions,
    TextIteratorStreamer, TextStreamer, Timings, Tokenizer, Tokens, Truncation, Vega, clear_output,
    compare_generations, compare_generations_with, compare_templates, compare_tokenizers, display,
    display_with_id, input, json, manual_seed, messages, models, password, pipeline, pipeline_with,
    serde_json, timeit, tool, unload, widgets, widgets::interact,
};
