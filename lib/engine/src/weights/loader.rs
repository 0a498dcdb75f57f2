//! Reads tensors into memory, each once, with progress and a look at the cancel flag between pieces;
//! hands them out as the layers that models are built of.

use std::{os::unix::fs::FileExt, sync::Arc};

use candle_core::{Device, Tensor};
use wire::{
    Failure, FailureKind,
    host::{Event, Progress, Stage},
    model::{DType, QuantizationMethod},
};

use super::{Format, TensorEntry, Weights};
use crate::{
    Cancel,
    bitsandbytes::{EightBit, FourBit, Module, Plan, Source, load_4bit, load_8bit},
    failures,
    kernels::Matrix,
    layers::{Embedding, LayerNorm, Linear, RmsNorm, Weight},
};

/// Bytes read between two looks at the cancel flag.
const PIECE: usize = 8 << 20;

/// Builds layers from the tensors of a [`Weights`].
pub struct Loader<'a> {
    weights: &'a Weights,
    subject: String,
    done: u64,
    /// Bytes that the layers take which were handed out.
    kept: u64,
    plan: Option<Plan>,
    cancel: &'a Cancel,
    sink: &'a mut dyn FnMut(Event),
}

/// A tensor of plain floats in memory.
pub(crate) struct Floats {
    format: Format,
    bytes: Vec<u8>,
    dtype: DType,
}

impl Floats {
    /// Its values, for quantisation.
    pub fn as_source(&self) -> Source<'_> {
        Source {
            format: self.format,
            bytes: &self.bytes,
            dtype: self.dtype,
        }
    }
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
            kept: 0,
            plan: None,
            cancel,
            sink,
        }
    }

    /// The same loader, which quantises by a plan.
    #[must_use]
    pub fn with_plan(mut self, plan: Option<&Plan>) -> Self {
        self.plan = plan.cloned();
        self
    }

    /// Bytes of the model: those of the files, or what is left of them after quantisation.
    pub fn bytes(&self) -> u64 {
        match self.plan {
            Some(_) => self.kept,
            None => self.weights.bytes(),
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
        self.dense(entry.format, shape, bytes)
    }

    /// A matrix of what was read, in the type of the plan where there is one.
    fn dense(
        &mut self,
        format: Format,
        shape: (usize, usize),
        bytes: Vec<u8>,
    ) -> Result<Matrix, Failure> {
        let (format, bytes) = match &self.plan {
            Some(plan) if format != plan.format() => {
                let source = Source {
                    format,
                    bytes: &bytes,
                    dtype: plan.dtype,
                };
                (plan.format(), source.converted())
            }
            _ => (format, bytes),
        };
        self.kept += bytes.len() as u64;
        Matrix::new(format, shape.0, shape.1, bytes).map_err(failures::internal)
    }

    /// The bytes of a matrix of `shape` that the file holds the other way round, `(in_features,
    /// out_features)`, as GPT-2's `Conv1D` does. Fails on formats that pack several values of a row.
    fn read_turned(
        &mut self,
        name: &str,
        shape: (usize, usize),
    ) -> Result<(Format, Vec<u8>), Failure> {
        let entry = self.entry(name, &[shape.1, shape.0])?;
        if entry.format.block_values() != 1 {
            return Err(failures::unsupported(format!(
                "cannot load `{}`: tensor `{name}` is {} and would have to be transposed",
                self.subject,
                entry.format.name()
            )));
        }
        let bytes = self.read(entry)?;
        let turned = in_order(
            &bytes,
            (&[shape.0, shape.1], &[1, shape.0]),
            entry.format.block_bytes(),
        );
        Ok((entry.format, turned))
    }

    /// A tensor of plain floats, the other way round where the file has it `turned`.
    pub(crate) fn source(
        &mut self,
        name: &str,
        dtype: DType,
        turned: bool,
    ) -> Result<Floats, Failure> {
        let weights: &'a Weights = self.weights;
        let shape = weights.tensors.get(name).map(|entry| &entry.shape[..]);
        let (format, bytes) = match shape {
            Some(&[rows, columns]) if turned => self.read_turned(name, (columns, rows))?,
            shape => {
                let entry = self.entry(name, shape.unwrap_or_default())?;
                (entry.format, self.read(entry)?)
            }
        };
        if !matches!(format, Format::F32 | Format::F16 | Format::BF16) {
            return Err(failures::unsupported(format!(
                "cannot quantise `{}`: tensor `{name}` is {}",
                self.subject,
                format.name()
            )));
        }
        Ok(Floats {
            format,
            bytes,
            dtype,
        })
    }

    /// The bytes of a tensor, whatever they mean.
    pub(crate) fn bytes_of(&mut self, name: &str) -> Result<Vec<u8>, Failure> {
        let weights: &'a Weights = self.weights;
        let entry = weights
            .tensors
            .get(name)
            .ok_or_else(|| self.missing(name))?;
        self.read(entry)
    }

    /// The values of a tensor of f32.
    pub(crate) fn floats_of(&mut self, name: &str) -> Result<Vec<f32>, Failure> {
        let bytes = self.bytes_of(name)?;
        let (values, _) = bytes.as_chunks::<4>();
        Ok(values
            .iter()
            .map(|value| f32::from_le_bytes(*value))
            .collect())
    }

    /// Values of `size`, as f32.
    pub fn values(&mut self, name: &str, size: usize) -> Result<Vec<f32>, Failure> {
        let entry = self.entry(name, &[size])?;
        let bytes = self.read(entry)?;
        let mut values = vec![0.0; size];
        entry.format.unpack(&bytes, &mut values);
        if let Some(plan) = &self.plan {
            plan.round(&mut values);
        }
        self.kept += 4 * size as u64;
        Ok(values)
    }

    /// A vector of `size` values, as f32.
    pub fn vector(&mut self, name: &str, size: usize) -> Result<Tensor, Failure> {
        let values = self.values(name, size)?;
        Tensor::from_vec(values, size, &Device::Cpu).map_err(failures::internal)
    }

    /// A linear layer from `{name}.weight` and, where the file has one, `{name}.bias`.
    pub fn linear(&mut self, name: &str, shape: (usize, usize)) -> Result<Linear, Failure> {
        let weight = self.weight(name, shape, false)?;
        let bias = self.bias(name, shape.0)?;
        Ok(Linear::new(weight, bias))
    }

    /// The same from a weight that the file holds as `(in_features, out_features)`.
    pub fn turned_linear(&mut self, name: &str, shape: (usize, usize)) -> Result<Linear, Failure> {
        let weight = self.weight(name, shape, true)?;
        let bias = self.bias(name, shape.0)?;
        Ok(Linear::new(weight, bias))
    }

    /// The weight of a linear layer: stored quantised, quantised now, or as it is.
    fn weight(
        &mut self,
        name: &str,
        shape: (usize, usize),
        turned: bool,
    ) -> Result<Arc<dyn Weight>, Failure> {
        let tensor = format!("{name}.weight");
        let Some(plan) = self.plan.clone() else {
            return Ok(Arc::new(self.plain(&tensor, shape, turned)?));
        };
        let stored = Module::find(self, name);
        let weight: Arc<dyn Weight> = match (stored, &plan.quantization.method) {
            (Some(Module::FourBit(state)), method) => {
                let compute = match method {
                    QuantizationMethod::FourBit { compute_dtype, .. } => *compute_dtype,
                    QuantizationMethod::EightBit { .. } => DType::F32,
                };
                Arc::new(load_4bit(self, (name, &state), shape, compute)?)
            }
            (Some(Module::EightBit), method) => {
                let threshold = match method {
                    QuantizationMethod::EightBit { threshold } => threshold.0,
                    QuantizationMethod::FourBit { .. } => 0.0,
                };
                Arc::new(load_8bit(self, name, shape, threshold)?)
            }
            (None, _) if plan.stored || !plan.converts(name) => {
                return Ok(Arc::new(self.plain(&tensor, shape, turned)?));
            }
            (None, method) => {
                let floats = self.source(&tensor, plan.dtype, turned)?;
                let source = floats.as_source();
                if source.values() != shape.0 * shape.1 {
                    self.entry(&tensor, &[shape.0, shape.1])?;
                }
                match method {
                    QuantizationMethod::FourBit {
                        kind,
                        double_quant,
                        compute_dtype,
                    } => {
                        let how = (*kind, *double_quant, *compute_dtype);
                        Arc::new(FourBit::quantize(shape, source, how))
                    }
                    QuantizationMethod::EightBit { threshold } => {
                        Arc::new(EightBit::quantize(shape, source, threshold.0))
                    }
                }
            }
        };
        self.kept += weight.bytes() as u64;
        Ok(weight)
    }

    fn plain(
        &mut self,
        tensor: &str,
        shape: (usize, usize),
        turned: bool,
    ) -> Result<Matrix, Failure> {
        if !turned {
            return self.matrix(tensor, shape);
        }
        let (format, bytes) = self.read_turned(tensor, shape)?;
        self.dense(format, shape, bytes)
    }

    /// `count` linear layers that lie in one tensor `{name}.weight` `(count, out_features,
    /// in_features)`, as GGUF keeps experts.
    pub fn stacked_linears(
        &mut self,
        name: &str,
        count: usize,
        shape: (usize, usize),
    ) -> Result<Vec<Linear>, Failure> {
        let whole = self.entry(&format!("{name}.weight"), &[count, shape.0, shape.1])?;
        let bytes = whole.bytes / count.max(1) as u64;
        (0..count as u64)
            .map(|index| {
                let part = TensorEntry {
                    offset: whole.offset + index * bytes,
                    bytes,
                    shape: vec![shape.0, shape.1],
                    ..whole.clone()
                };
                let bytes = self.read(&part)?;
                let matrix = Matrix::new(part.format, shape.0, shape.1, bytes);
                Ok(Linear::new(
                    Arc::new(matrix.map_err(failures::internal)?),
                    None,
                ))
            })
            .collect()
    }

    fn bias(&mut self, name: &str, size: usize) -> Result<Option<Tensor>, Failure> {
        let name = format!("{name}.bias");
        self.has(&name)
            .then(|| self.vector(&name, size))
            .transpose()
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

    /// An RMS norm whose file holds the weight less one, as Gemma's checkpoints do.
    pub fn rms_norm_plus_one(
        &mut self,
        name: &str,
        size: usize,
        epsilon: f64,
    ) -> Result<RmsNorm, Failure> {
        let weight = self.vector(&format!("{name}.weight"), size)?;
        let weight = (weight + 1.0).map_err(failures::internal)?;
        Ok(RmsNorm::new(weight, epsilon))
    }

    /// A layer norm from `{name}.weight` and `{name}.bias`.
    pub fn layer_norm(
        &mut self,
        name: &str,
        size: usize,
        epsilon: f64,
    ) -> Result<LayerNorm, Failure> {
        let weight = self.vector(&format!("{name}.weight"), size)?;
        let bias = self.vector(&format!("{name}.bias"), size)?;
        Ok(LayerNorm::new(weight, bias, epsilon))
    }

    fn entry(&self, name: &str, shape: &[usize]) -> Result<&'a TensorEntry, Failure> {
        let weights: &'a Weights = self.weights;
        let Some(entry) = weights.tensors.get(name) else {
            return Err(self.missing(name));
        };
        if entry.format == Format::Byte {
            return Err(failures::unsupported(format!(
                "cannot load `{}`: tensor `{name}` holds bytes and nothing says what they mean",
                self.subject
            )));
        }
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

    fn missing(&self, name: &str) -> Failure {
        let message = format!("cannot load `{}`: tensor `{name}` is missing", self.subject);
        Failure::new(FailureKind::Corrupt, message)
            .hint("the file is incomplete, or its weights are of another architecture")
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
