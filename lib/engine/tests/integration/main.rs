//! The engine against transformers 4.57.6 (fixtures by `fixtures/make_fixtures.py`), and its service
//! as the model host drives it.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod bitsandbytes;
mod chat_calls;
mod checkpoints;
mod configurations;
mod damaged;
mod device_map;
mod embedded;
mod encoders;
mod families;
mod fuzz;
mod generation;
mod generation_files;
mod ggml;
mod guidance;
mod hostile;
mod hub;
mod jinja;
mod local_files;
mod logprobs;
mod memory;
mod modules;
mod pickles;
mod pipelines;
mod quantization_report;
mod quantized_pipelines;
mod reader_configurations;
mod real_tokenizers;
mod saving;
mod sentence_transformers;
mod sentences;
mod seq2seq;
mod service;
mod support;
mod template_limits;
mod templates;
mod text2text;
mod text_generation;
mod tokenizer_defaults;
mod tokenizer_files;
mod tokenizer_kinds;
mod tokenizers;
mod unsafe_allocations;
