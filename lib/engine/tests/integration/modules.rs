//! The tree of modules against `print(model)` of transformers 4.57.6 (fixture by
//! `make_module_trees.py`), for every family, quantised too.

use engine::{
    Cancel, Service,
    bitsandbytes::Plan,
    families,
    hub::Layout,
    weights::{Loader, Weights},
};
use wire::{
    host::{Request, Response},
    model::{DType, FourBitType, Quantization, QuantizationMethod, Threshold},
};

use crate::support::{ask, embedded, fixture, json, spec};

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

#[test]
fn the_tree_is_what_transformers_prints() {
    let trees = json("module_trees.json");
    for (case, expected) in trees["trees"].as_object().unwrap() {
        let (name, way) = case.split_once('/').unwrap_or((case, ""));
        let layout = Layout::Folder(fixture(&format!("families/{name}")));
        let weights = Weights::open(&layout).unwrap();
        let plan = Plan::new(quantization(way).as_ref(), None, &weights).unwrap();
        let (cancel, mut sink) = (Cancel::new(), |_| {});
        let loader = Loader::new(&weights, name, &cancel, &mut sink).with_plan(plan.as_ref());
        let model = families::build(&weights, name, loader).unwrap();
        let tree = model.modules().unwrap_or_else(|| panic!("{case}: no tree"));
        assert_eq!(tree.to_string(), expected.as_str().unwrap(), "{case}");
        // All weights are somewhere in the tree.
        let tied = weights.tensors.contains_key("lm_head.weight");
        let expected = plan.as_ref().map_or(weights.parameters(), |plan| {
            engine::bitsandbytes::parameters(&weights, plan)
        });
        assert!(
            tree.parameters == expected || tied,
            "{case}: {} {expected}",
            tree.parameters
        );
        assert!(tree.bytes > 0 && tree.bytes <= model.bytes() * 2, "{case}");
    }
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
