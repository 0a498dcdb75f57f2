//! 4-bit codes of a book, by NEON. A block's sixteen values are scaled (and rounded) once; the first
//! bytes of all of them lie in one register, the second in another, and so on, from which sixteen codes
//! are looked up at a time: the weights are the portable ones to the bit. `unsafe_neon` is the only caller.

use std::arch::aarch64::{
    float32x4_t, uint8x16_t, vaddq_u32, vandq_u8, vandq_u32, vcvt_f16_f32, vcvt_f32_f16,
    vdupq_n_u8, vdupq_n_u32, vfmaq_f32, vmulq_n_f32, vqtbl1q_u8, vreinterpretq_f32_u16,
    vreinterpretq_f32_u32, vreinterpretq_u8_f32, vreinterpretq_u16_u8, vreinterpretq_u32_f32,
    vshlq_n_u32, vshrq_n_u8, vshrq_n_u32, vuzp1q_u8, vuzp2q_u8, vzip1q_u8, vzip1q_u16, vzip2q_u8,
    vzip2q_u16,
};

use wire::model::DType;

use super::{
    Book,
    unsafe_neon::{load, no_sums, store, total},
    unsafe_neon_floats::sixteen,
};

/// The sixteen values of a book.
type Table = [float32x4_t; 4];
/// The same by their first, second, third and fourth bytes.
type Planes = [uint8x16_t; 4];

/// As [`Book::unpack`].
#[target_feature(enable = "neon")]
pub(super) fn unpack(book: &Book, packed: &[u8], scales: &[f32], values: &mut [f32]) {
    let plain = table(book);
    let blocks = packed.chunks_exact(32).zip(scales);
    for ((packed, scale), values) in blocks.zip(values.as_chunks_mut::<64>().0) {
        let planes = scaled(plain, *scale, book.rounding);
        for (packed, values) in packed.chunks_exact(16).zip(values.chunks_exact_mut(32)) {
            for (four, values) in look_up(planes, packed)
                .into_iter()
                .zip(values.chunks_mut(4))
            {
                store(four, values);
            }
        }
    }
}

/// Products of rows of 4-bit codes with a vector.
#[target_feature(enable = "neon")]
pub(super) fn dots(book: &Book, packed: &[u8], scales: &[f32], input: &[f32], out: &mut [f32]) {
    let rows = packed.chunks_exact(input.len() / 2);
    let scales = scales.chunks_exact(input.len() / 64);
    let plain = table(book);
    for ((row, scales), out) in rows.zip(scales).zip(out) {
        let mut sums = no_sums();
        let blocks = row.chunks_exact(32).zip(scales);
        for ((packed, scale), input) in blocks.zip(input.as_chunks::<64>().0) {
            let planes = scaled(plain, *scale, book.rounding);
            for (packed, input) in packed.chunks_exact(16).zip(input.chunks_exact(32)) {
                let weights = look_up(planes, packed);
                for (lane, sum) in sums.iter_mut().enumerate() {
                    *sum = vfmaq_f32(*sum, weights[lane], load(&input[4 * lane..]));
                }
            }
        }
        *out = total(sums);
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn table(book: &Book) -> Table {
    let values = &book.values;
    [
        load(values),
        load(&values[4..]),
        load(&values[8..]),
        load(&values[12..]),
    ]
}

#[inline]
#[target_feature(enable = "neon")]
fn scaled(table: Table, scale: f32, rounding: DType) -> Planes {
    let mut values = table;
    for four in &mut values {
        *four = vmulq_n_f32(*four, scale);
    }
    match rounding {
        DType::F32 => {}
        DType::F16 => {
            for four in &mut values {
                *four = vcvt_f32_f16(vcvt_f16_f32(*four));
            }
        }
        DType::BF16 => {
            for four in &mut values {
                *four = to_bf16(*four);
            }
        }
    }
    planes(values)
}

#[inline]
#[target_feature(enable = "neon")]
fn planes(table: Table) -> Planes {
    let mut bytes = [vdupq_n_u8(0); 4];
    for (bytes, four) in bytes.iter_mut().zip(table) {
        *bytes = vreinterpretq_u8_f32(four);
    }
    let [a, b, c, d] = bytes;
    let (even, odd) = (
        [vuzp1q_u8(a, b), vuzp1q_u8(c, d)],
        [vuzp2q_u8(a, b), vuzp2q_u8(c, d)],
    );
    [
        vuzp1q_u8(even[0], even[1]),
        vuzp1q_u8(odd[0], odd[1]),
        vuzp2q_u8(even[0], even[1]),
        vuzp2q_u8(odd[0], odd[1]),
    ]
}

/// Rounds to bf16, ties to even; weights are finite.
#[inline]
#[target_feature(enable = "neon")]
fn to_bf16(values: float32x4_t) -> float32x4_t {
    let bits = vreinterpretq_u32_f32(values);
    let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
    let up = vaddq_u32(odd, vdupq_n_u32(0x7fff));
    let rounded = vshrq_n_u32::<16>(vaddq_u32(bits, up));
    vreinterpretq_f32_u32(vshlq_n_u32::<16>(rounded))
}

/// The values of 32 codes in sixteen bytes, the first of two in the high half.
#[inline]
#[target_feature(enable = "neon")]
fn look_up(planes: Planes, packed: &[u8]) -> [float32x4_t; 8] {
    let bytes = sixteen(packed);
    let (high, low) = (vshrq_n_u8::<4>(bytes), vandq_u8(bytes, vdupq_n_u8(15)));
    let [a, b, c, d] = values(planes, vzip1q_u8(high, low));
    let [e, f, g, h] = values(planes, vzip2q_u8(high, low));
    [a, b, c, d, e, f, g, h]
}

/// The values of sixteen codes, a byte each.
#[inline]
#[target_feature(enable = "neon")]
fn values(planes: Planes, codes: uint8x16_t) -> [float32x4_t; 4] {
    let [first, second, third, fourth] = [
        vqtbl1q_u8(planes[0], codes),
        vqtbl1q_u8(planes[1], codes),
        vqtbl1q_u8(planes[2], codes),
        vqtbl1q_u8(planes[3], codes),
    ];
    let lower = [
        vreinterpretq_u16_u8(vzip1q_u8(first, second)),
        vreinterpretq_u16_u8(vzip2q_u8(first, second)),
    ];
    let upper = [
        vreinterpretq_u16_u8(vzip1q_u8(third, fourth)),
        vreinterpretq_u16_u8(vzip2q_u8(third, fourth)),
    ];
    [
        vreinterpretq_f32_u16(vzip1q_u16(lower[0], upper[0])),
        vreinterpretq_f32_u16(vzip2q_u16(lower[0], upper[0])),
        vreinterpretq_f32_u16(vzip1q_u16(lower[1], upper[1])),
        vreinterpretq_f32_u16(vzip2q_u16(lower[1], upper[1])),
    ]
}
