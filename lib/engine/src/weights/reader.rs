//! Bytes of tensors out of their files, with progress, and a look at the cancel flag between stretches.
//! Large tensors are read on all cores; what is computed from one can be computed part by part, so
//! that it is never in memory as a whole. What the bytes mean is the loader's matter.

use std::os::unix::fs::FileExt;

use rayon::prelude::*;
use wire::{
    Failure,
    host::{Event, Progress, Stage},
};

use super::{TensorEntry, Weights};
use crate::{Cancel, failures};

/// Bytes read between two looks at the cancel flag.
const STRETCH: usize = 8 << 20;
/// Bytes that one job reads, where nothing is computed from them.
const PART: usize = 1 << 20;

/// Reads the tensors of a [`Weights`].
pub(super) struct Reader<'a> {
    pub weights: &'a Weights,
    /// What progress calls the model.
    pub subject: String,
    /// What it calls the reading.
    pub stage: Stage,
    /// Bytes that were read.
    pub done: u64,
    pub cancel: &'a Cancel,
    pub sink: &'a mut dyn FnMut(Event),
}

impl Reader<'_> {
    /// All bytes of a tensor, in the order of its values.
    pub fn read(&mut self, entry: &TensorEntry) -> Result<Vec<u8>, Failure> {
        let bytes = self.read_stored(entry)?;
        Ok(if entry.doubles { single(&bytes) } else { bytes })
    }

    /// The same as the file has them.
    fn read_stored(&mut self, entry: &TensorEntry) -> Result<Vec<u8>, Failure> {
        let size = entry.stored_block();
        let length = match &entry.strides {
            None => entry.stored_bytes() as usize,
            // A view into a storage: from its first value to its last, then in order.
            Some(strides) => {
                let sizes = entry.shape.iter().zip(strides);
                let places = sizes.map(|(&size, &stride)| size.saturating_sub(1) * stride);
                (places.sum::<usize>() + 1) * size
            }
        };
        let span = self.read_span(entry, length)?;
        self.done = (self.done + entry.bytes).saturating_sub(span.len() as u64);
        Ok(match &entry.strides {
            None => span,
            Some(strides) => in_order(&span, (&entry.shape, strides), size),
        })
    }

    /// Hands the bytes of a tensor to `work` in parts of `size` (the last may be shorter), each with
    /// one of `targets`, on all cores.
    pub fn read_parts<T: Send>(
        &mut self,
        entry: &TensorEntry,
        size: usize,
        targets: &mut [T],
        work: impl Fn(&mut T, &[u8]) + Sync,
    ) -> Result<(), Failure> {
        if entry.strides.is_some() || entry.doubles {
            let bytes = self.read(entry)?;
            each_part(&bytes, size, targets, work);
            return Ok(());
        }
        let (path, file) = &self.weights.files[entry.file];
        let (total, count) = (entry.bytes as usize, (STRETCH / size).max(1));
        for (stretch, targets) in targets.chunks_mut(count).enumerate() {
            self.cancel.check()?;
            let start = stretch * count * size;
            let read = |buffer: &mut Vec<u8>, (number, target): (usize, &mut T)| {
                let at = start + number * size;
                buffer.resize(size.min(total - at), 0);
                file.read_exact_at(buffer, entry.offset + at as u64)?;
                work(target, buffer);
                Ok(())
            };
            let parts = targets.par_iter_mut().enumerate();
            parts
                .try_for_each_init(Vec::new, read)
                .map_err(|error| failures::io(path, &error))?;
            self.progress((count * size).min(total - start));
        }
        Ok(())
    }

    fn read_span(&mut self, entry: &TensorEntry, length: usize) -> Result<Vec<u8>, Failure> {
        let (path, file) = &self.weights.files[entry.file];
        let mut bytes = vec![0; length];
        for (stretch, bytes) in bytes.chunks_mut(STRETCH).enumerate() {
            self.cancel.check()?;
            let start = entry.offset + (stretch * STRETCH) as u64;
            let parts = bytes.par_chunks_mut(PART).enumerate();
            parts
                .try_for_each(|(number, part)| {
                    file.read_exact_at(part, start + (number * PART) as u64)
                })
                .map_err(|error| failures::io(path, &error))?;
            self.progress(bytes.len());
        }
        Ok(bytes)
    }

    fn progress(&mut self, bytes: usize) {
        self.done += bytes as u64;
        let total = self.weights.bytes();
        (self.sink)(Event::Progress(Progress {
            stage: self.stage,
            subject: self.subject.clone(),
            // Where a head is tied to the embedding and on another device, its bytes are read again.
            done: self.done.min(total),
            total: Some(total),
        }));
    }
}

/// The same as [`Reader::read_parts`] of what is in memory.
pub(crate) fn each_part<T: Send>(
    bytes: &[u8],
    size: usize,
    targets: &mut [T],
    work: impl Fn(&mut T, &[u8]) + Sync,
) {
    let parts = bytes.par_chunks(size).zip(targets);
    parts.for_each(|(part, target)| work(target, part));
}

/// The nearest f32 of each f64.
fn single(bytes: &[u8]) -> Vec<u8> {
    let (values, _) = bytes.as_chunks::<8>();
    let singles = values
        .iter()
        .flat_map(|&value| (f64::from_le_bytes(value) as f32).to_le_bytes());
    singles.collect()
}

/// The values of a view, each of `size` bytes, one after the other.
pub(super) fn in_order(
    span: &[u8],
    (shape, strides): (&[usize], &[usize]),
    size: usize,
) -> Vec<u8> {
    let values: usize = shape.iter().product();
    let mut bytes = Vec::with_capacity(values * size);
    let mut index = vec![0; shape.len()];
    let mut place = 0;
    for _ in 0..values {
        bytes.extend_from_slice(&span[place * size..][..size]);
        // The next index, as an odometer counts.
        for dimension in (0..shape.len()).rev() {
            index[dimension] += 1;
            place += strides[dimension];
            if index[dimension] < shape[dimension] {
                break;
            }
            place -= index[dimension] * strides[dimension];
            index[dimension] = 0;
        }
    }
    bytes
}
