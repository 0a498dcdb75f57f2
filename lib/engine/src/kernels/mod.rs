//! What runs on the processor inside tensor operations: products with packed matrices, attention over
//! a cache, gated activations. Activations are f32 unless they are asked for otherwise: rounding them to 8 bits,
//! as ggml and candle's `QMatMul` do, changes what a small quantised model answers.
//!
//! The primitives exist several times: portable, for AVX2 with FMA, some of them for AVX-512 and AMX, and for
//! NEON. Which set runs is found out once, at run time, so that one binary is right
//! everywhere and fast where it can be.

mod attention;
mod attention_blocks;
mod attention_rows;
mod attention_squares;
#[cfg(target_arch = "x86_64")]
mod avx2_blocks;
mod brain;
mod bytes;
mod exponential;
mod finish;
mod gated;
mod given;
mod heads;
mod jobs;
mod matrix;
mod nibbles;
mod norm;
mod pack;
mod panels;
mod portable;
mod ragged;
mod rounded;
mod rows;
mod squares;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod unsafe_amx;
#[cfg(target_arch = "x86_64")]
mod unsafe_avx2;
#[cfg(target_arch = "x86_64")]
mod unsafe_avx2_brain;
#[cfg(target_arch = "x86_64")]
mod unsafe_avx2_exponential;
#[cfg(target_arch = "x86_64")]
mod unsafe_avx2_floats;
#[cfg(target_arch = "x86_64")]
mod unsafe_avx2_nibbles;
#[cfg(target_arch = "x86_64")]
mod unsafe_avx2_pack;
#[cfg(target_arch = "x86_64")]
mod unsafe_avx2_panels;
#[cfg(target_arch = "x86_64")]
mod unsafe_avx2_rounded;
#[cfg(target_arch = "x86_64")]
mod unsafe_avx512_activations;
#[cfg(target_arch = "x86_64")]
mod unsafe_avx512_brain;
#[cfg(target_arch = "x86_64")]
mod unsafe_avx512_bytes;
#[cfg(target_arch = "x86_64")]
mod unsafe_avx512_floats;
#[cfg(target_arch = "x86_64")]
mod unsafe_avx512_nibbles;
#[cfg(target_arch = "x86_64")]
mod unsafe_avx512_panels;
#[cfg(target_arch = "x86_64")]
mod unsafe_avx512_rounded;
#[cfg(target_arch = "x86_64")]
mod unsafe_avx512_rows;
#[cfg(target_arch = "x86_64")]
mod unsafe_avx512_softmax;
#[cfg(target_arch = "x86_64")]
mod unsafe_avx512_tiles;
mod unsafe_blocks;
#[cfg(target_arch = "aarch64")]
mod unsafe_neon;
#[cfg(target_arch = "aarch64")]
mod unsafe_neon_exponential;
#[cfg(target_arch = "aarch64")]
mod unsafe_neon_floats;
#[cfg(target_arch = "aarch64")]
mod unsafe_neon_nibbles;
#[cfg(target_arch = "aarch64")]
mod unsafe_neon_panels;
#[cfg(target_arch = "aarch64")]
mod unsafe_neon_rounded;
mod unsafe_share;

use std::sync::LazyLock;

use half::bf16;

pub use attention::CausalAttention;
pub(crate) use bytes::byte_products;
pub(crate) use finish::Finish;
pub use gated::{Activate, Activation, Fused, Gate};
pub(crate) use gated::{CLIP, LAPLACE, LEAK, STEEPNESS};
pub use heads::{Heads, PutHeads, Turn};
pub use matrix::Matrix;
pub(crate) use nibbles::{Book, Nibbles};
pub use norm::{Normalize, RootMeanSquare, Sum};
pub(crate) use pack::{BLOCK, Bounds, divisor, largest};
pub(crate) use panels::{Lanes, PANEL};
pub use ragged::RaggedAttention;
use rounded::RoundedBlock;
pub(crate) use rounded::exactly;
pub(crate) use rows::{
    FEW, Input, Rows, Stacked, input_dtype, multiply, multiply_adding, multiply_then,
};
pub(crate) use unsafe_blocks::{new_pieces, share_pieces};

use panels::COLUMNS;
use squares::Squares;

use crate::weights::Format;

/// Two panels, inputs, and what each panel's products are added to.
type TilePair = fn([&[f32]; 2], &[f32], [&mut [Lanes]; 2]);

/// The inner loops, in the form that suits this processor.
#[derive(Clone, Copy)]
pub(crate) struct Primitives {
    /// Unpacks whole blocks to f32, value for value as [`Format::unpack`].
    pub unpack: fn(Format, &[u8], &mut [f32]),
    /// Product of a packed row with a vector; the last argument is scratch of the vector's length.
    pub packed_dot: fn(Format, &[u8], &[f32], &mut [f32]) -> f32,
    /// Unpacks 4-bit codes in blocks of 64 with a scale each, value for value as [`Book::unpack`].
    pub nibbles_unpack: fn(&Book, &[u8], &[f32], &mut [f32]),
    /// Products of rows of such codes with a vector.
    pub nibbles_dots: fn(&Book, &[u8], &[f32], &Input, &mut [f32]),
    /// Whether that takes the vector spread ([`nibbles::spread`]).
    pub spreads: bool,
    /// Products of rows of plain floats, which lie one after the other, with a vector.
    pub float_dots: fn(Format, &[u8], &[f32], &mut [f32]),
    /// Quantises a block of 64 values to such codes, and gives its scale.
    pub pack_block: fn(&[f32; BLOCK], &Bounds, &mut [u8]) -> f32,
    /// Products of rows of so many signed bytes with tokens of as many: `sums[row * tokens + token]`.
    pub byte_products: fn(&[i8], &[i8], usize, &mut [i32]),
    /// Products of a panel's rows with a vector, whose block sums come last.
    pub panel_dot: fn(Format, &[u8], &[f32], &[f32]) -> Lanes,
    /// Unpacks a panel to `(columns, 16)`, value for value as [`Format::unpack`].
    pub panel_unpack: fn(Format, &[u8], &mut [f32]),
    /// Products of a panel's rows of brain floats with a few vectors; to the bit those of each alone.
    pub brain_dots: fn(&[u8], &[&[f32]], &mut [Lanes]),
    /// Unpacks a panel of brain floats to `(columns, 16)`.
    pub brain_unpack: fn(&[u8], &mut [f32]),
    /// Adds products of a panel `(depth, 16)` with up to sixteen columns of inputs, whose rows begin so
    /// far apart: `out[t][lane] += Σ panel[k][lane] · inputs[k · stride + t]`.
    pub tile: fn(&[f32], &[f32], usize, &mut [Lanes]),
    /// The same for two panels, with as many columns of inputs as there are outputs of each; at most
    /// `tile_tokens`.
    pub tile_pair: TilePair,
    /// `tile_pair` of pairs of brain floats, each pair in the place of an f32, where the processor has
    /// instructions for them.
    pub tile_pair_brain: Option<TilePair>,
    /// Products of many tokens by squares, where the processor has them.
    pub squares: Option<&'static Squares>,
    /// Columns of inputs that registers hold the sums of; at most [`panels::WIDTH`].
    pub tile_tokens: usize,
    /// Turns up to sixteen rows of so many columns round: `out[column · stride + row]`.
    pub turn: fn(&[f32], usize, usize, &mut [f32]),
    /// Products of a vector with each of `rows`, which lie one after the other.
    pub dots: fn(&[f32], &[f32], &mut [f32]),
    /// Products of a few vectors with each of up to sixteen rows; to the bit those of `dots`.
    pub dots_of_few: fn(&[&[f32]], &[f32], &mut [Lanes]),
    /// Adds `weights[i] * rows[i]` to the last argument, for rows that lie one after the other.
    pub weighted_sum: fn(&[f32], &[f32], &mut [f32]),
    /// `values[i] = exp(values[i] - largest)`; gives their sum.
    pub exponentials: fn(&mut [f32], f32) -> f32,
    /// The same by lanes, each with its own largest.
    pub lane_exponentials: fn(&mut [Lanes], &Lanes) -> Lanes,
    /// `gate[i] = silu(gate[i]) · up[i]`.
    pub silu_gate: fn(&mut [f32], &[f32]),
    /// A non-linearity, in place.
    pub activate: fn(Fused, &mut [f32]),
    /// Rounds activations to brain floats, to the nearest, of two as near to the even one.
    pub narrow: fn(&[f32], &mut [bf16]),
    /// Rounds activations to 8 bits.
    pub round: fn(&[f32; COLUMNS]) -> RoundedBlock,
    /// Products of a panel's rows with a few tokens of such.
    pub rounded: fn(Format, &[u8], &[RoundedBlock], &mut [Lanes]),
}

static PRIMITIVES: LazyLock<Primitives> = LazyLock::new(|| {
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = unsafe_avx2::detect() {
        // So that what AVX2 does can be measured where there is more.
        if std::env::var_os("WARMCELL_NO_AVX512").is_some() {
            return avx2;
        }
        // Some loops are there for wider registers too.
        let wider = [
            unsafe_avx512_panels::detect,
            unsafe_avx512_floats::detect,
            unsafe_avx512_activations::detect,
            unsafe_avx512_rounded::detect,
            unsafe_avx512_bytes::detect,
            unsafe_avx512_brain::detect,
            unsafe_avx512_nibbles::detect,
            unsafe_avx512_rows::detect,
            unsafe_avx512_tiles::detect,
        ];
        let set = wider.iter().fold(avx2, |set, detect| detect(set));
        #[cfg(target_os = "linux")]
        let set = unsafe_amx::detect(set);
        return set;
    }
    #[cfg(target_arch = "aarch64")]
    if std::env::var_os("WARMCELL_NO_NEON").is_none() {
        return unsafe_neon::set();
    }
    portable::PRIMITIVES
});

/// The primitives for this processor.
pub(crate) fn primitives() -> &'static Primitives {
    &PRIMITIVES
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails says where")]
mod attention_tests;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails says where")]
mod finish_tests;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails says where")]
mod products_tests;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails says where")]
mod squares_tests;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails says where")]
mod tests;
