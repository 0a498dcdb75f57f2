//! Hands tensors out as the layers that models are built of, each read once. Refuses shapes that a
//! model does not expect. How bytes come from files is `reader`'s matter, what is done to weights on
//! the way `convert`'s.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use candle_core::{DType, Device, Tensor};
use wire::{
    Failure, FailureKind,
    host::{Event, Stage},
    model::Activations,
};

use super::{
    Format, TensorEntry, Weights,
    convert::Wanted,
    reader::{Reader, in_order},
};
use crate::{
    Cancel,
    bitsandbytes::Plan,
    cuda, failures,
    families::named,
    kernels::Matrix,
    layers::{Dense, Embedding, LayerNorm, Linear, RmsNorm, serves_on},
    placement::Placement,
};

/// Most tensors that are named where some are not used.
const NAMED: usize = 8;

/// A layer that was handed out.
#[derive(Clone, Debug)]
pub struct LoadedPart {
    /// The class that transformers has for it: `Linear`, `Linear4bit`, `Embedding`; `Norm` for norms, `Tensor` for
    /// values that are no layer here.
    pub class: &'static str,
    /// `(out_features, in_features)`, `(vocabulary, hidden)`, `(size, 1)`.
    pub shape: (usize, usize),
    /// Whether a linear layer has a bias.
    pub bias: bool,
    /// How plain or packed values are stored; `None` for what bitsandbytes quantised.
    pub format: Option<Format>,
    /// Number of parameters, packed ones as what they were packed from.
    pub parameters: u64,
    /// Bytes that it takes.
    pub bytes: u64,
}

/// Builds layers from the tensors of a [`Weights`].
pub struct Loader<'a> {
    pub(super) reader: Reader<'a>,
    /// Bytes that the layers take which were handed out.
    pub(super) kept: u64,
    /// Bytes that tensors took beyond those of the files, where no plan says their types.
    pub(super) widened: u64,
    pub(super) plan: Option<Plan>,
    pub(super) activations: Activations,
    /// What cards compute products of many tokens in, of weights in blocks.
    pub(super) block_dtype: DType,
    cache_dtype: DType,
    placement: Placement,
    /// Hand f32 out as [`Dense`].
    pub(super) dense: bool,
    /// What was handed out, by the names of the files, without `.weight`.
    parts: BTreeMap<String, LoadedPart>,
    /// Names of the tensors that are in what was handed out.
    taken: BTreeSet<String>,
    /// Biases of the files that the model has no place for.
    passed_over: Vec<String>,
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
            reader: Reader {
                weights,
                subject: subject.to_owned(),
                stage: Stage::Load,
                done: 0,
                cancel,
                sink,
            },
            kept: 0,
            widened: 0,
            plan: None,
            activations: Activations::F32,
            block_dtype: DType::F32,
            cache_dtype: DType::F32,
            placement: Placement::whole(wire::model::Device::Cpu),
            dense: false,
            parts: BTreeMap::new(),
            taken: BTreeSet::new(),
            passed_over: Vec::new(),
        }
    }

    /// The same loader, which quantises by a plan.
    #[must_use]
    pub fn with_plan(mut self, plan: Option<&Plan>) -> Self {
        self.plan = plan.cloned();
        if plan.is_some_and(|plan| plan.quantization.is_some() && !plan.stored) {
            self.reader.stage = Stage::Quantize;
        }
        self
    }

    /// The same loader, whose matrices take activations in this form.
    #[must_use]
    pub fn with_activations(mut self, activations: Activations) -> Self {
        self.activations = activations;
        self
    }

    /// The same loader, for a model whose products with blocks of ggml cards compute in the type that was asked for,
    /// where there are many tokens; in 16 bits where none was, as tensor cores do it.
    #[must_use]
    pub fn with_asked_dtype(mut self, dtype: Option<wire::model::DType>) -> Self {
        self.block_dtype = dtype.map_or_else(cuda::short_dtype, candle_dtype);
        self
    }

    /// Whether activations may be rounded to brain floats.
    pub fn rounds_to_brain(&self) -> bool {
        self.activations == Activations::BF16
    }

    /// The same loader, for a model whose caches keep keys and values as this type.
    #[must_use]
    pub fn with_cache_dtype(mut self, dtype: wire::model::DType) -> Self {
        self.cache_dtype = candle_dtype(dtype);
        self
    }

    /// The same loader, for a model whose parts live where this says.
    #[must_use]
    pub fn with_placement(mut self, placement: &Placement) -> Self {
        self.placement = placement.clone();
        self
    }

    /// Where the model's parts are to live.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Where what is not in layers lives, and all of a model that is not split.
    pub(crate) fn device(&self) -> Result<Device, Failure> {
        self.placement.device_of("")
    }

    /// Type of the keys and values that the model's caches keep.
    pub fn cache_dtype(&self) -> DType {
        self.cache_dtype
    }

    /// From here on hands plain f32 out as it lies in the file, in the form that products of a few tokens
    /// take, as of beams.
    pub(crate) fn prefer_dense(&mut self) {
        self.dense = true;
    }

    /// Where the layers come from.
    pub(crate) fn weights(&self) -> &'a Weights {
        self.reader.weights
    }

    /// Whether what becomes of a token depends on which others are in its pass.
    pub(crate) fn mixes_tokens(&self) -> bool {
        self.plan.as_ref().is_some_and(Plan::mixes_tokens)
    }

    /// Bytes of the model: those of the files and what cards widen, or what is left of them after quantisation.
    pub fn bytes(&self) -> u64 {
        match self.plan {
            Some(_) => self.kept,
            None => self.reader.weights.bytes() + self.widened,
        }
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.reader.weights.tensors.contains_key(name)
    }

    /// The bytes of a tensor, whatever they mean.
    pub(crate) fn bytes_of(&mut self, name: &str) -> Result<Vec<u8>, Failure> {
        let weights: &'a Weights = self.reader.weights;
        let entry = weights
            .tensors
            .get(name)
            .ok_or_else(|| self.missing(name))?;
        self.reader.read(entry)
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
        self.shaped(name, &[size])
    }

    /// A row of `size` values that the file holds as `(1, size)`, as f32.
    pub fn row(&mut self, name: &str, size: usize) -> Result<Tensor, Failure> {
        let values = self.shaped(name, &[1, size])?;
        Tensor::from_vec(values, size, &Device::Cpu).map_err(failures::internal)
    }

    /// Values of a tensor of any shape, as f32.
    pub fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, Failure> {
        let values = self.shaped(name, shape)?;
        if let (Some(module), [rows, rest @ ..]) = (name.strip_suffix(".weight"), shape) {
            let (shape, size) = ((*rows, rest.iter().product()), values.len());
            self.note(module, ("Tensor", None), shape, (size, size * 4));
        }
        Tensor::from_vec(values, shape, &Device::Cpu).map_err(failures::internal)
    }

    fn shaped(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Failure> {
        let entry = self.entry(name, shape)?;
        let bytes = self.reader.read(entry)?;
        let size = shape.iter().product();
        let mut values = vec![0.0; size];
        entry.format.unpack(&bytes, &mut values);
        if let Some(plan) = &self.plan {
            plan.round(&mut values);
        }
        self.kept += 4 * size as u64;
        self.taken.insert(name.to_owned());
        Ok(values)
    }

    /// A vector of `size` values, as f32, where it is to live.
    pub fn vector(&mut self, name: &str, size: usize) -> Result<Tensor, Failure> {
        let values = self.values(name, size)?;
        let device = self.placement.device_of(name)?;
        Tensor::from_vec(values, size, &device).map_err(failures::internal)
    }

    /// A linear layer from `{name}.weight` and, where the file has one, `{name}.bias`.
    pub fn linear(&mut self, name: &str, shape: (usize, usize)) -> Result<Linear, Failure> {
        let bias = self.bias(name, shape.0)?;
        self.any_linear(name, shape, (bias, false))
    }

    /// The same without a bias, whether or not the file has one; one that it has is told of in the end.
    pub fn unbiased_linear(
        &mut self,
        name: &str,
        shape: (usize, usize),
    ) -> Result<Linear, Failure> {
        let bias = format!("{name}.bias");
        if self.has(&bias) {
            self.passed_over.push(bias);
        }
        self.any_linear(name, shape, (None, false))
    }

    /// The same from a weight that the file holds as `(in_features, out_features)`.
    pub fn turned_linear(&mut self, name: &str, shape: (usize, usize)) -> Result<Linear, Failure> {
        let bias = self.bias(name, shape.0)?;
        self.any_linear(name, shape, (bias, true))
    }

    fn any_linear(
        &mut self,
        name: &str,
        shape: (usize, usize),
        (bias, turned): (Option<Tensor>, bool),
    ) -> Result<Linear, Failure> {
        let weight = self.weight(name, shape, turned)?;
        let linear = Linear::new(weight, bias);
        let (class, format) = linear.class();
        let has_bias = linear.has_bias();
        let values = shape.0 * shape.1 + if has_bias { shape.0 } else { 0 };
        self.note(name, (class, format), shape, (values, linear.bytes()));
        if let Some(part) = self.parts.get_mut(name) {
            part.bias = has_bias;
        }
        Ok(linear)
    }

    /// Keeps what is known of a layer that is handed out.
    fn note(
        &mut self,
        name: &str,
        (class, format): (&'static str, Option<Format>),
        shape: (usize, usize),
        (values, bytes): (usize, usize),
    ) {
        self.taken.insert(format!("{name}.weight"));
        let part = LoadedPart {
            class,
            shape,
            bias: false,
            format,
            parameters: values as u64,
            bytes: bytes as u64,
        };
        self.parts.insert(name.to_owned(), part);
    }

    /// What was handed out so far, by the names of the files.
    pub fn parts(&self) -> &BTreeMap<String, LoadedPart> {
        &self.parts
    }

    /// `count` linear layers that lie in one tensor `{name}.weight` `(count, out_features,
    /// in_features)`, as GGUF keeps experts.
    pub fn stacked_linears(
        &mut self,
        name: &str,
        count: usize,
        shape: (usize, usize),
    ) -> Result<Vec<Linear>, Failure> {
        let tensor = format!("{name}.weight");
        let whole = self.entry(&tensor, &[count, shape.0, shape.1])?;
        let device = self.placement.device_of(&tensor)?;
        let bytes = whole.bytes / count.max(1) as u64;
        (0..count as u64)
            .map(|index| {
                let part = TensorEntry {
                    offset: whole.offset + index * bytes,
                    bytes,
                    shape: vec![shape.0, shape.1],
                    ..whole.clone()
                };
                let bytes = self.reader.read(&part)?;
                if serves_on(&device) {
                    let weight = self.put((part.format, &bytes), shape, &device);
                    return Ok(Linear::new(weight.map_err(failures::internal)?, None));
                }
                let matrix = Matrix::new(part.format, shape.0, shape.1, bytes);
                let matrix = matrix.map_err(failures::internal)?;
                Ok(Linear::new(Arc::new(matrix.taking(self.activations)), None))
            })
            .collect()
    }

    fn bias(&mut self, name: &str, size: usize) -> Result<Option<Tensor>, Failure> {
        let name = format!("{name}.bias");
        let is_there = self.has(&name) || self.weights().untaken.contains_key(&name);
        is_there.then(|| self.vector(&name, size)).transpose()
    }

    /// Tells whoever loads the model.
    pub(crate) fn notice(&mut self, text: impl std::fmt::Display) {
        let subject = &self.reader.subject;
        (self.reader.sink)(Event::Notice(format!("`{subject}`: {text}")));
    }

    /// Tells which biases of the files were passed over, as transformers warns of weights that were not used.
    pub(crate) fn tell_passed_over(&mut self) {
        let names = std::mem::take(&mut self.passed_over);
        let Some(first) = names.first() else {
            return;
        };
        let others = match names.len() - 1 {
            0 => String::new(),
            count => format!(" and {count} more"),
        };
        self.notice(format_args!(
            "by its configuration it has no such bias, and so `{first}`{others} of its files {} not used",
            if names.len() == 1 { "is" } else { "are" }
        ));
    }

    /// Tensors of the files that are in nothing that was handed out.
    pub(crate) fn rest(&self) -> impl Iterator<Item = &'a str> {
        let weights: &'a Weights = self.reader.weights;
        let names = weights.tensors.keys().map(String::as_str);
        names.filter(|name| !self.taken.contains(*name))
    }

    /// Tells of tensors that no part of the model's class takes, as transformers does.
    pub(crate) fn tell_unused(&mut self, unused: &[&str]) {
        if unused.is_empty() {
            return;
        }
        let named = unused.iter().take(NAMED).map(|name| format!("`{name}`"));
        let named = named.collect::<Vec<_>>().join(", ");
        let more = match unused.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        self.notice(format_args!(
            "some weights of its files were not used, as the model has no place for them: {named}{more}"
        ));
    }

    /// A failure of its configuration, with the model's name.
    pub(crate) fn named(&self, failure: Failure) -> Failure {
        named(failure, &self.reader.subject)
    }

    /// An embedding from `{name}.weight`, of shape `(vocabulary, hidden)`.
    pub fn embedding(&mut self, name: &str, shape: (usize, usize)) -> Result<Embedding, Failure> {
        let tensor = format!("{name}.weight");
        if let Some(dense) = self.dense(&tensor, shape)? {
            let form = ("Embedding", Some(Format::F32));
            self.note(
                name,
                form,
                shape,
                (shape.0 * shape.1, shape.0 * shape.1 * 4),
            );
            return Ok(Embedding::dense(dense));
        }
        let matrix = self.matrix(&tensor, shape, false)?;
        let form = ("Embedding", Some(matrix.format()));
        self.note(name, form, shape, (shape.0 * shape.1, matrix.bytes()));
        Ok(Embedding::new(matrix))
    }

    /// The output layer of a model whose head is tied to the table `{name}.weight` `(vocabulary, hidden)`: the
    /// table itself, or a copy where the head lives on a card.
    pub(crate) fn tied_head(
        &mut self,
        table: &Embedding,
        (name, shape): (&str, (usize, usize)),
    ) -> Result<Linear, Failure> {
        let device = self.placement.head_device()?;
        if !serves_on(&device) {
            return Ok(table.tied_head());
        }
        let wanted = Wanted {
            name: &format!("{name}.weight"),
            shape,
            turned: false,
        };
        let head = self.placed(wanted, &device)?;
        if self.plan.is_none() {
            // The table stays where it is beside it.
            self.widened += table.bytes() as u64;
        }
        Ok(Linear::new(head, None))
    }

    /// An RMS norm from `{name}.weight`.
    pub fn rms_norm(&mut self, name: &str, size: usize, epsilon: f64) -> Result<RmsNorm, Failure> {
        let weight = self.vector(&format!("{name}.weight"), size)?;
        self.note_norm(name, size, 1);
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
        self.note_norm(name, size, 1);
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
        self.note_norm(name, size, 2);
        Ok(LayerNorm::new(weight, bias, epsilon))
    }

    /// A norm of so many vectors, which are f32 in memory.
    fn note_norm(&mut self, name: &str, size: usize, vectors: usize) {
        let values = size * vectors;
        self.note(name, ("Norm", None), (size, 1), (values, values * 4));
    }

    /// The entry of a tensor of values. Fails on one that is missing or of another shape.
    pub(super) fn entry(&self, name: &str, shape: &[usize]) -> Result<&'a TensorEntry, Failure> {
        let weights: &'a Weights = self.reader.weights;
        let subject = &self.reader.subject;
        let Some(entry) = weights.tensors.get(name) else {
            return Err(self.missing(name));
        };
        if entry.format == Format::Byte {
            return Err(failures::unsupported(format!(
                "cannot load `{subject}`: tensor `{name}` holds bytes and nothing says what they mean",
            )));
        }
        if entry.shape != shape {
            return Err(Failure::new(
                FailureKind::Corrupt,
                format!(
                    "cannot load `{subject}`: tensor `{name}` has shape {:?}, its configuration says {shape:?}",
                    entry.shape
                ),
            ));
        }
        Ok(entry)
    }

    /// The bytes of a matrix of `shape` that the file holds the other way round, `(in_features,
    /// out_features)`, as GPT-2's `Conv1D` does. Fails on formats that pack several values of a row.
    pub(super) fn read_turned(
        &mut self,
        name: &str,
        shape: (usize, usize),
    ) -> Result<(Format, Vec<u8>), Failure> {
        let entry = self.entry(name, &[shape.1, shape.0])?;
        if entry.format.block_values() != 1 {
            return Err(failures::unsupported(format!(
                "cannot load `{}`: tensor `{name}` is {} and would have to be transposed",
                self.reader.subject,
                entry.format.name()
            )));
        }
        let bytes = self.reader.read(entry)?;
        let turned = in_order(
            &bytes,
            (&[shape.0, shape.1], &[1, shape.0]),
            entry.format.block_bytes(),
        );
        Ok((entry.format, turned))
    }

    /// A matrix of plain f32 as it lies in its file, where that is the preferred form of this tensor.
    pub(super) fn dense(
        &mut self,
        name: &str,
        shape: (usize, usize),
    ) -> Result<Option<Dense>, Failure> {
        let stored = self.reader.weights.tensors.get(name);
        let is_plain = stored.is_some_and(|entry| entry.format == Format::F32);
        if !self.dense || !is_plain || self.plan.is_some() {
            return Ok(None);
        }
        let values = self.shaped(name, &[shape.0, shape.1])?;
        let dense = Dense::new(shape.0, shape.1, values).map_err(failures::internal)?;
        Ok(Some(dense))
    }

    fn missing(&self, name: &str) -> Failure {
        if let Some(dtype) = self.weights().untaken.get(name) {
            let subject = &self.reader.subject;
            return failures::unsupported(format!(
                "cannot load `{subject}`: tensor `{name}` is {dtype}, which no layer takes",
            ))
            .hint("types that load: F32, F16, BF16, and F64 as F32");
        }
        let message = format!(
            "cannot load `{}`: tensor `{name}` is missing",
            self.reader.subject
        );
        Failure::new(FailureKind::Corrupt, message)
            .hint("the file is incomplete, or its weights are of another architecture")
    }
}

fn candle_dtype(dtype: wire::model::DType) -> DType {
    match dtype {
        wire::model::DType::F32 => DType::F32,
        wire::model::DType::F16 => DType::F16,
        wire::model::DType::BF16 => DType::BF16,
    }
}
