//! Reads tensors into memory, each once, with progress and a look at the cancel flag between pieces;
//! hands them out as the layers that models are built of.

use std::os::unix::fs::FileExt;

use candle_core::{Device, Tensor};
use wire::{
    Failure, FailureKind,
    host::{Event, Progress, Stage},
};

use super::{TensorEntry, Weights};
use crate::{
    Cancel, failures,
    kernels::Matrix,
    layers::{Embedding, Linear, RmsNorm},
};

/// Bytes read between two looks at the cancel flag.
const PIECE: usize = 8 << 20;

/// Builds layers from the tensors of a [`Weights`].
pub struct Loader<'a> {
    weights: &'a Weights,
    subject: String,
    done: u64,
    cancel: &'a Cancel,
    sink: &'a mut dyn FnMut(Event),
}

impl<'a> Loader<'a> {
    /// A loader that reports its progress on `subject` to `sink`.
    pub fn new(
        weights: &'a Weights,
        subject: &str,
        cancel: &'a Cancel,
        sink: &'a mut dyn FnMut(Event),
    ) -> Self {
        Self {
            weights,
            subject: subject.to_owned(),
            done: 0,
            cancel,
            sink,
        }
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.weights.tensors.contains_key(name)
    }

    /// A matrix of `shape` `(out_features, in_features)`, in the format it is stored in.
    pub fn matrix(&mut self, name: &str, shape: (usize, usize)) -> Result<Matrix, Failure> {
        let entry = self.entry(name, &[shape.0, shape.1])?;
        let bytes = self.read(entry)?;
        Matrix::new(entry.format, shape.0, shape.1, bytes).map_err(failures::internal)
    }

    /// A vector of `size` values, as f32.
    pub fn vector(&mut self, name: &str, size: usize) -> Result<Tensor, Failure> {
        let entry = self.entry(name, &[size])?;
        let bytes = self.read(entry)?;
        let mut values = vec![0.0; size];
        entry.format.unpack(&bytes, &mut values);
        Tensor::from_vec(values, size, &Device::Cpu).map_err(failures::internal)
    }

    /// A linear layer from `{name}.weight` and, where the file has one, `{name}.bias`.
    pub fn linear(&mut self, name: &str, shape: (usize, usize)) -> Result<Linear, Failure> {
        let weight = self.matrix(&format!("{name}.weight"), shape)?;
        let bias_name = format!("{name}.bias");
        let bias = if self.has(&bias_name) {
            Some(self.vector(&bias_name, shape.0)?)
        } else {
            None
        };
        Ok(Linear::new(weight, bias))
    }

    /// An embedding from `{name}.weight`, of shape `(vocabulary, hidden)`.
    pub fn embedding(&mut self, name: &str, shape: (usize, usize)) -> Result<Embedding, Failure> {
        Ok(Embedding::new(
            self.matrix(&format!("{name}.weight"), shape)?,
        ))
    }

    /// An RMS norm from `{name}.weight`.
    pub fn rms_norm(&mut self, name: &str, size: usize, epsilon: f64) -> Result<RmsNorm, Failure> {
        let weight = self.vector(&format!("{name}.weight"), size)?;
        Ok(RmsNorm::new(weight, epsilon))
    }

    fn entry(&self, name: &str, shape: &[usize]) -> Result<&'a TensorEntry, Failure> {
        let weights: &'a Weights = self.weights;
        let Some(entry) = weights.tensors.get(name) else {
            return Err(Failure::new(
                FailureKind::Corrupt,
                format!("cannot load `{}`: tensor `{name}` is missing", self.subject),
            )
            .hint("the file is incomplete, or its weights are of another architecture"));
        };
        if entry.shape != shape {
            return Err(Failure::new(
                FailureKind::Corrupt,
                format!(
                    "cannot load `{}`: tensor `{name}` has shape {:?}, its configuration says {shape:?}",
                    self.subject, entry.shape
                ),
            ));
        }
        Ok(entry)
    }

    fn read(&mut self, entry: &TensorEntry) -> Result<Vec<u8>, Failure> {
        let Some(strides) = &entry.strides else {
            return self.read_span(entry, entry.bytes as usize);
        };
        // A view into a storage: from its first value to its last, then in order.
        let size = entry.format.block_bytes();
        let last: usize = entry
            .shape
            .iter()
            .zip(strides)
            .map(|(&size, &stride)| size.saturating_sub(1) * stride)
            .sum();
        let span = self.read_span(entry, (last + 1) * size)?;
        self.done = (self.done + entry.bytes).saturating_sub(span.len() as u64);
        Ok(in_order(&span, (&entry.shape, strides), size))
    }

    fn read_span(&mut self, entry: &TensorEntry, length: usize) -> Result<Vec<u8>, Failure> {
        let (path, file) = &self.weights.files[entry.file];
        let mut bytes = vec![0; length];
        let mut offset = entry.offset;
        for piece in bytes.chunks_mut(PIECE) {
            self.cancel.check()?;
            file.read_exact_at(piece, offset)
                .map_err(|error| failures::io(path, &error))?;
            offset += piece.len() as u64;
            self.done += piece.len() as u64;
            (self.sink)(Event::Progress(Progress {
                stage: Stage::Load,
                subject: self.subject.clone(),
                done: self.done,
                total: Some(self.weights.bytes()),
            }));
        }
        Ok(bytes)
    }
}

/// The values of a view, each of `size` bytes, one after the other.
fn in_order(span: &[u8], (shape, strides): (&[usize], &[usize]), size: usize) -> Vec<u8> {
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
