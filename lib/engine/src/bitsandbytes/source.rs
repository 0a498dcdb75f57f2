//! Plain floats of a file, as what is quantised: rounded first to the type in which transformers would
//! hold the model.

use half::{bf16, f16, slice::HalfFloatSliceExt};
use rayon::prelude::*;
use wire::model::DType;

use crate::{kernels::primitives, weights::Format};

/// Values that are rounded at once.
const CONVERTED_AT_ONCE: usize = 1024;

/// Values as a file has them, and the type that they are rounded to before use.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// F32, F16 or BF16.
    pub format: Format,
    /// The values.
    pub bytes: &'a [u8],
    /// The type that transformers loads them as.
    pub dtype: DType,
}

impl<'a> Source<'a> {
    /// Number of values.
    pub fn values(&self) -> usize {
        self.bytes.len() / self.format.block_bytes()
    }

    /// Stretches of `size` values; the last may be shorter.
    pub(crate) fn parts(self, size: usize) -> impl IndexedParallelIterator<Item = Source<'a>> {
        let parts = self
            .bytes
            .par_chunks(size.max(1) * self.format.block_bytes());
        parts.map(move |bytes| Source { bytes, ..self })
    }

    /// Values `start..start + out.len()`, rounded.
    pub fn read(&self, start: usize, out: &mut [f32]) {
        let size = self.format.block_bytes();
        let bytes = &self.bytes[start * size..][..out.len() * size];
        (primitives().unpack)(self.format, bytes, out);
        if self.format != format_of(self.dtype) {
            round(out, self.dtype);
        }
    }

    /// All values, rounded, as bytes of the type.
    pub fn converted(&self) -> Vec<u8> {
        let mut out = vec![0; self.values() * format_of(self.dtype).block_bytes()];
        let width = CONVERTED_AT_ONCE * format_of(self.dtype).block_bytes();
        self.parts(CONVERTED_AT_ONCE)
            .zip(out.par_chunks_mut(width))
            .for_each(|(part, out)| part.convert(out));
        out
    }

    /// The same into bytes of the right length, on this thread.
    pub fn convert(&self, out: &mut [u8]) {
        let width = format_of(self.dtype).block_bytes();
        let mut part = [0.0; CONVERTED_AT_ONCE];
        for (index, out) in out.chunks_mut(CONVERTED_AT_ONCE * width).enumerate() {
            let part = &mut part[..out.len() / width];
            self.read(index * CONVERTED_AT_ONCE, part);
            match self.dtype {
                DType::F32 => pack(part, out, f32::to_le_bytes),
                DType::F16 => pack(part, out, |value| f16::from_f32(value).to_le_bytes()),
                DType::BF16 => pack(part, out, |value| bf16::from_f32(value).to_le_bytes()),
            }
        }
    }
}

fn pack<const N: usize>(values: &[f32], out: &mut [u8], bytes: impl Fn(f32) -> [u8; N]) {
    for (out, &value) in out.as_chunks_mut::<N>().0.iter_mut().zip(values) {
        *out = bytes(value);
    }
}

/// How values of a type are stored.
pub(super) fn format_of(dtype: DType) -> Format {
    match dtype {
        DType::F32 => Format::F32,
        DType::F16 => Format::F16,
        DType::BF16 => Format::BF16,
    }
}

/// Rounds to the nearest values of a type, ties to even.
pub(crate) fn round(values: &mut [f32], dtype: DType) {
    match dtype {
        DType::F32 => {}
        DType::F16 => {
            let mut halves = [f16::ZERO; 64];
            for values in values.chunks_mut(halves.len()) {
                let halves = &mut halves[..values.len()];
                halves.convert_from_f32_slice(values);
                halves.convert_to_f32_slice(values);
            }
        }
        DType::BF16 => values
            .iter_mut()
            .for_each(|value| *value = round_brain(*value)),
    }
}

/// `bf16::from_f32` and back.
fn round_brain(value: f32) -> f32 {
    f32::from_bits(brain_bits(value) & 0xffff_0000)
}

/// The bits of `bf16::from_f32` in the upper half, without its branches, which would keep vectors out.
#[inline]
pub(crate) fn brain_bits(value: f32) -> u32 {
    let bits = value.to_bits();
    let near = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
    if value.is_nan() {
        bits | 0x40_0000
    } else {
        near
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_that_of_the_types() {
        // Every high half, with low halves on both sides of a tie and on it.
        for high in 0..=u32::from(u16::MAX) {
            for low in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let value = f32::from_bits(high << 16 | low);
                let expected = bf16::from_f32(value).to_f32();
                assert_eq!(
                    round_brain(value).to_bits(),
                    expected.to_bits(),
                    "{value:e}"
                );
                let mut rounded = [value; 3];
                round(&mut rounded, DType::F16);
                let expected = f16::from_f32(value).to_f32();
                assert_eq!(
                    rounded.map(f32::to_bits),
                    [expected.to_bits(); 3],
                    "{value:e}"
                );
            }
        }
    }
}
