//! How values are stored: plain floats and the block formats of ggml, with their exact unpacking to
//! f32 (`ggml-quants.c`, `dequantize_row_*`). Fast paths live in `kernels`; this is what they must
//! equal.

use half::{bf16, f16};

/// A storage format of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are ggml's own")]
pub enum Format {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    /// What bitsandbytes packs: bytes whose meaning other tensors tell. No layer takes them as they are.
    Byte,
}

impl Format {
    /// All formats that layers take.
    pub const ALL: [Self; 13] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// The format of a `ggml_type` number, or `None` for those that are not known here.
    pub fn from_ggml(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            6 => Self::Q5_0,
            7 => Self::Q5_1,
            8 => Self::Q8_0,
            10 => Self::Q2K,
            11 => Self::Q3K,
            12 => Self::Q4K,
            13 => Self::Q5K,
            14 => Self::Q6K,
            30 => Self::BF16,
            _ => return None,
        })
    }

    /// The format of a safetensors dtype.
    pub fn from_safetensors(dtype: &str) -> Option<Self> {
        match dtype {
            "F32" => Some(Self::F32),
            "F16" => Some(Self::F16),
            "BF16" => Some(Self::BF16),
            "U8" | "I8" => Some(Self::Byte),
            _ => None,
        }
    }

    /// The name users know.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2K => "Q2_K",
            Self::Q3K => "Q3_K",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
            Self::Byte => "bytes",
        }
    }

    /// Values in a block; a row is a whole number of blocks.
    pub fn block_values(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 | Self::Byte => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q2K | Self::Q3K | Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2K => 84,
            Self::Q3K => 110,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
            Self::Byte => 1,
        }
    }

    /// Bytes of this many values, or `None` when they are no whole number of blocks or overflow.
    pub fn bytes_of(self, values: u64) -> Option<u64> {
        let block = self.block_values() as u64;
        if !values.is_multiple_of(block) {
            return None;
        }
        (values / block).checked_mul(self.block_bytes() as u64)
    }

    /// Unpacks whole blocks to f32. `bytes` and `values` must describe the same number of blocks.
    pub fn unpack(self, bytes: &[u8], values: &mut [f32]) {
        let blocks = bytes.chunks_exact(self.block_bytes());
        let targets = values.chunks_exact_mut(self.block_values());
        debug_assert_eq!(blocks.len(), targets.len());
        let pairs = blocks.zip(targets);
        match self {
            Self::F32 => {
                pairs.for_each(|(b, v)| v[0] = f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            }
            Self::F16 => pairs.for_each(|(b, v)| v[0] = half_at(b, 0)),
            Self::BF16 => {
                pairs.for_each(|(b, v)| v[0] = bf16::from_le_bytes([b[0], b[1]]).to_f32());
            }
            Self::Q4_0 => pairs.for_each(|(b, v)| unpack_q4_0(b, v)),
            Self::Q4_1 => pairs.for_each(|(b, v)| unpack_q4_1(b, v)),
            Self::Q5_0 => pairs.for_each(|(b, v)| unpack_q5(b, v, false)),
            Self::Q5_1 => pairs.for_each(|(b, v)| unpack_q5(b, v, true)),
            Self::Q8_0 => pairs.for_each(|(b, v)| unpack_q8_0(b, v)),
            Self::Q2K => pairs.for_each(|(b, v)| unpack_q2_k(b, v)),
            Self::Q3K => pairs.for_each(|(b, v)| unpack_q3_k(b, v)),
            Self::Q4K => pairs.for_each(|(b, v)| unpack_q4_k(b, v)),
            Self::Q5K => pairs.for_each(|(b, v)| unpack_q5_k(b, v)),
            Self::Q6K => pairs.for_each(|(b, v)| unpack_q6_k(b, v)),
            Self::Byte => pairs.for_each(|(b, v)| v[0] = b[0].into()),
        }
    }
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn unpack_q4_0(block: &[u8], values: &mut [f32]) {
    let scale = half_at(block, 0);
    for (i, &byte) in block[2..].iter().enumerate() {
        values[i] = (f32::from(byte & 15) - 8.0) * scale;
        values[i + 16] = (f32::from(byte >> 4) - 8.0) * scale;
    }
}

fn unpack_q4_1(block: &[u8], values: &mut [f32]) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    for (i, &byte) in block[4..].iter().enumerate() {
        values[i] = f32::from(byte & 15) * scale + minimum;
        values[i + 16] = f32::from(byte >> 4) * scale + minimum;
    }
}

/// `Q5_0` (offset 16) and `Q5_1` (a minimum a block): four bits in nibbles, the fifth in a bit field.
fn unpack_q5(block: &[u8], values: &mut [f32], has_minimum: bool) {
    let scale = half_at(block, 0);
    let start = if has_minimum { 4 } else { 2 };
    let high = u32::from_le_bytes([
        block[start],
        block[start + 1],
        block[start + 2],
        block[start + 3],
    ]);
    let value = |nibble: u8, bit: usize| {
        let code = f32::from(nibble | ((((high >> bit) & 1) as u8) << 4));
        if has_minimum {
            code * scale + half_at(block, 2)
        } else {
            (code - 16.0) * scale
        }
    };
    for (i, &byte) in block[start + 4..].iter().enumerate() {
        values[i] = value(byte & 15, i);
        values[i + 16] = value(byte >> 4, i + 16);
    }
}

fn unpack_q8_0(block: &[u8], values: &mut [f32]) {
    let scale = half_at(block, 0);
    for (value, &byte) in values.iter_mut().zip(&block[2..]) {
        *value = f32::from(byte.cast_signed()) * scale;
    }
}

fn unpack_q2_k(block: &[u8], values: &mut [f32]) {
    let (scales, codes) = (&block[..16], &block[16..80]);
    let (scale, minimum) = (half_at(block, 80), half_at(block, 82));
    // Sixteen values of each scale; eight scales take two bits each of the same 32 bytes.
    for (index, values) in values.chunks_mut(16).enumerate() {
        let step = scale * f32::from(scales[index] & 15);
        let offset = minimum * f32::from(scales[index] >> 4);
        let codes = &codes[32 * (index / 8) + 16 * (index % 2)..];
        let shift = 2 * (index % 8 / 2);
        for (value, byte) in values.iter_mut().zip(codes) {
            *value = step * f32::from((byte >> shift) & 3) - offset;
        }
    }
}

fn unpack_q3_k(block: &[u8], values: &mut [f32]) {
    let (high_bits, codes, scales) = (&block[..32], &block[32..96], &block[96..108]);
    let scale = half_at(block, 108);
    for (index, values) in values.chunks_mut(16).enumerate() {
        // Six bits a scale: four in the nibbles of eight bytes, two in the four bytes after them.
        let low = if index < 8 {
            scales[index] & 15
        } else {
            scales[index - 8] >> 4
        };
        let high = (scales[8 + index % 4] >> (2 * (index / 4))) & 3;
        let step = scale * (f32::from(low | (high << 4)) - 32.0);
        let (half, pair) = (index / 8, index % 8 / 2);
        let start = 16 * (index % 2);
        let codes = &codes[32 * half + start..];
        for ((value, byte), bits) in values.iter_mut().zip(codes).zip(&high_bits[start..]) {
            let third = (bits >> (4 * half + pair)) & 1;
            let code = f32::from(((byte >> (2 * pair)) & 3) | (third << 2));
            *value = step * (code - 4.0);
        }
    }
}

/// The `index`-th of eight 6-bit (scale, minimum) pairs of `Q4_K` and `Q5_K` (`get_scale_min_k4`).
pub(crate) fn scale_and_minimum(scales: &[u8], index: usize) -> (f32, f32) {
    let (scale, minimum) = if index < 4 {
        (scales[index] & 63, scales[index + 4] & 63)
    } else {
        (
            (scales[index + 4] & 15) | ((scales[index - 4] >> 6) << 4),
            (scales[index + 4] >> 4) | ((scales[index] >> 6) << 4),
        )
    };
    (f32::from(scale), f32::from(minimum))
}

fn unpack_q4_k(block: &[u8], values: &mut [f32]) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    let (scales, codes) = (&block[4..16], &block[16..]);
    for (pair, (codes, values)) in codes.chunks(32).zip(values.chunks_mut(64)).enumerate() {
        let (low, high) = values.split_at_mut(32);
        let (s, m) = scale_and_minimum(scales, 2 * pair);
        let (s2, m2) = scale_and_minimum(scales, 2 * pair + 1);
        for (i, &byte) in codes.iter().enumerate() {
            low[i] = scale * s * f32::from(byte & 15) - minimum * m;
            high[i] = scale * s2 * f32::from(byte >> 4) - minimum * m2;
        }
    }
}

fn unpack_q5_k(block: &[u8], values: &mut [f32]) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    let (scales, high_bits, codes) = (&block[4..16], &block[16..48], &block[48..]);
    for (pair, (codes, values)) in codes.chunks(32).zip(values.chunks_mut(64)).enumerate() {
        let (low, high) = values.split_at_mut(32);
        let (s, m) = scale_and_minimum(scales, 2 * pair);
        let (s2, m2) = scale_and_minimum(scales, 2 * pair + 1);
        for (i, &byte) in codes.iter().enumerate() {
            let fifth = high_bits[i] >> (2 * pair);
            low[i] = scale * s * f32::from((byte & 15) | ((fifth & 1) << 4)) - minimum * m;
            high[i] = scale * s2 * f32::from((byte >> 4) | ((fifth & 2) << 3)) - minimum * m2;
        }
    }
}

fn unpack_q6_k(block: &[u8], values: &mut [f32]) {
    let scale = half_at(block, 208);
    for (half, values) in values.chunks_mut(128).enumerate() {
        let low = &block[64 * half..][..64];
        let high = &block[128 + 32 * half..][..32];
        let scales = &block[192 + 8 * half..][..8];
        for i in 0..32 {
            let quarters = [
                (low[i] & 15) | ((high[i] & 3) << 4),
                (low[i + 32] & 15) | (((high[i] >> 2) & 3) << 4),
                (low[i] >> 4) | (((high[i] >> 4) & 3) << 4),
                (low[i + 32] >> 4) | ((high[i] >> 6) << 4),
            ];
            for (quarter, code) in quarters.into_iter().enumerate() {
                let step = scale * f32::from(scales[i / 16 + 2 * quarter].cast_signed());
                values[i + 32 * quarter] = step * (f32::from(code) - 32.0);
            }
        }
    }
}
