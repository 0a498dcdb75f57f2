//! What is composed against `kernels`, on the processor: every family's tiny checkpoint read either way.

use std::{fs, path::Path};

use candle_core::{DType, Device, Tensor};

use half::{bf16, f16};
use wire::model::{FourBitType, GgmlType, Quantization, QuantizationMethod, Threshold};

use super::{
    super::Weight, BlocksOnDevice, FourBitForm, FourBitOnDevice, Plain, composed,
    reader_tests::largest_difference, rounding::without_brain_floats,
};
use crate::{
    Cancel,
    bitsandbytes::{Absmax, FourBit, Plan, Source, code_book, quantize_4bit},
    families::{self, CausalLm, Part},
    hub::Layout,
    kernels::Matrix,
    layers::KvCache,
    weights::{Format, Loader, Weights, blocks},
};

/// Sums are added up in another order.
const TOLERANCE: f32 = 1e-4;
/// And activations are rounded at each product, where weights are bf16.
const BF16_TOLERANCE: f32 = 2e-2;

/// And of 8 bits a code may be the next one, where a value lies between two.
const EIGHT_BIT_TOLERANCE: f32 = 1e-2;

/// How a checkpoint is quantised, and the type of what is not.
type Form = (Option<Quantization>, wire::model::DType);

/// The logits of each row's last token.
fn last_logits(model: &dyn CausalLm, ids: &[u32], cache: &mut KvCache) -> Vec<f32> {
    let states = model.hidden_states(ids, cache).unwrap();
    let tokens = states.dim(1).unwrap();
    let last = states.narrow(1, tokens - 1, 1).unwrap();
    let logits = model.logits(&last.contiguous().unwrap()).unwrap();
    logits.flatten_all().unwrap().to_vec1().unwrap()
}

/// Logits after a prompt, after single tokens behind it, after several, of two rows of which one is padded, and
/// once these have changed places.
fn numbers(weights: &Weights, form: Form, ids: &[u32]) -> Vec<Vec<f32>> {
    let (quantization, dtype) = form;
    let plan = Plan::new(quantization.as_ref(), Some(dtype), weights).unwrap();
    let (cancel, mut sink) = (Cancel::new(), |_| {});
    let loader = Loader::new(weights, "tiny", &cancel, &mut sink).with_plan(plan.as_ref());
    let model = families::build(weights, "tiny", loader).unwrap();
    let model = model.as_ref();
    let (prompt, rest) = ids.split_at(ids.len() - 5);
    let mut cache = model.new_cache();
    let mut numbers = vec![last_logits(model, prompt, &mut cache)];
    for part in [&rest[..1], &rest[1..2], &rest[2..]] {
        numbers.push(last_logits(model, part, &mut cache));
    }
    let mut cache = model.new_batch_cache(&[0, 3]);
    let batch = [prompt, prompt].concat();
    numbers.push(last_logits(model, &batch, &mut cache));
    cache.reorder(&[1, 0]).unwrap();
    numbers.push(last_logits(model, &[rest[0], rest[1]], &mut cache));
    numbers.push(together(model, prompt, rest));
    numbers
}

/// The same of several sequences in one pass, of which the first two bring a token each, the next two, and the others
/// one again.
fn together(model: &dyn CausalLm, prompt: &[u32], rest: &[u32]) -> Vec<f32> {
    let mut caches: Vec<KvCache> = (0..6).map(|_| model.new_cache()).collect();
    for (skipped, cache) in caches.iter_mut().enumerate() {
        last_logits(model, &prompt[skipped % 3..], cache);
    }
    let ids = [1, 1, 2, 1, 1, 1].map(|count| &rest[..count]);
    let parts = ids.iter().zip(&mut caches);
    let mut parts: Vec<Part> = parts.map(|(ids, cache)| Part { ids, cache }).collect();
    let (states, sizes) = model.read(&mut parts).unwrap();
    assert_eq!(sizes, [(1, 1), (1, 1), (1, 2), (1, 1), (1, 1), (1, 1)]);
    assert_eq!(caches[5].len(), prompt.len() - 1);
    let logits = model.logits(&states).unwrap();
    logits.flatten_all().unwrap().to_vec1().unwrap()
}

/// The largest difference of a logit by candle's operations from the same by `kernels`, with weights of a type.
fn difference(folder: &Path, form: Form) -> f32 {
    let layout = Layout::Folder(folder.to_owned());
    difference_of(&layout, &folder.join("expected.json"), form)
}

/// The same of any layout, with the prompt of a file.
fn difference_of(layout: &Layout, expected: &Path, form: Form) -> f32 {
    let expected: serde_json::Value = serde_json::from_slice(&fs::read(expected).unwrap()).unwrap();
    let ids: Vec<u32> = serde_json::from_value(expected["prompt"].clone()).unwrap();
    let weights = Weights::open(layout).unwrap();
    let by_kernels = numbers(&weights, form.clone(), &ids);
    let by_candle = composed(|| numbers(&weights, form, &ids));
    largest_difference(&by_kernels.concat(), &by_candle.concat())
}

#[test]
fn every_family_computes_the_same_either_way() {
    let families = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/families");
    let mut count = 0;
    for entry in fs::read_dir(families).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.join("model.safetensors").exists() {
            continue;
        }
        let largest = difference(&folder, (None, wire::model::DType::F32));
        assert!(largest < TOLERANCE, "{}: {largest}", folder.display());
        count += 1;
    }
    assert!(count > 35, "{count} checkpoints");
}

#[test]
fn brain_floats_are_near() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/families/llama_bare");
    let largest = difference(&folder, (None, wire::model::DType::BF16));
    // Rounding leaves a trace, by which the products are known to be those of the type.
    assert!(largest < BF16_TOLERANCE && largest > TOLERANCE, "{largest}");
}

fn four_bits(
    kind: FourBitType,
    double_quant: bool,
    compute_dtype: wire::model::DType,
) -> Quantization {
    Quantization {
        method: QuantizationMethod::FourBit {
            kind,
            double_quant,
            compute_dtype,
        },
        skip_modules: None,
    }
}

#[test]
fn four_bits_compute_the_same_either_way() {
    use wire::model::DType::{BF16, F16, F32};
    let families = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/families");
    for name in ["llama_bare", "llama_linear", "gpt2", "qwen2"] {
        let folder = families.join(name);
        for (kind, double_quant, compute) in [
            (FourBitType::Nf4, true, F32),
            (FourBitType::Fp4, false, F32),
            (FourBitType::Nf4, true, BF16),
            (FourBitType::Nf4, false, F16),
        ] {
            let form = four_bits(kind, double_quant, compute);
            let largest = difference(&folder, (Some(form), compute));
            let tolerance = if compute == F32 {
                TOLERANCE
            } else {
                BF16_TOLERANCE
            };
            assert!(
                largest < tolerance,
                "{name} {kind:?} {compute:?}: {largest}"
            );
        }
    }
}

/// Shapes whose blocks go over the ends of rows, and whose last block is short; what a file may hold, too.
#[test]
fn values_of_four_bits_are_the_same_to_the_bit() {
    for (rows, columns, block) in [
        (3_usize, 33_usize, 64_usize),
        (16, 128, 64),
        (5, 48, 32),
        (2, 700, 128),
    ] {
        let source: Vec<f32> = (0..rows * columns)
            .map(|at| ((at * 37) % 101) as f32 / 50.0 - 1.0)
            .collect();
        for (double, compute) in [
            (true, wire::model::DType::F32),
            (false, wire::model::DType::BF16),
        ] {
            let bytes: Vec<u8> = source
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            let source = Source {
                format: Format::F32,
                bytes: &bytes,
                dtype: wire::model::DType::F32,
            };
            let mut values = quantize_4bit(source, FourBitType::Nf4, double);
            if block != 64 {
                let blocks = (rows * columns).div_ceil(block);
                values.absmax =
                    Absmax::Plain((0..blocks).map(|at| 0.1 + at as f32 / 7.0).collect());
            }
            let book = code_book(FourBitType::Nf4);
            let matrix = FourBit::new((rows, columns), values, book, block, compute);
            let placed = FourBitOnDevice::new(&matrix.nibbles, &Device::Cpu).unwrap();
            assert_eq!(placed.bytes(), matrix.bytes());
            // Each column by itself: a product with one is its value.
            let ones = Tensor::eye(columns, DType::F32, &Device::Cpu).unwrap();
            let [expected, got] = [matrix.multiply(&ones), placed.multiply(&ones)].map(|y| {
                let y: Vec<f32> = y.unwrap().flatten_all().unwrap().to_vec1().unwrap();
                y.iter().map(|value| value.to_bits()).collect::<Vec<_>>()
            });
            assert_eq!(got, expected, "{rows} {columns} {block} {double}");
        }
    }
}

/// A matrix of values that repeat at no block's length, in a format.
fn packed(format: Format, (rows, columns): (usize, usize)) -> Vec<u8> {
    let values: Vec<f32> = (0..rows * columns)
        .map(|at| ((at * 37) % 1013) as f32 / 500.0 - 1.0)
        .collect();
    match format {
        Format::F16 => bytemuck::cast_slice(
            &values
                .iter()
                .map(|&value| f16::from_f32(value))
                .collect::<Vec<_>>(),
        )
        .to_vec(),
        Format::BF16 => bytemuck::cast_slice(
            &values
                .iter()
                .map(|&value| bf16::from_f32(value))
                .collect::<Vec<_>>(),
        )
        .to_vec(),
        format => {
            let mut bytes = vec![0; format.bytes_of(values.len() as u64).unwrap() as usize];
            blocks::quantize(format, values, &mut bytes).unwrap();
            bytes
        }
    }
}

#[test]
fn blocks_are_multiplied_as_they_are_by_few_tokens_and_in_a_type_by_more() {
    let shape = (40, 768);
    for format in Format::ALL {
        if format == Format::F32 {
            continue;
        }
        let bytes = packed(format, shape);
        let of =
            |dtype| BlocksOnDevice::new((format, &bytes), shape, (&Device::Cpu, dtype)).unwrap();
        let (exact, short) = (of(DType::F32), of(DType::BF16));
        let matrix = Matrix::new(format, shape.0, shape.1, bytes.clone()).unwrap();
        assert_eq!(
            (exact.bytes(), exact.class()),
            (matrix.bytes(), ("Linear", Some(format)))
        );
        for tokens in [1, 4, 5] {
            let x = Tensor::rand(-1.0_f32, 1.0, (1, tokens, shape.1), &Device::Cpu).unwrap();
            let product = |weight: &dyn Weight| -> Vec<f32> {
                let y = weight.multiply(&x).unwrap();
                assert_eq!(y.dims(), [1, tokens, shape.0]);
                y.flatten_all().unwrap().to_vec1().unwrap()
            };
            let expected = product(&matrix);
            let off = |found: Vec<f32>| {
                let pairs = found.iter().zip(&expected);
                pairs
                    .map(|(one, other)| (one - other).abs())
                    .fold(0.0, f32::max)
            };
            assert!(off(product(&exact)) < 1e-4, "{format:?} {tokens}");
            let rounded = off(product(&short));
            // Of few tokens nothing is rounded, of more a trace is seen.
            assert_eq!(
                rounded > 1e-3,
                tokens == 5,
                "{format:?} {tokens}: {rounded}"
            );
            assert!(rounded < 0.3, "{format:?} {tokens}: {rounded}");
        }
    }
    let few = BlocksOnDevice::new(
        (Format::Q4K, &[0; 144]),
        (1, 512),
        (&Device::Cpu, DType::F32),
    );
    assert!(few.is_err());
    assert!(!BlocksOnDevice::takes(Format::BF16, 48) && !BlocksOnDevice::takes(Format::F32, 64));
}

#[test]
fn products_in_brain_floats_need_no_such_products() {
    let shape = (40, 768);
    let count = shape.0 * shape.1;
    let values = Tensor::rand(-1.0_f32, 1.0, shape, &Device::Cpu).unwrap();
    let plain = Plain::new(values.to_dtype(DType::BF16).unwrap()).unwrap();
    let bytes = packed(Format::Q4K, shape);
    let on_cpu = (&Device::Cpu, DType::BF16);
    let blocks = BlocksOnDevice::new((Format::Q4K, &bytes), shape, on_cpu).unwrap();
    let form = FourBitForm {
        shape,
        block: 64,
        book: code_book(FourBitType::Nf4),
        rounding: wire::model::DType::BF16,
    };
    let codes: Vec<u8> = (0..count / 2).map(|at| (at * 37 % 251) as u8).collect();
    let codes = Tensor::from_vec(codes, count / 2, &Device::Cpu).unwrap();
    let scales = (0..count / 64).map(|at| 0.5 + (at % 7) as f32 / 10.0);
    let absmax = Absmax::Plain(scales.collect());
    let four_bit = FourBitOnDevice::of_codes(codes, &absmax, &form).unwrap();
    let weights: [&dyn Weight; 3] = [&plain, &blocks, &four_bit];
    for weight in weights {
        let x = Tensor::rand(-1.0_f32, 1.0, (12, shape.1), &Device::Cpu).unwrap();
        let product = || -> Vec<f32> {
            let y = weight.multiply(&x).unwrap();
            y.flatten_all().unwrap().to_vec1().unwrap()
        };
        let (with, without) = (product(), without_brain_floats(product));
        let mut others = 0;
        for (one, other) in with.iter().zip(&without) {
            // Sums in another order may be rounded to the next; of those that nearly cancel f32 leaves more.
            let step = one.abs() / 127.0 + 1e-4;
            assert!((one - other).abs() <= step, "{one} {other}: {weight:?}");
            assert_eq!(bf16::from_f32(*other).to_f32().to_bits(), other.to_bits());
            others += usize::from(one.to_bits() != other.to_bits());
        }
        assert!(others < with.len() / 20, "{others}: {:?}", weight.class());
    }
}

#[test]
fn eight_bits_compute_the_same_either_way() {
    let families = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/families");
    for name in ["llama_bare", "gpt2", "qwen2", "mixtral"] {
        let eight_bits = Quantization {
            method: QuantizationMethod::EightBit {
                threshold: Threshold(0.5),
            },
            skip_modules: None,
        };
        let form = (Some(eight_bits), wire::model::DType::F32);
        let largest = difference(&families.join(name), form);
        assert!(largest < EIGHT_BIT_TOLERANCE, "{name}: {largest}");
    }
}

#[test]
fn gguf_files_compute_the_same_either_way() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/families/gguf");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        let expected = file.with_extension("json");
        if file.extension().is_some_and(|kind| kind == "gguf") && expected.exists() {
            let form = (None, wire::model::DType::F32);
            let largest = difference_of(&Layout::Gguf(file.clone()), &expected, form);
            assert!(largest < TOLERANCE, "{}: {largest}", file.display());
            count += 1;
        }
    }
    assert!(count > 12, "{count} files");
}

#[test]
fn checkpoints_in_blocks_compute_the_same_either_way() {
    let families = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/families");
    for kind in [GgmlType::Q4_0, GgmlType::Q5_1, GgmlType::Q8_0] {
        for name in ["llama_bare", "llama_linear", "mixtral", "qwen3_moe"] {
            // Routers stay as the file has them, and are computed with as exactly.
            let quantization = Quantization {
                method: QuantizationMethod::Ggml(kind),
                skip_modules: None,
            };
            let form = (Some(quantization), wire::model::DType::F32);
            let largest = difference(&families.join(name), form);
            assert!(largest < TOLERANCE, "{name} {kind:?}: {largest}");
        }
    }
}

#[test]
fn activations_take_the_type_of_the_weights() {
    let weight = Tensor::new(&[[1.0_f32, 0.5], [-2.0, 3.0], [0.25, 1.0]], &Device::Cpu).unwrap();
    // 1 + 2⁻¹⁰ is 1 in bf16, and is there in f16.
    let x = Tensor::new(&[[[1.0 + 1.0 / 1024.0, 2.0_f32]]], &Device::Cpu).unwrap();
    let product = |dtype| {
        let plain = Plain::new(weight.to_dtype(dtype).unwrap()).unwrap();
        let y = plain.multiply(&x).unwrap();
        assert_eq!((y.dims(), y.dtype()), (&[1, 1, 3][..], DType::F32));
        let y: Vec<f32> = y.flatten_all().unwrap().to_vec1().unwrap();
        (y, plain.class().1, plain.bytes())
    };
    let (y, format, bytes) = product(DType::F32);
    assert_eq!(
        (y[0], format, bytes),
        (2.0 + 1.0 / 1024.0, Some(Format::F32), 24)
    );
    let (y, format, bytes) = product(DType::BF16);
    assert_eq!(
        (y, format, bytes),
        (vec![2.0, 4.0, 2.25], Some(Format::BF16), 12)
    );
    let (y, format, _) = product(DType::F16);
    assert_eq!((y[1], format), (4.0 - 2.0 / 1024.0, Some(Format::F16)));
    assert!(Plain::new(Tensor::zeros((2, 2), DType::U8, &Device::Cpu).unwrap()).is_err());
}

#[test]
fn what_is_copied_counts() {
    for (name, is_tied) in [("llama_bare", false), ("llama_linear", true)] {
        let families = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/families");
        let weights = Weights::open(&Layout::Folder(families.join(name))).unwrap();
        let bytes = || {
            let (cancel, mut sink) = (Cancel::new(), |_| {});
            let loader = Loader::new(&weights, "tiny", &cancel, &mut sink);
            families::build(&weights, "tiny", loader).unwrap().bytes()
        };
        assert_eq!(bytes(), weights.bytes());
        // Vectors of tokens stay in main memory, and a head that is tied to them is a copy; the rest is as it was.
        let tables = weights.tensors.iter();
        let tables = tables.filter(|(name, _)| is_tied && name.contains("embed_tokens"));
        let more: u64 = tables.map(|(_, table)| table.bytes).sum();
        assert_eq!(more > 0, is_tied);
        assert_eq!(composed(bytes), weights.bytes() + more, "{name}");
    }
}
