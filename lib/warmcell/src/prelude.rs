//! Everything a cell needs in scope: `use warmcell::prelude::*;`.

pub use crate::{
    Audio, AutoModelForCausalLM, AutoTokenizer, Bundle, Chat, ChatMessage, DType, DecodeOptions,
    Device, DisplayHandle, EncodeOptions, Generation, Html, Image, Json, Markdown, Messages, Model,
    RichDisplay, StreamedToken, TemplateOptions, TextStreamer, Timings, Tokenizer, Tokens, Vega,
    clear_output, display, display_with_id, input, messages, models, password, pipeline,
    pipeline_with, timeit, unload,
};
