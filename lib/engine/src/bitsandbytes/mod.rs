//! Weights as bitsandbytes 0.50 quantises them: 4 bits (`nf4`, `fp4`, double quantisation) and
//! `LLM.int8()`, to the bit what its CPU backend makes of the same values, and the checkpoints that
//! transformers 4.57 writes of them. Products are `kernels`' matter.

mod codes;
mod eight_bit;
mod four_bit;
mod mean;
mod modules;
mod save;
mod source;
mod stored;

pub use codes::{code_book, dynamic_map};
pub use eight_bit::quantize_8bit;
pub use four_bit::{Absmax, Quantized4, quantize_4bit};
pub use mean::mean;
pub(crate) use modules::tensor_bytes;
pub use modules::{Plan, footprint, memory, parameters};
pub use save::save;
pub use source::Source;

#[cfg(feature = "cuda")]
pub(crate) use codes::bounds;
pub(crate) use eight_bit::{EightBit, EightBitParts, unpack_8bit};
pub(crate) use four_bit::{FourBit, FourBitParts};
pub(crate) use source::{brain_bits, round};
pub(crate) use stored::{Module, load_4bit, load_8bit, read_config, shape_4bit};
