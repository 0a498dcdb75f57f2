//! Products of rows of floats by AVX-512, which takes sixteen at once: where many tokens are read,
//! nearly all of the time goes here. Only [`detect`] hands it out.

use std::arch::x86_64::{
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_reduce_add_ps, _mm512_setzero_ps,
};

use super::{TILE, Tile};

/// The product of a tile, where the processor can run it.
pub(super) fn detect() -> Option<Tile> {
    // SAFETY: `detect` has just found the instructions that the function is compiled for; it has no
    // other condition.
    is_x86_feature_detected!("avx512f").then_some(|rows, inputs| unsafe { tile(rows, inputs) })
}

tile! {
    "avx512f", 16, _mm512_setzero_ps, _mm512_loadu_ps, _mm512_fmadd_ps, _mm512_reduce_add_ps
}
