//! The parts that model families are put together from. A part knows its tensors and shapes; which
//! parts follow each other, and what their weights are called in a file, is the family's matter.

mod attention;
mod composed;
mod cross_attention;
mod dense;
mod embedding;
mod experts;
mod feed_forward;
mod joined;
mod kv_cache;
mod linear;
mod memory;
mod norm;
mod ragged;
mod relative;
mod rope_scaling;
mod rotary;

#[cfg(feature = "cuda")]
pub(crate) use attention::MOST_APART;
pub use attention::{Attention, AttentionShape, Projections, Step};
pub(crate) use composed::{
    Angles, BlocksOnDevice, Candidates, FourBitOnDevice, Int8OnDevice, MOST_CANDIDATES, Meeting,
    Places, Plain, Rows as PaddedRows, candidates, serves, serves_on,
};
#[cfg(feature = "cuda")]
pub(crate) use composed::{FourBitForm, Scales, Scaling, Sight};
#[cfg(test)]
pub(crate) use composed::{ROWS, composed};
pub use cross_attention::CrossAttention;
pub(crate) use dense::Dense;
pub use embedding::Embedding;
pub use experts::Experts;
pub use feed_forward::{FeedForward, GateAndUp, GatedMlp, PlainMlp};
pub use joined::{Size, join, split};
#[cfg(feature = "cuda")]
pub(crate) use kv_cache::Room;
pub(crate) use kv_cache::View;
pub use kv_cache::{KvCache, LayerCache};
pub use linear::Linear;
#[cfg(feature = "cuda")]
pub(crate) use linear::Packed;
pub(crate) use linear::{Weight, activate};
pub use memory::Memory;
pub use norm::{LayerNorm, Norm, Normed, RmsNorm, sum};
pub(crate) use ragged::RaggedHeads;
pub use relative::{RelativeAttention, RelativeBias};
pub use rope_scaling::{DynamicScaling, Llama3Scaling, LongRopeScaling, RopeScaling, YarnScaling};
pub use rotary::{Positions, RopeConfig, Rotary, RotaryLayout, Span};

pub use crate::kernels::Activation;
