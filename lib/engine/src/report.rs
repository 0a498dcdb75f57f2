//! What quantisation did to a model, tensor by tensor. The files are read once more and quantised as
//! they were on load, which gives the same bits, and both are compared; only one tensor is in memory at
//! a time. Of files that hold the quantised weights only, sizes and codes are what there is to tell.

mod compare;

use compare::Comparison;
use wire::{
    Failure,
    host::{Event, Progress, Stage},
    model::{DType, QuantizationMethod},
    quantization_report::{CodeCount, QuantizationReport, QuantizedLayer, Sizes},
};

use crate::{
    Cancel,
    bitsandbytes::{Module, Plan, code_book, load_4bit, quantize_4bit, quantize_8bit, shape_4bit},
    class::Class,
    failures,
    hub::ModelFiles,
    residency::ResidentModel,
    weights::{Description, Format, Loader, TensorEntry, Weights},
};

/// Reports on a model in memory, from the files it was loaded from.
///
/// # Errors
/// The model is not quantised, its files have changed or gone, or the request was cancelled.
pub fn report(
    files: &ModelFiles,
    model: &ResidentModel,
    (cancel, sink): (&Cancel, &mut dyn FnMut(Event)),
) -> Result<QuantizationReport, Failure> {
    let weights = Weights::open(&files.layout)?;
    check_files(&weights, model)?;
    let spec = model.spec();
    let plan = Plan::of(spec, &weights)?;
    let tensors = tensors(&weights, plan.as_ref());
    if tensors.is_empty() {
        return Err(failures::invalid(format!(
            "`{}` is not quantised: its weights are in memory as its files have them, in {}",
            files.name, model.info.quantization
        ))
        .hint("load it with `quantization_config(…)` or `quantize(…)`"));
    }
    let total: u64 = tensors.iter().map(|tensor| tensor.entry.bytes).sum();
    let mut tell = |event| sink(as_comparison(event, total));
    let mut loader = Loader::new(&weights, &files.name, cancel, &mut tell);
    let mut reporter = Reporter::default();
    for tensor in &tensors {
        reporter.add(&mut loader, tensor, plan.as_ref())?;
    }
    let mut report = reporter.finish();
    report.name.clone_from(&files.name);
    report.quantization.clone_from(&model.info.quantization);
    report.without_originals = without_originals(&weights, plan.as_ref());
    let layers = report.layers.iter().map(|layer| layer.bytes.after);
    report.others = Sizes {
        before: report
            .without_originals
            .is_none()
            .then(|| weights.bytes() - total),
        after: model.info.bytes.saturating_sub(layers.sum()),
    };
    Ok(report)
}

/// A repository may have moved on since the model was loaded.
fn check_files(weights: &Weights, model: &ResidentModel) -> Result<(), Failure> {
    let paths = weights.files().map(|path| path.display().to_string());
    if paths.eq(model.info.files.iter().cloned()) {
        return Ok(());
    }
    Err(failures::invalid(format!(
        "`{}` was loaded from other files than it has now",
        model.info.name
    ))
    .hint("`unload` it, and load it again"))
}

/// The same news with the stage that a user sees, and with the bytes that are read here as the whole.
fn as_comparison(event: Event, total: u64) -> Event {
    match event {
        Event::Progress(progress) => Event::Progress(Progress {
            stage: Stage::Compare,
            total: Some(total.max(progress.done)),
            ..progress
        }),
        other => other,
    }
}

fn without_originals(weights: &Weights, plan: Option<&Plan>) -> Option<String> {
    let holder = match (&weights.description, plan) {
        (Description::Gguf(_), _) => "a GGUF file holds",
        (Description::Json(_), Some(plan)) if plan.stored => "this checkpoint holds",
        (Description::Json(_), _) => return None,
    };
    Some(format!(
        "{holder} the quantised weights only; errors are known where the original is loaded and quantised"
    ))
}

/// A tensor that is quantised, and how.
struct Tensor<'a> {
    name: &'a str,
    entry: &'a TensorEntry,
    form: Form,
}

#[derive(Clone, Copy)]
enum Form {
    /// By bitsandbytes, while it is loaded.
    Quantized,
    /// By bitsandbytes, in the files.
    Stored,
    /// Packed in blocks of ggml while it is loaded.
    Blocks(Format),
    /// Packed in the files.
    Packed,
}

/// What is quantised, by name; layers by their numbers.
fn tensors<'a>(weights: &'a Weights, plan: Option<&Plan>) -> Vec<Tensor<'a>> {
    let class = Class::of(weights);
    let mut tensors: Vec<Tensor> = weights
        .tensors
        .iter()
        .filter(|(name, _)| class.has(name))
        .filter_map(|(name, entry)| {
            let form = form(name, entry, plan)?;
            Some(Tensor { name, entry, form })
        })
        .collect();
    tensors.sort_by_cached_key(|tensor| in_order(tensor.name));
    tensors
}

fn form(name: &str, entry: &TensorEntry, plan: Option<&Plan>) -> Option<Form> {
    let Some(plan) = plan else {
        return (entry.format.block_values() > 1).then_some(Form::Packed);
    };
    if plan.stored {
        let is_bytes = entry.format == Format::Byte && name.ends_with(".weight");
        return (is_bytes || plan.is_packed(name, entry)).then_some(Form::Stored);
    }
    if let Some(QuantizationMethod::Ggml(_)) = plan.method() {
        let format = plan.form_of(name, entry)?;
        return (format != entry.format && format.block_values() > 1)
            .then_some(Form::Blocks(format));
    }
    plan.module(name, entry).map(|_| Form::Quantized)
}

/// A key by which `layers.2` comes before `layers.10`.
fn in_order(name: &str) -> Vec<(u64, String)> {
    let parts = name.split('.').map(|part| match part.parse() {
        Ok(number) => (number, String::new()),
        Err(_) => (0, part.to_owned()),
    });
    parts.collect()
}

/// The report in the making.
#[derive(Default)]
struct Reporter {
    layers: Vec<QuantizedLayer>,
    all: Comparison,
    /// Whether any tensor was compared with its original.
    compared: bool,
    /// Values of 4-bit codes, once one was seen.
    book: Option<[f32; 16]>,
}

/// What one tensor gives.
struct Outcome {
    quantized_as: String,
    weights: u64,
    bytes: u64,
    /// With its errors, or with its codes only.
    comparison: Option<Comparison>,
}

impl Reporter {
    fn add(
        &mut self,
        loader: &mut Loader,
        tensor: &Tensor,
        plan: Option<&Plan>,
    ) -> Result<(), Failure> {
        let outcome = match (tensor.form, plan) {
            (Form::Quantized, Some(plan)) => self.quantized(loader, tensor, plan)?,
            (Form::Blocks(format), Some(plan)) => blocks(loader, tensor, (plan, format))?,
            (Form::Stored, _) => self.stored(loader, tensor)?,
            (Form::Packed | Form::Quantized | Form::Blocks(_), _) => Outcome {
                quantized_as: tensor.entry.format.name().to_owned(),
                weights: tensor.entry.values(),
                bytes: tensor.entry.bytes,
                comparison: None,
            },
        };
        let has_original = matches!(tensor.form, Form::Quantized | Form::Blocks(_));
        let comparison = outcome.comparison.unwrap_or_default();
        self.compared |= has_original;
        self.all.add(&comparison);
        self.layers.push(QuantizedLayer {
            name: module(tensor.name).to_owned(),
            weights: outcome.weights,
            stored_as: has_original.then(|| tensor.entry.format.name().to_owned()),
            quantized_as: outcome.quantized_as,
            bytes: Sizes {
                before: has_original.then_some(tensor.entry.bytes),
                after: outcome.bytes,
            },
            relative_rmse: has_original.then(|| comparison.relative_rmse()),
        });
        Ok(())
    }

    /// A tensor that bitsandbytes quantises on load.
    fn quantized(
        &mut self,
        loader: &mut Loader,
        tensor: &Tensor,
        plan: &Plan,
    ) -> Result<Outcome, Failure> {
        let turned = plan.turns(tensor.name);
        let floats = loader.source(tensor.name, plan.dtype, turned)?;
        let source = floats.as_source();
        let (quantized_as, bytes, comparison) =
            if let Some(&QuantizationMethod::FourBit {
                kind, double_quant, ..
            }) = plan.method()
            {
                let quantized = quantize_4bit(source, kind, double_quant);
                let book = *self.book.get_or_insert(code_book(kind));
                let bytes = quantized.packed.len() + quantized.absmax.bytes();
                let comparison = compare::four_bits(source, &quantized, &book);
                (kind.name(), bytes, comparison)
            } else {
                let columns = tensor.entry.shape[usize::from(!turned)];
                let (codes, scales) = quantize_8bit(source, columns);
                let bytes = codes.len() + scales.len() * 4;
                let comparison = compare::eight_bits(source, columns, (&codes, &scales));
                ("int8", bytes, comparison)
            };
        Ok(Outcome {
            quantized_as: quantized_as.to_owned(),
            weights: tensor.entry.values(),
            bytes: bytes as u64,
            comparison: Some(comparison),
        })
    }

    /// A tensor that bitsandbytes quantised before it was saved.
    fn stored(&mut self, loader: &mut Loader, tensor: &Tensor) -> Result<Outcome, Failure> {
        let module = module(tensor.name);
        let Some(Module::FourBit(state)) = Module::find(loader, module) else {
            let scales = loader.bytes_of(&format!("{module}.SCB"))?;
            return Ok(Outcome {
                quantized_as: "int8".to_owned(),
                weights: tensor.entry.values(),
                bytes: tensor.entry.bytes + scales.len() as u64,
                comparison: None,
            });
        };
        let (kind, shape) = shape_4bit(loader, (module, &state))?;
        let layer = load_4bit(loader, (module, &state), shape, DType::F32)?;
        self.book.get_or_insert(layer.nibbles.book.values);
        let values = shape.0 * shape.1;
        let codes = compare::count_codes(&layer.nibbles.packed, values);
        Ok(Outcome {
            quantized_as: kind,
            weights: values as u64,
            bytes: (layer.nibbles.packed.len() + layer.nibbles.absmax.bytes()) as u64,
            comparison: Some(Comparison::of_codes(codes)),
        })
    }

    fn finish(self) -> QuantizationReport {
        let mut codes: Vec<CodeCount> = self.book.map_or(Vec::new(), |book| {
            let counts = (0..).zip(book).zip(self.all.codes);
            let counts = counts.map(|((code, value), count)| CodeCount { code, value, count });
            counts.collect()
        });
        codes.sort_by(|a, b| a.value.total_cmp(&b.value));
        QuantizationReport {
            layers: self.layers,
            relative_rmse: self.compared.then(|| self.all.relative_rmse()),
            codes,
            histogram: self.all.histogram,
            ..QuantizationReport::default()
        }
    }
}

/// A tensor that becomes blocks of ggml on load.
fn blocks(
    loader: &mut Loader,
    tensor: &Tensor,
    (plan, format): (&Plan, Format),
) -> Result<Outcome, Failure> {
    let floats = loader.source(tensor.name, plan.dtype, plan.turns(tensor.name))?;
    let comparison = compare::blocks(floats.as_source(), plan.dtype, format);
    let values = tensor.entry.values();
    Ok(Outcome {
        quantized_as: format.name().to_owned(),
        weights: values,
        bytes: format.bytes_of(values).unwrap_or(tensor.entry.bytes),
        comparison: Some(comparison.map_err(failures::internal)?),
    })
}

fn module(tensor: &str) -> &str {
    tensor.strip_suffix(".weight").unwrap_or(tensor)
}
