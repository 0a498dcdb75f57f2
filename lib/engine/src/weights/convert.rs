//! Weights that change their form while they are read: quantised by a plan, or rounded to its type.
//! A tensor is computed part by part as it comes from the file, so that loading takes no more memory
//! than the result; only one that the file holds transposed is in memory as a whole.

use std::sync::Arc;

use wire::{
    Failure,
    model::{DType, QuantizationMethod},
};

use super::{Format, Loader, Weights, reader::each_part};
use crate::{
    bitsandbytes::{
        EightBitParts, FourBit, FourBitParts, Module, Plan, Source, load_4bit, load_8bit,
    },
    failures,
    kernels::Matrix,
    layers::Weight,
};

/// Values of a part that is rounded.
const PART: usize = 1 << 16;

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

/// A tensor that is computed from: its name, its shape in the model, and whether the file holds it
/// transposed.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'n> {
    pub name: &'n str,
    pub shape: (usize, usize),
    pub turned: bool,
}

impl Loader<'_> {
    /// The weight of a linear layer: stored quantised, quantised now, or as it is.
    pub(super) fn weight(
        &mut self,
        name: &str,
        shape: (usize, usize),
        turned: bool,
    ) -> Result<Arc<dyn Weight>, Failure> {
        let tensor = format!("{name}.weight");
        let Some(plan) = self.plan.clone() else {
            return Ok(Arc::new(self.matrix(&tensor, shape, turned)?));
        };
        let method = &plan.quantization.method;
        let weight: Arc<dyn Weight> = match Module::find(self, name) {
            Some(Module::FourBit(state)) => {
                let compute = match method {
                    QuantizationMethod::FourBit { compute_dtype, .. } => *compute_dtype,
                    QuantizationMethod::EightBit { .. } => DType::F32,
                };
                Arc::new(load_4bit(self, (name, &state), shape, compute)?)
            }
            Some(Module::EightBit) => {
                let threshold = match method {
                    QuantizationMethod::EightBit { threshold } => threshold.0,
                    QuantizationMethod::FourBit { .. } => 0.0,
                };
                Arc::new(load_8bit(self, name, shape, threshold)?)
            }
            None if plan.stored || !plan.converts(name) => {
                return Ok(Arc::new(self.matrix(&tensor, shape, turned)?));
            }
            None => {
                let name = &tensor;
                let wanted = Wanted {
                    name,
                    shape,
                    turned,
                };
                self.quantized(wanted, &plan)?
            }
        };
        self.kept += weight.bytes() as u64;
        Ok(weight)
    }

    fn quantized(&mut self, wanted: Wanted, plan: &Plan) -> Result<Arc<dyn Weight>, Failure> {
        let shape = wanted.shape;
        Ok(match plan.quantization.method {
            QuantizationMethod::FourBit {
                kind,
                double_quant,
                compute_dtype,
            } => {
                let mut whole = FourBitParts::new(shape.0 * shape.1, kind);
                let mut parts = whole.parts();
                let size = FourBitParts::PART;
                self.each_source(wanted, (plan.dtype, size), &mut parts, |part, source| {
                    part.fill(source);
                })?;
                let values = whole.finish(double_quant);
                Arc::new(FourBit::quantized(shape, values, kind, compute_dtype))
            }
            QuantizationMethod::EightBit { threshold } => {
                let mut whole = EightBitParts::new(shape);
                let size = whole.part();
                let mut parts = whole.parts();
                self.each_source(wanted, (plan.dtype, size), &mut parts, |part, source| {
                    part.fill(source);
                })?;
                Arc::new(whole.finish(threshold.0))
            }
        })
    }

    /// A matrix of `shape` `(out_features, in_features)`, in the format it is stored in, or in the
    /// type of the plan where there is one. The file may hold it transposed.
    pub(super) fn matrix(
        &mut self,
        name: &str,
        shape: (usize, usize),
        turned: bool,
    ) -> Result<Matrix, Failure> {
        let stored = self.reader.weights.tensors.get(name);
        let stored = stored.map(|entry| entry.format);
        let (format, bytes) = match &self.plan {
            Some(plan) if stored.is_some_and(|format| format != plan.format()) => {
                let (dtype, format) = (plan.dtype, plan.format());
                let width = format.block_bytes();
                let mut bytes = vec![0; shape.0 * shape.1 * width];
                let mut parts: Vec<&mut [u8]> = bytes.chunks_mut(PART * width).collect();
                let wanted = Wanted {
                    name,
                    shape,
                    turned,
                };
                self.each_source(wanted, (dtype, PART), &mut parts, |part, source| {
                    source.convert(part);
                })?;
                (format, bytes)
            }
            _ if turned => self.read_turned(name, shape)?,
            _ => {
                let entry = self.entry(name, &[shape.0, shape.1])?;
                (entry.format, self.reader.read(entry)?)
            }
        };
        self.kept += bytes.len() as u64;
        Matrix::new(format, shape.0, shape.1, bytes).map_err(failures::internal)
    }

    /// Hands the values of a tensor of plain floats to `work`, `size` values with each of `parts`, on
    /// all cores.
    fn each_source<T: Send>(
        &mut self,
        wanted: Wanted,
        (dtype, size): (DType, usize),
        parts: &mut [T],
        work: impl Fn(&mut T, Source<'_>) + Sync,
    ) -> Result<(), Failure> {
        let Wanted {
            name,
            shape,
            turned,
        } = wanted;
        if turned {
            let (format, bytes) = self.read_turned(name, shape)?;
            self.check_plain(name, format)?;
            let work = |part: &mut T, bytes: &[u8]| {
                work(
                    part,
                    Source {
                        format,
                        bytes,
                        dtype,
                    },
                )
            };
            each_part(&bytes, size * format.block_bytes(), parts, work);
            return Ok(());
        }
        let entry = self.entry(name, &[shape.0, shape.1])?;
        let format = entry.format;
        self.check_plain(name, format)?;
        let work = |part: &mut T, bytes: &[u8]| {
            work(
                part,
                Source {
                    format,
                    bytes,
                    dtype,
                },
            )
        };
        let size = size * format.block_bytes();
        self.reader.read_parts(entry, size, parts, work)
    }

    /// A tensor of plain floats, the other way round where the file has it `turned`.
    pub(crate) fn source(
        &mut self,
        name: &str,
        dtype: DType,
        turned: bool,
    ) -> Result<Floats, Failure> {
        let weights: &Weights = self.reader.weights;
        let shape = weights.tensors.get(name).map(|entry| &entry.shape[..]);
        let (format, bytes) = match shape {
            Some(&[rows, columns]) if turned => self.read_turned(name, (columns, rows))?,
            shape => {
                let entry = self.entry(name, shape.unwrap_or_default())?;
                (entry.format, self.reader.read(entry)?)
            }
        };
        self.check_plain(name, format)?;
        Ok(Floats {
            format,
            bytes,
            dtype,
        })
    }

    fn check_plain(&self, name: &str, format: Format) -> Result<(), Failure> {
        if matches!(format, Format::F32 | Format::F16 | Format::BF16) {
            return Ok(());
        }
        Err(failures::unsupported(format!(
            "cannot quantise `{}`: tensor `{name}` is {}",
            self.reader.subject,
            format.name()
        )))
    }
}
