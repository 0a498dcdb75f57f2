//! Plain floats of a file, as what is quantised: rounded first to the type in which transformers would
//! hold the model.

use half::{bf16, f16};
use wire::model::DType;

use crate::weights::Format;

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

impl Source<'_> {
    /// Number of values.
    pub fn values(&self) -> usize {
        self.bytes.len() / self.format.block_bytes()
    }

    /// Values `start..start + out.len()`, rounded.
    pub fn read(&self, start: usize, out: &mut [f32]) {
        let size = self.format.block_bytes();
        self.format
            .unpack(&self.bytes[start * size..][..out.len() * size], out);
        if self.format != format_of(self.dtype) {
            round(out, self.dtype);
        }
    }

    /// All values, rounded, as bytes of the type.
    pub fn converted(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.values() * format_of(self.dtype).block_bytes());
        let mut part = [0.0; 1024];
        for start in (0..self.values()).step_by(part.len()) {
            let part = &mut part[..(self.values() - start).min(1024)];
            self.read(start, part);
            for &value in &*part {
                match self.dtype {
                    DType::F32 => out.extend(value.to_le_bytes()),
                    DType::F16 => out.extend(f16::from_f32(value).to_le_bytes()),
                    DType::BF16 => out.extend(bf16::from_f32(value).to_le_bytes()),
                }
            }
        }
        out
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
pub(super) fn round(values: &mut [f32], dtype: DType) {
    match dtype {
        DType::F32 => {}
        DType::F16 => values
            .iter_mut()
            .for_each(|value| *value = f16::from_f32(*value).to_f32()),
        DType::BF16 => values
            .iter_mut()
            .for_each(|value| *value = bf16::from_f32(*value).to_f32()),
    }
}
