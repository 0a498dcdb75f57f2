//! The parts that model families are put together from. A part knows its tensors and shapes; which
//! parts follow each other, and what their weights are called in a file, is the family's matter.

mod attention;
mod embedding;
mod kv_cache;
mod linear;
mod mlp;
mod norm;
mod rotary;

pub use attention::{Attention, AttentionShape};
pub use embedding::Embedding;
pub use kv_cache::{KvCache, LayerCache};
pub use linear::Linear;
pub use mlp::GatedMlp;
pub use norm::RmsNorm;
pub use rotary::{Llama3Scaling, Positions, RopeConfig, RopeScaling, Rotary, RotaryLayout};
