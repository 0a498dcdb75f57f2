//! The primitives for x86-64 with AVX2, FMA and F16C. Unsafe for the loads and for calling functions
//! that need those instructions; [`detect`] is the only way in and hands them out only where the
//! processor has them.

use std::arch::x86_64::{
    __m128i, __m256, _mm_add_ps, _mm_add_ss, _mm_and_si128, _mm_cvtph_ps, _mm_cvtsi32_si128,
    _mm_cvtss_f32, _mm_loadu_si128, _mm_movehl_ps, _mm_set1_epi8, _mm_shuffle_ps, _mm_srli_epi16,
    _mm_srli_si128, _mm256_add_ps, _mm256_castps256_ps128, _mm256_cvtepi8_epi32,
    _mm256_cvtepi32_ps, _mm256_cvtepu8_epi32, _mm256_extractf128_ps, _mm256_fmadd_ps,
    _mm256_loadu_ps, _mm256_mul_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps,
    _mm256_sub_ps,
};

use half::bf16;

use super::{
    Primitives, avx2_blocks as blocks,
    bytes::by_pairs,
    given, panels, unsafe_avx2_brain, unsafe_avx2_exponential,
    unsafe_avx2_floats::{self, BF16, F16, F32},
    unsafe_avx2_nibbles, unsafe_avx2_pack, unsafe_avx2_panels, unsafe_avx2_rounded,
};
use crate::weights::Format;

/// The set, where the processor can run it.
pub fn detect() -> Option<Primitives> {
    let found = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c");
    found.then_some(Primitives {
        // SAFETY (all): `detect` has just found the instructions that the functions are
        // compiled for; they have no other condition.
        unpack: |format, bytes, values| unsafe { unpack(format, bytes, values) },
        packed_dot: |format, row, input, scratch| unsafe {
            packed_dot(format, row, input, scratch)
        },
        nibbles_unpack: |book, packed, scales, values| unsafe {
            unsafe_avx2_nibbles::unpack(book, packed, scales, values);
        },
        nibbles_dots: |book, packed, scales, input, out| unsafe {
            unsafe_avx2_nibbles::dots(book, packed, scales, input.values, out);
        },
        spreads: false,
        float_dots: |format, rows, input, out| unsafe { float_dots(format, rows, input, out) },
        pack_block: |values, bounds, packed| unsafe {
            unsafe_avx2_pack::pack_block(values, bounds, packed)
        },
        byte_products: |rows, inputs, columns, sums| {
            let dot = |a: &[i8], b: &[i8]| unsafe { unsafe_avx2_nibbles::bytes_dot(a, b) };
            by_pairs(dot, (rows, inputs), columns, sums);
        },
        panel_dot: |format, panel, input, sums| unsafe {
            unsafe_avx2_panels::panel_dot(format, panel, input, sums)
        },
        panel_unpack: |format, panel, out| unsafe {
            unsafe_avx2_panels::panel_unpack(format, panel, out);
        },
        brain_dots: |panel, vectors, out| unsafe { unsafe_avx2_brain::dots(panel, vectors, out) },
        brain_unpack: |panel, out| unsafe { unsafe_avx2_brain::unpack(panel, out) },
        tile: |panel, inputs, stride, out| unsafe {
            unsafe_avx2_panels::tile(panel, inputs, stride, out);
        },
        tile_pair: |panels, inputs, out| unsafe {
            unsafe_avx2_panels::tile_pair(panels, inputs, out);
        },
        tile_pair_brain: None,
        squares: None,
        tile_tokens: unsafe_avx2_panels::TOKENS,
        turn: panels::turn,
        dots: |vector, rows, out| unsafe { dots(vector, rows, out) },
        dots_of_few: |vectors, rows, out| {
            let dots =
                |vector: &[f32], rows: &[f32], out: &mut [f32]| unsafe { dots(vector, rows, out) };
            super::portable::dots_of_few(dots, vectors, rows, out);
        },
        weighted_sum: |weights, rows, out| unsafe { weighted_sum(weights, rows, out) },
        exponentials: |values, largest| unsafe {
            unsafe_avx2_exponential::exponentials(values, largest)
        },
        lane_exponentials: |values, largest| unsafe {
            unsafe_avx2_exponential::lane_exponentials(values, largest)
        },
        silu_gate: |gate, up| unsafe { unsafe_avx2_exponential::silu_gate(gate, up) },
        activate: |activation, values| unsafe {
            unsafe_avx2_exponential::activate(activation, values);
        },
        narrow: |values, out| unsafe { narrow(values, out) },
        round: |values| unsafe { unsafe_avx2_rounded::round(values) },
        rounded: |format, panel, inputs, out| unsafe {
            unsafe_avx2_rounded::rounded(format, panel, inputs, out);
        },
    })
}

#[target_feature(enable = "avx2")]
fn narrow(values: &[f32], out: &mut [bf16]) {
    given::narrow(values, out);
}

#[target_feature(enable = "avx2,fma,f16c")]
fn unpack(format: Format, bytes: &[u8], values: &mut [f32]) {
    let pairs = bytes
        .chunks_exact(format.block_bytes())
        .zip(values.chunks_exact_mut(format.block_values()));
    // Loops, not closures handed to iterators: those are compiled without the instructions, and what
    // is then not inlined passes registers through memory.
    match format {
        Format::F32 => unsafe_avx2_floats::unpack::<F32>(bytes, values),
        Format::F16 => unsafe_avx2_floats::unpack::<F16>(bytes, values),
        Format::BF16 => unsafe_avx2_floats::unpack::<BF16>(bytes, values),
        Format::Q4_0 => {
            for (block, values) in pairs {
                store(q4_0(block), values);
            }
        }
        Format::Q4_1 => {
            for (block, values) in pairs {
                store(q4_1(block), values);
            }
        }
        Format::Q8_0 => {
            for (block, values) in pairs {
                store(q8_0(block), values);
            }
        }
        Format::Q5_0 => {
            for (block, values) in pairs {
                store(blocks::q5_0(block), values);
            }
        }
        Format::Q5_1 => {
            for (block, values) in pairs {
                store(blocks::q5_1(block), values);
            }
        }
        Format::Q4K => {
            for (block, values) in pairs {
                for (part, values) in values.chunks_exact_mut(32).enumerate() {
                    store(blocks::q4_k(block, part), values);
                }
            }
        }
        Format::Q5K => {
            for (block, values) in pairs {
                for (part, values) in values.chunks_exact_mut(32).enumerate() {
                    store(blocks::q5_k(block, part), values);
                }
            }
        }
        Format::Q6K => {
            for (block, values) in pairs {
                for (part, values) in values.chunks_exact_mut(32).enumerate() {
                    store(blocks::q6_k(block, part), values);
                }
            }
        }
        Format::Q2K => {
            for (block, values) in pairs {
                for (part, values) in values.chunks_exact_mut(32).enumerate() {
                    store(blocks::q2_k(block, part), values);
                }
            }
        }
        Format::Q3K => {
            for (block, values) in pairs {
                for (part, values) in values.chunks_exact_mut(32).enumerate() {
                    store(blocks::q3_k(block, part), values);
                }
            }
        }
        Format::Byte => format.unpack(bytes, values),
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn packed_dot(format: Format, row: &[u8], input: &[f32], scratch: &mut [f32]) -> f32 {
    let pairs = row
        .chunks_exact(format.block_bytes())
        .zip(input.chunks_exact(format.block_values()));
    let mut sums = [_mm256_setzero_ps(); 4];
    let mut rest = 0.0;
    match format {
        Format::F32 => (sums, rest) = unsafe_avx2_floats::dot::<F32>(row, input),
        Format::F16 => (sums, rest) = unsafe_avx2_floats::dot::<F16>(row, input),
        Format::BF16 => (sums, rest) = unsafe_avx2_floats::dot::<BF16>(row, input),
        Format::Q4_0 => {
            for (block, input) in pairs {
                sums = multiply_add(q4_0(block), input, sums);
            }
        }
        Format::Q4_1 => {
            for (block, input) in pairs {
                sums = multiply_add(q4_1(block), input, sums);
            }
        }
        Format::Q8_0 => {
            for (block, input) in pairs {
                sums = multiply_add(q8_0(block), input, sums);
            }
        }
        Format::Q5_0 => {
            for (block, input) in pairs {
                sums = multiply_add(blocks::q5_0(block), input, sums);
            }
        }
        Format::Q5_1 => {
            for (block, input) in pairs {
                sums = multiply_add(blocks::q5_1(block), input, sums);
            }
        }
        Format::Q4K => {
            for (block, input) in pairs {
                for (part, input) in input.chunks_exact(32).enumerate() {
                    sums = multiply_add(blocks::q4_k(block, part), input, sums);
                }
            }
        }
        Format::Q5K => {
            for (block, input) in pairs {
                for (part, input) in input.chunks_exact(32).enumerate() {
                    sums = multiply_add(blocks::q5_k(block, part), input, sums);
                }
            }
        }
        Format::Q6K => {
            for (block, input) in pairs {
                for (part, input) in input.chunks_exact(32).enumerate() {
                    sums = multiply_add(blocks::q6_k(block, part), input, sums);
                }
            }
        }
        Format::Q2K => {
            for (block, input) in pairs {
                for (part, input) in input.chunks_exact(32).enumerate() {
                    sums = multiply_add(blocks::q2_k(block, part), input, sums);
                }
            }
        }
        Format::Q3K => {
            for (block, input) in pairs {
                for (part, input) in input.chunks_exact(32).enumerate() {
                    sums = multiply_add(blocks::q3_k(block, part), input, sums);
                }
            }
        }
        Format::Byte => {
            format.unpack(row, scratch);
            return dot(scratch, input);
        }
    }
    total(sums) + rest
}

#[target_feature(enable = "avx2,fma,f16c")]
fn float_dots(format: Format, rows: &[u8], input: &[f32], out: &mut [f32]) {
    let rows = rows.chunks_exact(input.len() * format.block_bytes());
    for (row, out) in rows.zip(out) {
        *out = packed_dot(format, row, input, &mut []);
    }
}

/// Unpacked block of 32 values.
pub(super) type Block = [__m256; 4];

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn store(block: Block, values: &mut [f32]) {
    for (part, values) in block.into_iter().zip(values.chunks_exact_mut(8)) {
        // SAFETY: `chunks_exact_mut(8)` yields eight values.
        unsafe { _mm256_storeu_ps(values.as_mut_ptr(), part) };
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn multiply_add(block: Block, input: &[f32], sums: Block) -> Block {
    let [a, b, c, d] = block;
    [
        _mm256_fmadd_ps(a, load(input), sums[0]),
        _mm256_fmadd_ps(b, load(&input[8..]), sums[1]),
        _mm256_fmadd_ps(c, load(&input[16..]), sums[2]),
        _mm256_fmadd_ps(d, load(&input[24..]), sums[3]),
    ]
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn load(values: &[f32]) -> __m256 {
    assert!(values.len() >= 8, "a lane needs eight values");
    // SAFETY: eight values are there, and the load has no alignment to keep.
    unsafe { _mm256_loadu_ps(values.as_ptr()) }
}

/// A 16-bit float of a block in all lanes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn half(block: &[u8], at: usize) -> __m256 {
    let bits = u16::from_le_bytes([block[at], block[at + 1]]);
    _mm256_set1_ps(_mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits.into()))))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn sixteen(bytes: &[u8]) -> __m128i {
    assert!(bytes.len() >= 16, "a register needs sixteen bytes");
    // SAFETY: sixteen bytes are there, and the load has no alignment to keep.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

/// The 32 nibbles of sixteen bytes as floats: low ones first, as ggml orders them.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn nibbles(bytes: &[u8]) -> Block {
    let (bytes, mask) = (sixteen(bytes), _mm_set1_epi8(15));
    let low = _mm_and_si128(bytes, mask);
    let high = _mm_and_si128(_mm_srli_epi16::<4>(bytes), mask);
    [
        _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(low)),
        _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128::<8>(low))),
        _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(high)),
        _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128::<8>(high))),
    ]
}

// In the three formats a product and a sum are kept apart where the definition has both: a fused
// multiply-add rounds once and would give other weights than `Format::unpack`.

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn q4_0(block: &[u8]) -> Block {
    let (scale, eight) = (half(block, 0), _mm256_set1_ps(8.0));
    let [a, b, c, d] = nibbles(&block[2..]);
    [
        _mm256_mul_ps(_mm256_sub_ps(a, eight), scale),
        _mm256_mul_ps(_mm256_sub_ps(b, eight), scale),
        _mm256_mul_ps(_mm256_sub_ps(c, eight), scale),
        _mm256_mul_ps(_mm256_sub_ps(d, eight), scale),
    ]
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn q4_1(block: &[u8]) -> Block {
    let (scale, minimum) = (half(block, 0), half(block, 2));
    let [a, b, c, d] = nibbles(&block[4..]);
    [
        _mm256_add_ps(_mm256_mul_ps(a, scale), minimum),
        _mm256_add_ps(_mm256_mul_ps(b, scale), minimum),
        _mm256_add_ps(_mm256_mul_ps(c, scale), minimum),
        _mm256_add_ps(_mm256_mul_ps(d, scale), minimum),
    ]
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn q8_0(block: &[u8]) -> Block {
    let scale = half(block, 0);
    let (first, second) = (sixteen(&block[2..]), sixteen(&block[18..]));
    [
        signed(first, scale),
        signed(_mm_srli_si128::<8>(first), scale),
        signed(second, scale),
        signed(_mm_srli_si128::<8>(second), scale),
    ]
}

/// The first eight bytes, signed, times the scale.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn signed(codes: __m128i, scale: __m256) -> __m256 {
    _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes)), scale)
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn total(sums: Block) -> f32 {
    let [a, b, c, d] = sums;
    lanes_total(_mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d)))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn lanes_total(lanes: __m256) -> f32 {
    let four = _mm_add_ps(
        _mm256_castps256_ps128(lanes),
        _mm256_extractf128_ps::<1>(lanes),
    );
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
}

#[target_feature(enable = "avx2,fma,f16c")]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [_mm256_setzero_ps(); 4];
    let (a_parts, b_parts) = (a.chunks_exact(32), b.chunks_exact(32));
    let (a_rest, b_rest) = (a_parts.remainder(), b_parts.remainder());
    for (a, b) in a_parts.zip(b_parts) {
        let block = [load(a), load(&a[8..]), load(&a[16..]), load(&a[24..])];
        sums = multiply_add(block, b, sums);
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    total(sums) + rest
}

#[target_feature(enable = "avx2,fma,f16c")]
fn dots(vector: &[f32], rows: &[f32], out: &mut [f32]) {
    for (row, out) in rows.chunks_exact(vector.len()).zip(out) {
        *out = dot(vector, row);
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn weighted_sum(weights: &[f32], rows: &[f32], out: &mut [f32]) {
    for (row, weight) in rows.chunks_exact(out.len()).zip(weights) {
        let all = _mm256_set1_ps(*weight);
        let (row_parts, mut out_parts) = (row.chunks_exact(8), out.chunks_exact_mut(8));
        let row_rest = row_parts.remainder();
        for (row, out) in row_parts.zip(&mut out_parts) {
            let sum = _mm256_fmadd_ps(all, load(row), load(out));
            // SAFETY: `chunks_exact_mut(8)` yields eight values.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr(), sum) };
        }
        for (out, value) in out_parts.into_remainder().iter_mut().zip(row_rest) {
            *out += weight * value;
        }
    }
}
