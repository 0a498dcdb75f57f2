//! Everything a cell needs in scope: `use warmcell::prelude::*;`.

pub use crate::{
    AddedToken, Audio, AutoModelForCausalLM, AutoTokenizer, BatchEncoding, BitsAndBytesConfig,
    Bundle, Chat, ChatMessage, DType, DecodeOptions, Device, DisplayHandle, EncodeOptions,
    FourBitType, Generation, Html, Image, Json, Markdown, Messages, Model, Padding, RichDisplay,
    Side, StreamedToken, TemplateOptions, TextIteratorStreamer, TextStreamer, Timings, Tokenizer,
    Tokens, Truncation, Vega, clear_output, compare_generations, compare_generations_with,
    compare_templates, compare_tokenizers, display, display_with_id, input, messages, models,
    password, pipeline, pipeline_with, timeit, tool, unload,
};
