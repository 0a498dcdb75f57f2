//! What runs on the processor inside tensor operations: products with packed matrices, attention over
//! a cache, gated activations. Activations are f32 throughout: rounding them to 8 bits, as ggml and
//! candle's `QMatMul` do, changes what a small quantised model answers.
//!
//! The primitives exist twice, portable and for AVX2 with FMA, and some for AVX-512; which set runs is
//! found out once, at run time, so that one binary is right everywhere and fast where it can be.

#[cfg(target_arch = "x86_64")]
#[macro_use]
mod unsafe_tile;

mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2_blocks;
mod gated;
mod matrix;
mod nibbles;
mod pack;
mod portable;
mod ragged;
mod rows;
#[cfg(target_arch = "x86_64")]
mod unsafe_avx2;
#[cfg(target_arch = "x86_64")]
mod unsafe_avx2_floats;
#[cfg(target_arch = "x86_64")]
mod unsafe_avx2_nibbles;
#[cfg(target_arch = "x86_64")]
mod unsafe_avx2_pack;
#[cfg(target_arch = "x86_64")]
mod unsafe_avx512_blocks;
#[cfg(target_arch = "x86_64")]
mod unsafe_avx512_floats;
#[cfg(target_arch = "x86_64")]
mod unsafe_avx512_nibbles;

use std::sync::LazyLock;

pub use attention::CausalAttention;
pub use gated::{Activate, Activation, Gate};
pub use matrix::Matrix;
pub(crate) use nibbles::{Book, Nibbles};
pub(crate) use pack::{BLOCK, Bounds, LEAST};
pub use ragged::RaggedAttention;
pub(crate) use rows::multiply;

use crate::weights::Format;

/// Rows of weights and of activations that [`Primitives::tile`] multiplies at once: as many as fit
/// the sixteen registers of AVX2.
pub(crate) const TILE: (usize, usize) = (2, 4);

/// The form of [`Primitives::tile`].
pub(crate) type Tile = fn([&[f32]; TILE.0], [&[f32]; TILE.1]) -> [[f32; TILE.1]; TILE.0];

/// The inner loops, in the form that suits this processor.
#[derive(Clone, Copy)]
pub(crate) struct Primitives {
    /// Unpacks whole blocks to f32, value for value as [`Format::unpack`].
    pub unpack: fn(Format, &[u8], &mut [f32]),
    /// Product of a packed row with a vector; the last argument is scratch of the vector's length.
    pub packed_dot: fn(Format, &[u8], &[f32], &mut [f32]) -> f32,
    /// Unpacks 4-bit codes in blocks of 64 with a scale each, value for value as [`Book::unpack`].
    pub nibbles_unpack: fn(&Book, &[u8], &[f32], &mut [f32]),
    /// Product of such codes with a vector.
    pub nibbles_dot: fn(&Book, &[u8], &[f32], &[f32]) -> f32,
    /// Quantises a block of 64 values to such codes, and gives its scale.
    pub pack_block: fn(&[f32; BLOCK], &Bounds, &mut [u8]) -> f32,
    /// Product of signed bytes.
    pub bytes_dot: fn(&[i8], &[i8]) -> i32,
    /// Products of two rows with four: `out[i][j] = rows[i] · inputs[j]`.
    pub tile: Tile,
    /// Products of a vector with each of `rows`, which lie one after the other.
    pub dots: fn(&[f32], &[f32], &mut [f32]),
    /// Adds `weights[i] * rows[i]` to the last argument, for rows that lie one after the other.
    pub weighted_sum: fn(&[f32], &[f32], &mut [f32]),
}

static PRIMITIVES: LazyLock<Primitives> = LazyLock::new(|| {
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = unsafe_avx2::detect() {
        // Some loops are there for wider registers too.
        return Primitives {
            packed_dot: unsafe_avx512_blocks::detect().unwrap_or(avx2.packed_dot),
            nibbles_dot: unsafe_avx512_nibbles::detect().unwrap_or(avx2.nibbles_dot),
            tile: unsafe_avx512_floats::detect().unwrap_or(avx2.tile),
            ..avx2
        };
    }
    portable::PRIMITIVES
});

/// The primitives for this processor.
pub(crate) fn primitives() -> &'static Primitives {
    &PRIMITIVES
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails says where")]
mod tests;
