//! Quantised weights of a tensor beside the values that they were made of: the squares of both, and
//! where the values lie in their blocks. A tensor is taken in stretches, on all cores.

use candle_core::Result;
use rayon::prelude::*;
use wire::model::DType;

use crate::{
    bitsandbytes::{Quantized4, Source, unpack_8bit},
    kernels::BLOCK,
    weights::{Format, quantize_blocks},
};

/// Parts of [-1, 1] in which values are counted.
pub const BINS: usize = 80;
/// Values of a stretch, about: a whole number of blocks of any kind.
const STRETCH: usize = 1 << 16;

/// What is known of a tensor, or of several together.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Sum of the squares of what quantisation changed.
    error: f64,
    /// Sum of the squares of the values.
    square: f64,
    /// How many values have each code of 4 bits.
    pub codes: [u64; 16],
    /// How many values, over the largest magnitude of their block or row, are in each part of
    /// [-1, 1]; empty where that was not counted.
    pub histogram: Vec<u64>,
}

impl Comparison {
    /// Root of the mean squared error over the root of the mean square.
    pub fn relative_rmse(&self) -> f64 {
        if self.square > 0.0 {
            (self.error / self.square).sqrt()
        } else {
            0.0
        }
    }

    /// Of values whose codes are all that is known.
    pub fn of_codes(codes: [u64; 16]) -> Self {
        Self {
            codes,
            ..Self::default()
        }
    }

    /// Adds another's sums and counts.
    pub fn add(&mut self, other: &Self) {
        self.error += other.error;
        self.square += other.square;
        add_counts(&mut self.codes, &other.codes);
        self.histogram
            .resize(self.histogram.len().max(other.histogram.len()), 0);
        add_counts(&mut self.histogram, &other.histogram);
    }

    fn value(&mut self, value: f32, quantized: f32) {
        let (value, quantized) = (f64::from(value), f64::from(quantized));
        self.error += (value - quantized).powi(2);
        self.square += value.powi(2);
    }

    /// Counts the values of a block by their place in it.
    fn places(&mut self, block: &[f32]) {
        self.histogram.resize(BINS, 0);
        let largest = block
            .iter()
            .fold(0.0, |most: f32, value| most.max(value.abs()));
        for value in block {
            let place = if largest > 0.0 { value / largest } else { 0.0 };
            let bin = f64::midpoint(f64::from(place), 1.0) * BINS as f64;
            self.histogram[(bin as usize).min(BINS - 1)] += 1;
        }
    }
}

fn add_counts(counts: &mut [u64], more: &[u64]) {
    for (count, more) in counts.iter_mut().zip(more) {
        *count += more;
    }
}

/// Values beside their 4 bits, in blocks of 64. `book` has the value of each code.
pub fn four_bits(source: Source<'_>, quantized: &Quantized4, book: &[f32; 16]) -> Comparison {
    stretches(source, STRETCH, |start, values, comparison| {
        for (index, block) in values.chunks(BLOCK).enumerate() {
            let first = start + index * BLOCK;
            let scale = quantized.absmax.get(first / BLOCK);
            for (at, &value) in (first..).zip(block) {
                let code = code_at(&quantized.packed, at);
                comparison.codes[code] += 1;
                comparison.value(value, book[code] * scale);
            }
            comparison.places(block);
        }
    })
}

/// How many of the first `values` have each code of 4 bits.
pub fn count_codes(packed: &[u8], values: usize) -> [u64; 16] {
    let mut codes = [0; 16];
    for at in 0..values.min(packed.len() * 2) {
        codes[code_at(packed, at)] += 1;
    }
    codes
}

/// The first of two codes is in the high half of their byte.
fn code_at(packed: &[u8], at: usize) -> usize {
    let byte = packed[at / 2];
    usize::from(if at.is_multiple_of(2) {
        byte >> 4
    } else {
        byte & 15
    })
}

/// Rows of `columns` values beside their 8 bits.
pub fn eight_bits(
    source: Source<'_>,
    columns: usize,
    (codes, scales): (&[i8], &[f32]),
) -> Comparison {
    let columns = columns.max(1);
    let rows = (STRETCH / columns).max(1);
    stretches(source, rows * columns, |start, values, comparison| {
        for (index, row) in values.chunks(columns).enumerate() {
            let first = start + index * columns;
            let scale = scales[first / columns];
            for (&code, &value) in codes[first..].iter().zip(row) {
                comparison.value(value, unpack_8bit(code, scale));
            }
            comparison.places(row);
        }
    })
}

/// Values beside the blocks of ggml that they become once they are rounded to `dtype`. Fails on a
/// format that has none.
pub fn blocks(source: Source<'_>, dtype: DType, format: Format) -> Result<Comparison> {
    let parts = source.parts(STRETCH).map(|part| {
        let mut values = vec![0.0; part.values()];
        Source { dtype, ..part }.read(0, &mut values);
        let size = values.len() / format.block_values() * format.block_bytes();
        let mut bytes = vec![0; size];
        let mut quantized = vec![0.0; values.len()];
        quantize_blocks(format, values.clone(), &mut bytes)?;
        format.unpack(&bytes, &mut quantized);
        original(part).read(0, &mut values);
        let mut comparison = Comparison::default();
        for (&value, &quantized) in values.iter().zip(&quantized) {
            comparison.value(value, quantized);
        }
        Ok(comparison)
    });
    let parts: Vec<Comparison> = parts.collect::<Result<_>>()?;
    Ok(sum(&parts))
}

/// Hands all values in stretches of `size`, each with its place among them, to `work`.
fn stretches(
    source: Source<'_>,
    size: usize,
    work: impl Fn(usize, &[f32], &mut Comparison) + Sync,
) -> Comparison {
    let parts = source.parts(size).enumerate().map(|(index, part)| {
        let mut values = vec![0.0; part.values()];
        original(part).read(0, &mut values);
        let mut comparison = Comparison::default();
        work(index * size, &values, &mut comparison);
        comparison
    });
    let parts: Vec<Comparison> = parts.collect();
    sum(&parts)
}

/// The values as the file has them, not rounded.
fn original(source: Source<'_>) -> Source<'_> {
    Source {
        dtype: DType::F32,
        ..source
    }
}

/// In the order of the parts, so that the same weights give the same figures.
fn sum(parts: &[Comparison]) -> Comparison {
    let mut all = Comparison::default();
    for part in parts {
        all.add(part);
    }
    all
}
