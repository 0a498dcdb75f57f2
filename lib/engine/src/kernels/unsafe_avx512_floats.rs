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

#[target_feature(enable = "avx512f")]
fn tile(rows: [&[f32]; TILE.0], inputs: [&[f32]; TILE.1]) -> [[f32; TILE.1]; TILE.0] {
    let length = rows[0].len();
    assert!(
        rows.iter().chain(&inputs).all(|row| row.len() == length),
        "rows of a tile have one length"
    );
    let mut sums = [[_mm512_setzero_ps(); TILE.1]; TILE.0];
    let whole = length - length % 16;
    for at in (0..whole).step_by(16) {
        // SAFETY: `at + 16 <= whole <= length`, the length of every row.
        let [first, second] = unsafe {
            [
                _mm512_loadu_ps(rows[0].as_ptr().add(at)),
                _mm512_loadu_ps(rows[1].as_ptr().add(at)),
            ]
        };
        for (j, input) in inputs.iter().enumerate() {
            // SAFETY: as above.
            let input = unsafe { _mm512_loadu_ps(input.as_ptr().add(at)) };
            sums[0][j] = _mm512_fmadd_ps(first, input, sums[0][j]);
            sums[1][j] = _mm512_fmadd_ps(second, input, sums[1][j]);
        }
    }
    let mut out = [[0.0; TILE.1]; TILE.0];
    for (out, sums) in out.iter_mut().zip(sums) {
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = _mm512_reduce_add_ps(sum);
        }
    }
    for at in whole..length {
        for (out, row) in out.iter_mut().zip(rows) {
            for (out, input) in out.iter_mut().zip(inputs) {
                *out += row[at] * input[at];
            }
        }
    }
    out
}
