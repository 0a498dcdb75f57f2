//! The tree of modules against `print(model)` of transformers 4.57.6 (fixture by
//! `make_module_trees.py`), for every family, encoder and
//! encoder-decoder, quantised too.

use engine::{
    Cancel, Service,
    bitsandbytes::Plan,
    encoders::{self, TextEncoder},
    families::{self, CausalLm},
    hub::Layout,
    seq2seq,
    weights::{Loader, Weights},
};
use serde_json::{Value, json};
use wire::{
    host::{Request, Response},
    model::{DType, FourBitType, ModuleInfo, Quantization, QuantizationMethod, Threshold},
};

use crate::support::{ask, embedded, fixture, json as read_json, spec};

fn quantization(way: &str) -> Option<Quantization> {
    let method = match way {
        "nf4" => QuantizationMethod::FourBit {
            kind: FourBitType::Nf4,
            double_quant: false,
            compute_dtype: DType::F32,
        },
        "int8" => QuantizationMethod::EightBit {
            threshold: Threshold(6.0),
        },
        _ => return None,
    };
    Some(Quantization {
        method,
        skip_modules: None,
    })
}

/// What `print(model)` shows of a model, and how many bytes it takes.
fn load(weights: &Weights, loader: &mut Loader) -> (Option<ModuleInfo>, u64) {
    if encoders::knows(weights) {
        let model = encoders::build(weights, loader).unwrap();
        return (TextEncoder::modules(&model).cloned(), model.bytes());
    }
    if seq2seq::kind(weights) == Some(seq2seq::Kind::Classifier) {
        let model = seq2seq::Classifier::build(weights, loader).unwrap();
        return (model.modules().cloned(), TextEncoder::bytes(&model));
    }
    let model = seq2seq::build(weights, loader).unwrap();
    (model.modules().cloned(), CausalLm::bytes(&model))
}

/// The first line of a tree that is not as expected, or the numbers of parameters.
fn difference(case: &str, found: &Value, expected: &Value) -> String {
    let [left, right] = [found, expected].map(|value| value["tree"].as_str().unwrap());
    let mut lines = left.lines().zip(right.lines());
    match lines.find(|(left, right)| left != right) {
        Some((left, right)) => format!("{case}: {left:?}, expected {right:?}"),
        None => format!(
            "{case}: {}, expected {}",
            found["parameters"], expected["parameters"]
        ),
    }
}

#[test]
fn the_tree_is_what_transformers_prints() {
    let trees = read_json("module_trees.json");
    let mut wrong = Vec::new();
    for (case, expected) in trees["trees"].as_object().unwrap() {
        let mut words = case.splitn(3, '/');
        let name = [words.next().unwrap(), words.next().unwrap()].join("/");
        let way = words.next().unwrap_or_default();
        let layout = Layout::Folder(fixture(&name));
        let mut weights = Weights::open(&layout).unwrap();
        encoders::rename(&mut weights);
        let plan = Plan::new(quantization(way).as_ref(), None, &weights).unwrap();
        let (cancel, mut sink) = (Cancel::new(), |_| {});
        let mut loader = Loader::new(&weights, &name, &cancel, &mut sink).with_plan(plan.as_ref());
        let (tree, bytes) = if name.starts_with("families/") {
            let model = families::build(&weights, &name, loader).unwrap();
            (model.modules().cloned(), model.bytes())
        } else {
            load(&weights, &mut loader)
        };
        let tree = tree.unwrap_or_else(|| panic!("{case}: no tree"));
        // All weights are somewhere in the tree.
        let found = json!({"tree": tree.to_string(), "parameters": tree.parameters});
        if found != *expected {
            wrong.push(difference(case, &found, expected));
        }
        assert!(tree.bytes > 0 && tree.bytes <= bytes * 2, "{case}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_gguf_file_has_the_same_names_and_its_formats() {
    let (answer, _) = ask(&Service::new(), Request::LoadModel(spec(embedded())));
    let Response::Model(info) = answer.unwrap() else {
        panic!("no model")
    };
    let tree = info.modules.expect("is of a known family");
    let text = tree.to_string();
    for line in [
        "LlamaForCausalLM(",
        "    (embed_tokens): Embedding(49152, 576, Q8_0)",
        "      (0-29): 30 x LlamaDecoderLayer(",
        "          (q_proj): Linear(in_features=576, out_features=576, bias=False, Q4_1)",
        "        (input_layernorm): LlamaRMSNorm((576,), eps=1e-05)",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    assert_eq!(tree.parameters, info.parameters);
    assert_eq!(tree.bytes, info.bytes);
    assert_eq!(info.license.as_deref(), Some("apache-2.0"));
}
