//! What is composed against `kernels`, on the processor: every family's tiny checkpoint read either way.

use std::{fs, path::Path};

use candle_core::{DType, Device, Tensor};

use super::{super::Weight, FORCED, Plain};
use crate::{
    Cancel,
    bitsandbytes::Plan,
    families::{self, CausalLm},
    hub::Layout,
    layers::KvCache,
    weights::{Format, Loader, Weights},
};

/// Sums are added up in another order.
const TOLERANCE: f32 = 1e-4;
/// And activations are rounded at each product, where weights are bf16.
const BF16_TOLERANCE: f32 = 2e-2;

/// Runs it with layers that compute as on a card.
fn composed<T>(run: impl FnOnce() -> T) -> T {
    FORCED.set(true);
    let result = run();
    FORCED.set(false);
    result
}

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
fn numbers(weights: &Weights, dtype: wire::model::DType, ids: &[u32]) -> Vec<Vec<f32>> {
    let plan = Plan::new(None, Some(dtype), weights).unwrap();
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
    numbers
}

/// The largest difference of a logit by candle's operations from the same by `kernels`, with weights of a type.
fn difference(folder: &Path, dtype: wire::model::DType) -> f32 {
    let expected = fs::read(folder.join("expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_slice(&expected).unwrap();
    let ids: Vec<u32> = serde_json::from_value(expected["prompt"].clone()).unwrap();
    let weights = Weights::open(&Layout::Folder(folder.to_owned())).unwrap();
    let by_kernels = numbers(&weights, dtype, &ids);
    let by_candle = composed(|| numbers(&weights, dtype, &ids));
    let both = by_kernels.iter().flatten().zip(by_candle.iter().flatten());
    assert_eq!(by_kernels.concat().len(), by_candle.concat().len());
    // What is no number would be passed over by a maximum.
    both.fold(0.0, |largest, (one, other)| {
        let distance = (one - other).abs();
        if distance > largest || distance.is_nan() {
            distance
        } else {
            largest
        }
    })
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
        let largest = difference(&folder, wire::model::DType::F32);
        assert!(largest < TOLERANCE, "{}: {largest}", folder.display());
        count += 1;
    }
    assert!(count > 35, "{count} checkpoints");
}

#[test]
fn brain_floats_are_near() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/families/llama_bare");
    let largest = difference(&folder, wire::model::DType::BF16);
    // Rounding leaves a trace, by which the products are known to be those of the type.
    assert!(largest < BF16_TOLERANCE && largest > TOLERANCE, "{largest}");
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
fn what_is_widened_counts() {
    for (name, is_tied) in [("llama_bare", false), ("llama_linear", true)] {
        let families = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/families");
        let weights = Weights::open(&Layout::Folder(families.join(name))).unwrap();
        let bytes = || {
            let (cancel, mut sink) = (Cancel::new(), |_| {});
            let loader = Loader::new(&weights, "tiny", &cancel, &mut sink);
            families::build(&weights, "tiny", loader).unwrap().bytes()
        };
        assert_eq!(bytes(), weights.bytes());
        // Vectors of tokens stay as they are, in main memory, and a head that is tied to them is a copy; norms are
        // f32 either way.
        let more = weights.tensors.iter().map(|(name, tensor)| {
            let values = tensor.shape.iter().product::<usize>() as u64;
            match (tensor.shape.len(), name.contains("embed_tokens")) {
                (2, false) => 2 * values,
                (2, true) if is_tied => 4 * values,
                _ => 0,
            }
        });
        let more: u64 = more.sum();
        assert!(more > 0);
        assert_eq!(composed(bytes), weights.bytes() + more, "{name}");
    }
}
