//! Tiny random checkpoints of every family against transformers (fixtures by `make_families.py`, and as
//! GGUF by `make_families_gguf.py`): logits, greedy tokens, reading in parts, batches with padding, and a
//! cache that is cut back and reordered.

use candle_core::DType;
use engine::{
    Cancel,
    families::{self, CausalLm, Part},
    hub::Layout,
    layers::{KvCache, split},
    weights::Weights,
};

use crate::support::{fixture, ids, json};

/// Largest difference of a logit where both sides compute in f32, in another order of sums.
const TOLERANCE: f32 = 1e-4;
/// The same where transformers computes in bfloat16 and we, from the same weights, in f32.
const BF16_TOLERANCE: f32 = 2e-2;

fn load(layout: &Layout) -> Box<dyn CausalLm> {
    let weights = Weights::open(layout).unwrap();
    families::load(&weights, "tiny", &Cancel::new(), &mut |_| {}).unwrap()
}

fn check(variant: &str) {
    let expected = json(&format!("families/{variant}/expected.json"));
    let folder = fixture(&format!("families/{variant}"));
    check_model(
        load(&Layout::Folder(folder.clone())).as_ref(),
        &expected,
        variant,
    );
    // The same weights beside the configuration as transformers 5 spells it; one is not there, since
    // there 5 computes something else.
    if variant == "gemma_exact_gelu" {
        return;
    }
    let five = tempfile::tempdir().unwrap();
    for (from, to) in [
        ("config_5.json", "config.json"),
        ("model.safetensors", "model.safetensors"),
    ] {
        std::fs::copy(folder.join(from), five.path().join(to)).unwrap();
    }
    let five = load(&Layout::Folder(five.path().to_owned()));
    check_numbers(
        five.as_ref(),
        &expected,
        &format!("{variant} by transformers 5"),
    );
}

/// The same of a checkpoint whose configuration transformers 5 spells as 4 does.
fn check_alone(variant: &str) {
    let expected = json(&format!("families/{variant}/expected.json"));
    let layout = Layout::Folder(fixture(&format!("families/{variant}")));
    check_model(load(&layout).as_ref(), &expected, variant);
}

fn check_gguf(variant: &str) {
    let expected = json(&format!("families/gguf/{variant}.json"));
    let file = fixture(&format!("families/gguf/{variant}.gguf"));
    check_model(load(&Layout::Gguf(file)).as_ref(), &expected, variant);
}

fn check_model(model: &dyn CausalLm, expected: &serde_json::Value, variant: &str) {
    check_numbers(model, expected, variant);
    check_cache(model, &ids(&expected["prompt"]), variant);
}

/// Logits and greedy tokens are the reference's.
#[expect(
    clippy::print_stdout,
    reason = "the measured errors, for whoever asks with --nocapture"
)]
fn check_numbers(model: &dyn CausalLm, expected: &serde_json::Value, variant: &str) {
    let prompt = ids(&expected["prompt"]);
    let logits = read(model, &mut model.new_cache(), &prompt);
    for (key, tolerance) in [("logits", TOLERANCE), ("logits_bf16", BF16_TOLERANCE)] {
        let Some(rows) = expected[key].as_array() else {
            continue;
        };
        let mut error = 0.0_f32;
        for (position, row) in ids(&expected["positions"]).iter().zip(rows) {
            let row: Vec<f32> = serde_json::from_value(row.clone()).unwrap();
            error = error.max(distance(&logits[*position as usize], &row));
        }
        println!("{variant}: {key} within {error:e}");
        assert!(error < tolerance, "{variant}: {key} differ by {error}");
    }
    assert_eq!(
        greedy(model, &prompt, 64),
        ids(&expected["greedy"]),
        "{variant}"
    );
}

/// However a prompt is read, the model ends where one reading of the whole leaves it.
fn check_cache(model: &dyn CausalLm, prompt: &[u32], variant: &str) {
    let prompt = &prompt[..prompt.len().min(120)];
    let whole = read(model, &mut model.new_cache(), prompt);
    let last = whole.last().unwrap();
    let mut cache = model.new_cache();
    let mut one_by_one = Vec::new();
    for id in prompt {
        one_by_one = read(model, &mut cache, &[*id]);
    }
    assert!(
        distance(last, &one_by_one[0]) < TOLERANCE,
        "{variant}: token by token"
    );
    cache.truncate(9);
    assert_eq!(cache.shared_prefix(prompt), 9);
    let rest = read(model, &mut cache, &prompt[9..]);
    assert!(
        distance(last, rest.last().unwrap()) < TOLERANCE,
        "{variant}: after a cut"
    );
    check_batch(model, prompt, variant);
}

/// Past the trained length the frequencies are those of the whole prompt, in however many parts it is
/// read; and nothing of it serves another prompt.
#[test]
fn llama_dynamic() {
    let expected = json("families/llama_dynamic/expected.json");
    let model = load(&Layout::Folder(fixture("families/llama_dynamic")));
    check_numbers(model.as_ref(), &expected, "llama_dynamic");
    let prompt = ids(&expected["prompt"]);
    let whole = read(model.as_ref(), &mut model.new_cache(), &prompt);
    let mut cache = model.new_cache();
    cache.plan(prompt.len());
    read(model.as_ref(), &mut cache, &prompt[..30]);
    let rest = read(model.as_ref(), &mut cache, &prompt[30..]);
    assert!(distance(whole.last().unwrap(), rest.last().unwrap()) < TOLERANCE);
    assert_eq!(
        (model.settled_length(), model.sizes().context_length),
        (64, 256)
    );
}

/// Keys and values in 16 bits change logits by their rounding, and take half the memory.
#[test]
fn a_cache_in_16_bits() {
    let expected = json("families/mistral_window/expected.json");
    let prompt = ids(&expected["prompt"]);
    let model = load(&Layout::Folder(fixture("families/mistral_window")));
    let mut exact = model.new_cache();
    let reference = read(model.as_ref(), &mut exact, &prompt);
    for (dtype, tolerance) in [(DType::BF16, 2e-2), (DType::F16, 3e-3)] {
        let mut cache = model.new_cache().stored_as(dtype).unwrap();
        let logits = read(model.as_ref(), &mut cache, &prompt);
        let errors = reference.iter().zip(&logits).map(|(a, b)| distance(a, b));
        let error = errors.fold(0.0, f32::max);
        assert!(error > 0.0 && error < tolerance, "{dtype:?}: {error}");
        assert_eq!(2 * cache.bytes(), exact.bytes());
    }
    assert!(model.new_cache().stored_as(DType::U8).is_err());
    assert!(exact.stored_as(DType::F16).is_err(), "it holds tokens");
}

/// Rows of a batch, one padded on the left, are what each is by itself; also once exchanged.
fn check_batch(model: &dyn CausalLm, prompt: &[u32], variant: &str) {
    let (short, padding) = (&prompt[5..], 5);
    let alone = [prompt, short].map(|ids| {
        let mut cache = model.new_cache();
        read(model, &mut cache, ids);
        read(model, &mut cache, &[3])
    });
    let padded: Vec<u32> = [0; 5].iter().chain(short).copied().collect();
    let mut cache = model.new_batch_cache(&[0, padding]);
    let both: Vec<u32> = prompt.iter().chain(&padded).copied().collect();
    read(model, &mut cache, &both);
    cache.reorder(&[1, 0, 1]).unwrap();
    let rows = read(model, &mut cache, &[3, 3, 3]);
    for (row, alone) in rows.iter().zip([&alone[1], &alone[0], &alone[1]]) {
        let error = distance(row, &alone[0]);
        assert!(error < TOLERANCE, "{variant}: in a batch: {error}");
    }
    assert_eq!(cache.padding().as_ref(), [5, 0, 5]);
    check_joined(model, prompt, variant);
}

/// Sequences at different places, and a batch, read in one pass are what each is by itself.
fn check_joined(model: &dyn CausalLm, prompt: &[u32], variant: &str) {
    let beginnings: [(&[usize], &[u32]); 3] =
        [(&[0], prompt), (&[0], &prompt[5..14]), (&[0, 0], &[])];
    let batch = [&prompt[..7], &prompt[2..9]].concat();
    let next: [&[u32]; 3] = [&[3], &prompt[14..], &batch];
    let new = || {
        beginnings.map(|(padding, ids)| {
            let mut cache = model.new_batch_cache(padding);
            if !ids.is_empty() {
                read(model, &mut cache, ids);
            }
            cache
        })
    };
    let mut caches = new();
    let alone: Vec<_> = caches
        .iter_mut()
        .zip(next)
        .map(|(cache, ids)| model.hidden_states(ids, cache).unwrap())
        .collect();
    let mut caches = new();
    let mut parts: Vec<Part> = caches
        .iter_mut()
        .zip(next)
        .map(|(cache, ids)| Part { ids, cache })
        .collect();
    let (states, sizes) = model.read(&mut parts).unwrap();
    let joined = split(&states, &sizes).unwrap();
    assert_eq!(joined.len(), 3);
    for (joined, alone) in joined.iter().zip(&alone) {
        assert_eq!(joined.dims(), alone.dims());
        let values = [joined, alone].map(|x| x.flatten_all().unwrap().to_vec1().unwrap());
        let error = distance(&values[0], &values[1]);
        assert!(
            error < TOLERANCE,
            "{variant}: in a pass with others: {error}"
        );
    }
    let lengths = caches.map(|cache| cache.len());
    assert_eq!(lengths, [prompt.len() + 1, prompt.len() - 5, 7]);
}

/// Logits of all positions of a step, row by row.
fn read(model: &dyn CausalLm, cache: &mut KvCache, ids: &[u32]) -> Vec<Vec<f32>> {
    let hidden = model.hidden_states(ids, cache).unwrap();
    let logits = model.logits(&hidden).unwrap();
    logits.flatten_to(1).unwrap().to_vec2().unwrap()
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    // A NaN must not hide behind `max`.
    differences.fold(0.0, |largest, d| {
        if d > largest || d.is_nan() {
            d
        } else {
            largest
        }
    })
}

fn greedy(model: &dyn CausalLm, prompt: &[u32], count: usize) -> Vec<u32> {
    let mut cache = model.new_cache();
    let mut next = prompt.to_vec();
    let mut added = Vec::new();
    while added.len() < count {
        let logits = read(model, &mut cache, &next);
        let last = logits.last().unwrap();
        let best = (0..last.len())
            .max_by(|&a, &b| last[a].total_cmp(&last[b]))
            .unwrap();
        added.push(best as u32);
        next = vec![best as u32];
    }
    added
}

macro_rules! families {
    ($check:path: $($name:ident)*) => {
        $(#[test]
        fn $name() {
            $check(stringify!($name));
        })*
    };
}

families! { check:
    llama_bare
    mistral_yarn
    mixtral_linear
    qwen2_dynamic
    qwen3_yarn
    qwen3_moe_biases
    phi3_bare
    gemma_linear
    gemma2_yarn
    gemma3_types
    gemma3_dynamic
    smollm3_yarn
    starcoder2_linear
    gpt2_bare
    llama_linear
    llama_yarn
    llama_dynamic_crossing
    llama_long_prompt
    mistral_window
    mistral_full
    mixtral
    qwen2
    qwen2_window
    qwen2_yarn
    qwen3
    qwen3_untied
    qwen3_moe
    qwen3_moe_normal
    phi3
    phi4_crossing
    phi4_long
    gemma
    gemma_exact_gelu
    gemma2
    gemma3
    smollm3
    smollm3_listed
    gpt2
    starcoder2
}

families! { check_alone:
    gpt2_scaled
    gpt2_unscaled
    gpt2_by_layer
    llama_relu2
    qwen2_mish
    phi3_laplace
}

mod gguf {
    use super::{Layout, check_model, fixture, json, load};

    /// Tensors lie in three files; whichever is named, all are read.
    #[test]
    fn a_file_in_parts() {
        for part in 1..=3 {
            let file = fixture(&format!(
                "families/gguf/llama_split-0000{part}-of-00003.gguf"
            ));
            let expected = json("families/gguf/llama_split.json");
            check_model(load(&Layout::Gguf(file)).as_ref(), &expected, "llama_split");
        }
    }

    families! { super::check_gguf:
        llama
        llama_plain
        llama3
        mixtral
        mixtral_old
        typed_llama
        typed_qwen2
        typed_qwen3
        typed_phi3
        typed_gemma2
        typed_gemma3
        qwen2
        qwen2_yarn
        qwen3
        qwen3_moe
        phi3
        phi4
        gemma
        gemma2
        gemma3
        smollm3
        gpt2
        starcoder2
    }
}
