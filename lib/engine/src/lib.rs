//! Models on candle: weights and their quantised forms, model families, tokenizers, chat templates
//! and generation. It knows no Jupyter and opens no socket: the model host, or a program that links
//! it, does that.

pub mod cancel;
pub mod hub;

pub use cancel::Cancel;
