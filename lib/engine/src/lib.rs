//! Models on candle: weights and their quantised forms, model families, tokenizers, chat templates
//! and generation, behind one [`Service`] that answers `wire::host::Request`s. It knows no Jupyter
//! and opens no socket: the model host, or a program that links it, does that.

pub mod bitsandbytes;
pub mod cancel;
mod class;
pub mod cuda;
pub mod encoders;
mod failures;
pub mod families;
pub mod generate;
pub mod hub;
mod kernels;
pub mod layers;
mod memory;
mod modules;
mod pipelines;
pub mod placement;
mod report;
mod residency;
mod save;
mod sentences;
pub mod seq2seq;
mod service;
mod stamp;
pub mod template;
pub mod tokenizer;
mod unsafe_memory;
pub mod weights;

pub use cancel::Cancel;
pub use service::Service;
