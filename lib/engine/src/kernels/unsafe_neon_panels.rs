//! Products with panels by NEON: four registers hold one column of sixteen rows. Unsafe for what is
//! checked before a loop; `unsafe_neon` is the only caller.

use std::arch::aarch64::{
    float32x4_t, int32x4_t, vaddq_f32, vcvtq_f32_s32, vdupq_n_f32, vdupq_n_s32, vdupq_n_u8,
    veorq_u8, vfmaq_f32, vfmaq_n_f32, vmulq_f32, vreinterpretq_s32_u8, vshlq_s32, vshrq_n_s32,
};

use super::{
    panels::{COLUMNS, DEPTH, Lanes, PANEL, WIDTH, heads},
    unsafe_neon::{load, store},
    unsafe_neon_floats::{halves, sixteen},
};
use crate::weights::Format;

/// Registers of one column.
const QUARTERS: usize = 4;
/// Columns of a group of codes: their place in a block, by the nibbles of a row's four bytes.
const NIBBLES: [usize; 8] = [0, 16, 1, 17, 2, 18, 3, 19];

#[target_feature(enable = "neon")]
pub(super) fn panel_dot(format: Format, panel: &[u8], input: &[f32], sums: &[f32]) -> Lanes {
    let mut totals = [vdupq_n_f32(0.0); QUARTERS];
    let blocks = panel.chunks_exact(format.block_bytes() * PANEL);
    let (inputs, _) = input.as_chunks::<COLUMNS>();
    let heads = heads(format).unwrap_or(0) * PANEL;
    for ((block, input), sum) in blocks.zip(inputs).zip(sums) {
        let (groups, _) = block[heads..].as_chunks::<64>();
        let scales = head(block, 0);
        for (quarter, total) in totals.iter_mut().enumerate() {
            let product = if format == Format::Q8_0 {
                bytes_block(groups, quarter, input)
            } else {
                nibbles_block(groups, quarter, input)
            };
            *total = vfmaq_f32(*total, product, scales[quarter]);
        }
        if format == Format::Q4_1 {
            let minima = head(block, 1);
            for (quarter, total) in totals.iter_mut().enumerate() {
                let minimum = vfmaq_n_f32(minima[quarter], scales[quarter], 8.0);
                *total = vfmaq_n_f32(*total, minimum, *sum);
            }
        }
    }
    lanes(totals)
}

/// Scales of a block's sixteen rows, or their minima.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn head(block: &[u8], which: usize) -> [float32x4_t; QUARTERS] {
    let bytes = &block[2 * PANEL * which..];
    let ([a, b], [c, d]) = (halves(bytes), halves(&bytes[PANEL..]));
    [a, b, c, d]
}

/// Codes of 4 bits, less eight, of a quarter of a block's rows times the input, before they are scaled.
#[inline]
#[target_feature(enable = "neon")]
fn nibbles_block(groups: &[[u8; 64]], quarter: usize, input: &[f32; COLUMNS]) -> float32x4_t {
    let mut sums = [vdupq_n_f32(0.0); 4];
    for (group, codes) in groups.iter().enumerate() {
        let codes = integers(codes, quarter, 0x88);
        for (index, column) in NIBBLES.into_iter().enumerate() {
            let value = input[4 * group + column];
            sums[index % 4] = vfmaq_n_f32(sums[index % 4], nibble(codes, index), value);
        }
    }
    let [a, b, c, d] = sums;
    vaddq_f32(vaddq_f32(a, b), vaddq_f32(c, d))
}

/// The same for codes of 8 bits.
#[inline]
#[target_feature(enable = "neon")]
fn bytes_block(groups: &[[u8; 64]], quarter: usize, input: &[f32; COLUMNS]) -> float32x4_t {
    let mut sums = [vdupq_n_f32(0.0); 4];
    for (group, codes) in groups.iter().enumerate() {
        let codes = integers(codes, quarter, 0);
        for (column, sum) in sums.iter_mut().enumerate() {
            *sum = vfmaq_n_f32(*sum, byte(codes, column), input[4 * group + column]);
        }
    }
    let [a, b, c, d] = sums;
    vaddq_f32(vaddq_f32(a, b), vaddq_f32(c, d))
}

/// Four bytes of each of four rows, some bits of them flipped.
#[inline]
#[target_feature(enable = "neon")]
fn integers(codes: &[u8; 64], quarter: usize, flipped: u8) -> int32x4_t {
    let bytes = sixteen(&codes[16 * quarter..]);
    vreinterpretq_s32_u8(veorq_u8(bytes, vdupq_n_u8(flipped)))
}

/// The nibble of each lane that has so many below it, with a sign. What was a code from 0 is, with its
/// highest bit flipped, that code less eight.
#[inline]
#[target_feature(enable = "neon")]
fn nibble(codes: int32x4_t, index: usize) -> float32x4_t {
    let up = vdupq_n_s32(28 - 4 * index as i32);
    vcvtq_f32_s32(vshrq_n_s32::<28>(vshlq_s32(codes, up)))
}

/// A signed byte of each lane.
#[inline]
#[target_feature(enable = "neon")]
fn byte(codes: int32x4_t, index: usize) -> float32x4_t {
    let up = vdupq_n_s32(24 - 8 * index as i32);
    vcvtq_f32_s32(vshrq_n_s32::<24>(vshlq_s32(codes, up)))
}

#[target_feature(enable = "neon")]
pub(super) fn panel_unpack(format: Format, panel: &[u8], out: &mut [f32]) {
    let heads = heads(format).unwrap_or(0) * PANEL;
    let blocks = panel.chunks_exact(format.block_bytes() * PANEL);
    for (block, out) in blocks.zip(out.chunks_exact_mut(COLUMNS * PANEL)) {
        let (groups, _) = block[heads..].as_chunks::<64>();
        for quarter in 0..QUARTERS {
            unpack_quarter(format, block, (groups, quarter), out);
        }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn unpack_quarter(
    format: Format,
    block: &[u8],
    (groups, quarter): (&[[u8; 64]], usize),
    out: &mut [f32],
) {
    let scale = head(block, 0)[quarter];
    let minimum = match format {
        Format::Q4_1 => head(block, 1)[quarter],
        _ => vdupq_n_f32(0.0),
    };
    for (group, codes) in groups.iter().enumerate() {
        if format == Format::Q8_0 {
            let codes = integers(codes, quarter, 0);
            for column in 0..4 {
                let at = (4 * group + column) * PANEL + 4 * quarter;
                store(vmulq_f32(byte(codes, column), scale), &mut out[at..]);
            }
            continue;
        }
        let codes = integers(codes, quarter, 0x88);
        for (index, column) in NIBBLES.into_iter().enumerate() {
            let mut code = nibble(codes, index);
            if format == Format::Q4_1 {
                code = vaddq_f32(code, vdupq_n_f32(8.0));
            }
            // A product and a sum apart, as `Format::unpack` has them: a fused one rounds once.
            let weights = vaddq_f32(vmulq_f32(code, scale), minimum);
            store(
                weights,
                &mut out[(4 * group + column) * PANEL + 4 * quarter..],
            );
        }
    }
}

/// Columns of inputs whose sums the 32 registers hold beside a column of weights.
const AT_ONCE: usize = 6;

/// Tokens of a tile for many: whole turns of that.
pub(super) const TOKENS: usize = 2 * AT_ONCE;

#[target_feature(enable = "neon")]
pub(super) fn tile_pair(panels: [&[f32]; 2], inputs: &[f32], out: [&mut [Lanes]; 2]) {
    for (panel, out) in panels.into_iter().zip(out) {
        tile(panel, inputs, out.len(), out);
    }
}

#[target_feature(enable = "neon")]
pub(super) fn tile(panel: &[f32], inputs: &[f32], stride: usize, out: &mut [Lanes]) {
    assert!(out.len() <= WIDTH, "a tile is at most {WIDTH} wide");
    for (part, out) in out.chunks_mut(AT_ONCE).enumerate() {
        let inputs = &inputs[part * AT_ONCE..];
        match out.len() {
            1 => tile_of::<1>(panel, inputs, stride, out),
            2 => tile_of::<2>(panel, inputs, stride, out),
            3 => tile_of::<3>(panel, inputs, stride, out),
            4 => tile_of::<4>(panel, inputs, stride, out),
            5 => tile_of::<5>(panel, inputs, stride, out),
            _ => tile_of::<AT_ONCE>(panel, inputs, stride, out),
        }
    }
}

#[target_feature(enable = "neon")]
fn tile_of<const WIDE: usize>(panel: &[f32], inputs: &[f32], stride: usize, out: &mut [Lanes]) {
    let (columns, _) = panel.as_chunks::<PANEL>();
    assert!(
        columns.is_empty() || (columns.len() - 1) * stride + WIDE <= inputs.len(),
        "a tile's inputs are there"
    );
    for (part, columns) in columns.chunks(DEPTH).enumerate() {
        let mut sums = [[vdupq_n_f32(0.0); QUARTERS]; WIDE];
        let first = part * DEPTH;
        for (k, weights) in columns.iter().enumerate() {
            let weights = quarters(weights);
            for (t, sums) in sums.iter_mut().enumerate() {
                // SAFETY: `first + k` is a column and `t < WIDE`, for which the inputs have just been
                // checked.
                let input = unsafe { *inputs.get_unchecked((first + k) * stride + t) };
                for (sum, weights) in sums.iter_mut().zip(weights) {
                    *sum = vfmaq_n_f32(*sum, weights, input);
                }
            }
        }
        for (sums, out) in sums.iter().zip(&mut *out) {
            let before = quarters(out);
            let mut after = before;
            for (quarter, after) in after.iter_mut().enumerate() {
                *after = vaddq_f32(sums[quarter], before[quarter]);
            }
            *out = lanes(after);
        }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn quarters(lanes: &Lanes) -> [float32x4_t; QUARTERS] {
    [
        load(lanes),
        load(&lanes[4..]),
        load(&lanes[8..]),
        load(&lanes[12..]),
    ]
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn lanes(quarters: [float32x4_t; QUARTERS]) -> Lanes {
    let mut lanes = [0.0; PANEL];
    for (quarter, lanes) in quarters.into_iter().zip(lanes.as_chunks_mut::<4>().0) {
        store(quarter, lanes);
    }
    lanes
}
