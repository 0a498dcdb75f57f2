//! Weights that change their form while they are read: quantised by a plan, or rounded to its type.
//! A tensor is computed part by part as it comes from the file, so that loading takes no more memory
//! than the result; only one that the file holds transposed is in memory as a whole.

use std::sync::{Arc, OnceLock};

use candle_core::{Device, Tensor};
use wire::{
    Failure,
    model::{DType, QuantizationMethod},
};

use super::{Format, Loader, Weights, blocks, reader::each_part};
#[cfg(feature = "cuda")]
use crate::{
    bitsandbytes::{Absmax, code_book},
    kernels::BLOCK,
    layers::FourBitForm,
};
use crate::{
    bitsandbytes::{
        EightBit, EightBitParts, FourBit, FourBitParts, Module, Plan, Source, load_4bit, load_8bit,
    },
    failures,
    kernels::Matrix,
    layers::{BlocksOnDevice, FourBitOnDevice, Int8OnDevice, Plain, Weight, serves_on},
};

/// Values of a part that is rounded or packed: a whole number of any format's blocks.
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
        let device = self.placement().device_of(&tensor)?;
        let wanted = Wanted {
            name: &tensor,
            shape,
            turned,
        };
        #[cfg(feature = "cuda")]
        if device.is_cuda()
            && let Some(four_bit) = self.four_bit_on_card(name, wanted, &device)?
        {
            self.kept += four_bit.bytes() as u64;
            return Ok(Arc::new(four_bit));
        }
        if let Some(four_bit) = self.four_bit(name, wanted)? {
            let weight: Arc<dyn Weight> = if serves_on(&device) {
                let placed = FourBitOnDevice::new(&four_bit.nibbles, &device);
                Arc::new(placed.map_err(failures::internal)?)
            } else {
                Arc::new(four_bit)
            };
            self.kept += weight.bytes() as u64;
            return Ok(weight);
        }
        if let Some(eight_bit) = self.eight_bit(name, wanted)? {
            let weight: Arc<dyn Weight> = if serves_on(&device) {
                let placed = Int8OnDevice::new(&eight_bit, &device);
                Arc::new(placed.map_err(failures::internal)?)
            } else {
                Arc::new(eight_bit)
            };
            self.kept += weight.bytes() as u64;
            return Ok(weight);
        }
        if serves_on(&device) {
            return self.placed(wanted, &device);
        }
        if self.plan.is_none()
            && let (false, Some(dense)) = (turned, self.dense(&tensor, shape)?)
        {
            return Ok(Arc::new(dense.in_panels()));
        }
        Ok(Arc::new(self.matrix(&tensor, shape, turned)?))
    }

    /// The weight of a linear layer that the file holds in 4 bits, or that is quantised to them now.
    fn four_bit(&mut self, name: &str, wanted: Wanted) -> Result<Option<FourBit>, Failure> {
        let Some(plan) = self.plan.clone() else {
            return Ok(None);
        };
        match (Module::find(self, name), plan.method()) {
            (Some(Module::FourBit(state)), method) => {
                let compute = match method {
                    Some(QuantizationMethod::FourBit { compute_dtype, .. }) => *compute_dtype,
                    _ => DType::F32,
                };
                load_4bit(self, (name, &state), wanted.shape, compute).map(Some)
            }
            (
                None,
                Some(&QuantizationMethod::FourBit {
                    kind,
                    double_quant,
                    compute_dtype,
                }),
            ) if !plan.stored && plan.converts(name) => {
                let (rows, columns) = wanted.shape;
                let mut whole = FourBitParts::new(rows * columns, kind);
                let mut parts = whole.parts();
                let size = FourBitParts::PART;
                self.each_source(wanted, (plan.dtype, size), &mut parts, |part, source| {
                    part.fill(source);
                })?;
                let values = whole.finish(double_quant);
                let shape = wanted.shape;
                Ok(Some(FourBit::quantized(shape, values, kind, compute_dtype)))
            }
            _ => Ok(None),
        }
    }

    /// A weight that is quantised to 4 bits now, on a card, whose file has it as plain floats; to the bit what
    /// [`Self::four_bit`] makes of it.
    #[cfg(feature = "cuda")]
    fn four_bit_on_card(
        &mut self,
        name: &str,
        wanted: Wanted,
        device: &Device,
    ) -> Result<Option<FourBitOnDevice>, Failure> {
        let Some(plan) = self.plan.clone() else {
            return Ok(None);
        };
        let Some(&QuantizationMethod::FourBit {
            kind,
            double_quant,
            compute_dtype,
        }) = plan.method()
        else {
            return Ok(None);
        };
        if plan.stored || !plan.converts(name) || Module::find(self, name).is_some() {
            return Ok(None);
        }
        let (format, bytes) = if wanted.turned {
            self.read_turned(wanted.name, wanted.shape)?
        } else {
            let entry = self.entry(wanted.name, &[wanted.shape.0, wanted.shape.1])?;
            (entry.format, self.reader.read(entry)?)
        };
        self.check_plain(wanted.name, format)?;
        let placed = crate::cuda::pack_four_bit((format, &bytes), plan.dtype, (kind, device));
        let placed = placed.and_then(|(packed, absmax)| {
            let absmax = if double_quant {
                Absmax::nest(&absmax)
            } else {
                Absmax::Plain(absmax)
            };
            let form = FourBitForm {
                shape: wanted.shape,
                block: BLOCK,
                book: code_book(kind),
                rounding: compute_dtype,
            };
            FourBitOnDevice::of_codes(packed, &absmax, &form)
        });
        placed.map(Some).map_err(failures::internal)
    }

    /// The same in 8 bits.
    fn eight_bit(&mut self, name: &str, wanted: Wanted) -> Result<Option<EightBit>, Failure> {
        let Some(plan) = self.plan.clone() else {
            return Ok(None);
        };
        match (Module::find(self, name), plan.method()) {
            (Some(Module::EightBit), method) => {
                let threshold = match method {
                    Some(QuantizationMethod::EightBit { threshold }) => threshold.0,
                    _ => 0.0,
                };
                load_8bit(self, name, wanted.shape, threshold).map(Some)
            }
            (None, Some(QuantizationMethod::EightBit { threshold }))
                if !plan.stored && plan.converts(name) =>
            {
                let mut whole = EightBitParts::new(wanted.shape);
                let size = whole.part();
                let mut parts = whole.parts();
                self.each_source(wanted, (plan.dtype, size), &mut parts, |part, source| {
                    part.fill(source);
                })?;
                Ok(Some(whole.finish(threshold.0)))
            }
            _ => Ok(None),
        }
    }

    /// A matrix of `shape` `(out_features, in_features)`, in the format it is stored in, or in the
    /// type of the plan where there is one. The file may hold it transposed.
    pub(super) fn matrix(
        &mut self,
        name: &str,
        shape: (usize, usize),
        turned: bool,
    ) -> Result<Matrix, Failure> {
        let wanted = Wanted {
            name,
            shape,
            turned,
        };
        let (format, bytes) = self.stored(wanted)?;
        let matrix = Matrix::new(format, shape.0, shape.1, bytes).map_err(failures::internal)?;
        Ok(matrix.taking(self.activations))
    }

    /// The same on a device that computes by what is composed.
    pub(super) fn placed(
        &mut self,
        wanted: Wanted,
        device: &Device,
    ) -> Result<Arc<dyn Weight>, Failure> {
        let (format, bytes) = self.stored(wanted)?;
        let weight = self.put((format, &bytes), wanted.shape, device);
        weight.map_err(failures::internal)
    }

    /// Values in the format of a file, or in the type of the plan where there is one, put on such a device.
    pub(super) fn put(
        &mut self,
        (format, bytes): (Format, &[u8]),
        shape: (usize, usize),
        device: &Device,
    ) -> candle_core::Result<Arc<dyn Weight>> {
        let dtype = match format {
            Format::F32 => candle_core::DType::F32,
            Format::F16 => candle_core::DType::F16,
            Format::BF16 => candle_core::DType::BF16,
            _ => {
                let blocks =
                    BlocksOnDevice::new((format, bytes), shape, (device, self.block_dtype));
                return Ok(Arc::new(blocks?));
            }
        };
        // What blocks of ggml are not made of stays as the file has it.
        let method = self.plan.as_ref().map(Plan::method);
        if method.is_some_and(|method| !matches!(method, Some(QuantizationMethod::Ggml(_)))) {
            let weight = Tensor::from_raw_buffer(bytes, dtype, &[shape.0, shape.1], device)?;
            return Ok(Arc::new(Plain::new(weight)?));
        }
        // Products are in f32 where no other type was asked for.
        if BlocksOnDevice::takes(format, shape.1) {
            let exact = (device, candle_core::DType::F32);
            let blocks = BlocksOnDevice::new((format, bytes), shape, exact);
            return Ok(Arc::new(blocks?));
        }
        self.widened += 4 * (shape.0 * shape.1) as u64 - bytes.len() as u64;
        // Not on the device, which may have no brain floats.
        let weight = Tensor::from_raw_buffer(bytes, dtype, &[shape.0, shape.1], &Device::Cpu)?;
        let weight = weight.to_dtype(candle_core::DType::F32)?;
        Ok(Arc::new(Plain::new(weight.to_device(device)?)?))
    }

    /// The format that a matrix has in memory, and its values in that.
    fn stored(&mut self, wanted: Wanted) -> Result<(Format, Vec<u8>), Failure> {
        let Wanted {
            name,
            shape,
            turned,
        } = wanted;
        let stored = self.reader.weights.tensors.get(name);
        let stored = stored.map_or(Format::F32, |entry| entry.format);
        let form = self
            .plan
            .as_ref()
            .map(|plan| (plan.dtype_of(name), plan.form(name, shape.1, stored)));
        let (format, bytes) = match form {
            Some((dtype, format)) if format != stored => {
                (format, self.packed(wanted, (dtype, format))?)
            }
            _ if turned => self.read_turned(name, shape)?,
            _ => {
                let entry = self.entry(name, &[shape.0, shape.1])?;
                (entry.format, self.reader.read(entry)?)
            }
        };
        self.kept += bytes.len() as u64;
        Ok((format, bytes))
    }

    /// A matrix of plain floats in another format, which its rows are a whole number of blocks of.
    fn packed(
        &mut self,
        wanted: Wanted,
        (dtype, format): (DType, Format),
    ) -> Result<Vec<u8>, Failure> {
        let values = wanted.shape.0 * wanted.shape.1;
        let bytes_of = |values: usize| values / format.block_values() * format.block_bytes();
        let mut bytes = vec![0; bytes_of(values)];
        let mut parts: Vec<&mut [u8]> = bytes.chunks_mut(bytes_of(PART)).collect();
        if format.block_values() == 1 {
            self.each_source(wanted, (dtype, PART), &mut parts, |part, source| {
                source.convert(part);
            })?;
            return Ok(bytes);
        }
        let failed = OnceLock::new();
        self.each_source(wanted, (dtype, PART), &mut parts, |part, source| {
            let mut values = vec![0.0; source.values()];
            source.read(0, &mut values);
            if let Err(error) = blocks::quantize(format, values, part) {
                let _ = failed.set(error);
            }
        })?;
        match failed.into_inner() {
            Some(error) => Err(failures::internal(error)),
            None => Ok(bytes),
        }
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
        let of = |format, part: &mut T, bytes: &[u8]| {
            let source = Source {
                format,
                bytes,
                dtype,
            };
            work(part, source);
        };
        if turned {
            let (format, bytes) = self.read_turned(name, shape)?;
            self.check_plain(name, format)?;
            let work = |part: &mut T, bytes: &[u8]| of(format, part, bytes);
            each_part(&bytes, size * format.block_bytes(), parts, work);
            return Ok(());
        }
        let entry = self.entry(name, &[shape.0, shape.1])?;
        let format = entry.format;
        self.check_plain(name, format)?;
        let work = |part: &mut T, bytes: &[u8]| of(format, part, bytes);
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
