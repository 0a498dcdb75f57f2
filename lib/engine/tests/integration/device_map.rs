//! Where modules live: maps by module names against transformers' rules. All devices of this build are the
//! processor, so that a model in several places computes what one in a single place does.

use std::collections::BTreeMap;

use engine::{
    Cancel, families,
    hub::Layout,
    placement::Placement,
    weights::{Loader, Weights},
};
use wire::{
    Failure, FailureKind,
    generate::GenerationConfig,
    host::{Event, Request, Response},
    model::{Device, DeviceMap, ModelInfo, ModelSpec},
};

use crate::{
    generation::Tiny,
    support::{ask, fixture},
};

fn map(places: &[(&str, Device)]) -> DeviceMap {
    let places = places
        .iter()
        .map(|(name, device)| ((*name).to_owned(), *device));
    DeviceMap::Modules(places.collect::<BTreeMap<_, _>>())
}

fn load(tiny: &Tiny, map: DeviceMap) -> (Result<ModelInfo, Failure>, Vec<String>) {
    let spec = ModelSpec {
        device_map: map,
        ..tiny.spec()
    };
    let (answer, events) = ask(&tiny.service, Request::LoadModel(spec));
    let notices = events.into_iter().filter_map(|event| match event {
        Event::Notice(line) => Some(line),
        _ => None,
    });
    let info = answer.map(|response| match response {
        Response::Model(info) => info,
        other => panic!("{other:?}"),
    });
    (info, notices.collect())
}

const BY_LAYERS: [(&str, Device); 5] = [
    ("model.embed_tokens", Device::Cpu),
    ("model.layers.0", Device::Cpu),
    ("model.layers.1", Device::Cpu),
    ("model.norm", Device::Cpu),
    ("lm_head", Device::Cpu),
];

#[test]
fn a_model_in_several_places_says_the_same() {
    let tiny = Tiny::new();
    let generate = |device_map| {
        let request = Request::Generate {
            model: ModelSpec {
                device_map,
                ..tiny.spec()
            },
            prompts: vec![wire::generate::Prompt::Ids {
                ids: vec![5, 17, 99, 3],
                fingerprint: None,
            }],
            config: GenerationConfig {
                max_new_tokens: Some(20),
                output_logits: Some(true),
                ..GenerationConfig::default()
            },
            generation_config: None,
            stream: None,
            assistant: None,
        };
        match ask(&tiny.service, request).0.unwrap() {
            Response::Generated(mut generated) => generated.remove(0),
            other => panic!("{other:?}"),
        }
    };
    let whole = generate(Device::Auto.into());
    let parts = generate(map(&BY_LAYERS));
    assert_eq!(whole.ids, parts.ids);
    assert_eq!(whole.details.logits, parts.details.logits);
    assert_eq!(tiny.service.residents().len(), 2);
    // `auto`, a device by its name and a map of the whole are one model.
    for same in [Device::Cpu.into(), map(&[("", Device::Cpu)])] {
        let (info, _) = load(&tiny, same);
        let info = info.unwrap();
        assert!(info.was_resident);
        assert_eq!(info.device_map, [(String::new(), Device::Cpu)]);
    }
    assert_eq!(tiny.service.residents().len(), 2);
}

#[test]
fn a_map_is_told_back_and_its_strangers_are() {
    let tiny = Tiny::new();
    let (info, notices) = load(&tiny, map(&BY_LAYERS));
    let info = info.unwrap();
    assert_eq!(info.device, "cpu");
    let names: Vec<&str> = info
        .device_map
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names.len(), 5);
    assert!(names.contains(&"model.layers.1"));
    assert!(
        !notices.iter().any(|line| line.contains("device_map")),
        "{notices:?}"
    );
    let stranger = [("model.layers.7", Device::Cpu), ("", Device::Cpu)];
    let (info, notices) = load(&tiny, map(&stranger));
    info.unwrap();
    assert!(
        notices
            .iter()
            .any(|line| line.contains("match no module") && line.contains("`model.layers.7`")),
        "{notices:?}"
    );
}

#[test]
fn what_a_map_leaves_out_is_refused_by_name() {
    let tiny = Tiny::new();
    let fail = |places: &[(&str, Device)]| load(&tiny, map(places)).0.unwrap_err();
    let failure = fail(&BY_LAYERS[..4]);
    assert_eq!(failure.kind, FailureKind::InvalidArgument);
    assert!(
        failure.message.contains("any device for `lm_head.weight`"),
        "{failure}"
    );
    let failure = fail(&[
        ("model.embed_tokens", Device::Cpu),
        ("lm_head", Device::Cpu),
    ]);
    assert!(failure.message.contains("`model.layers.0."), "{failure}");
    let failure = fail(&[("", Device::Cpu), ("model.layers.1", Device::Cuda(0))]);
    assert_eq!(failure.kind, FailureKind::Device);
    assert!(failure.message.contains("`cuda:0`") && failure.hint.is_some());
    assert!(tiny.service.residents().is_empty());
}

/// The names are those of transformers' classes, whatever the files call the tensors, and a tied head is one
/// of them, as there.
#[test]
fn names_are_those_of_the_classes() {
    let place = |file: &str, places: &[(&str, Device)]| {
        let path = fixture(file);
        let layout = if path.is_dir() {
            Layout::Folder(path)
        } else {
            Layout::Gguf(path)
        };
        let weights = Weights::open(&layout).unwrap();
        let placement = Placement::new(&map(places), &weights)?;
        let (cancel, mut sink) = (Cancel::new(), |_| {});
        let loader = Loader::new(&weights, "tiny", &cancel, &mut sink);
        families::build(&weights, "tiny", loader.with_placement(&placement))?;
        Ok::<_, Failure>(placement.notice("tiny"))
    };
    let cpu = Device::Cpu;
    for file in [
        "families/gguf/llama.gguf",
        "families/gguf/gemma2.gguf",
        "families/llama_linear",
        "families/phi3",
    ] {
        assert_eq!(
            place(file, &[("model", cpu), ("lm_head", cpu)]).unwrap(),
            None,
            "{file}"
        );
        let failure = place(file, &[("model", cpu)]).unwrap_err();
        assert!(
            failure.message.contains("`lm_head.weight`"),
            "{file}: {failure}"
        );
        let parts = [
            ("model.layers.1.mlp", cpu),
            ("model.layers.0.self_attn.o_proj", cpu),
            ("", cpu),
        ];
        assert_eq!(place(file, &parts).unwrap(), None, "{file}");
    }
    for file in [
        "families/gguf/mixtral.gguf",
        "families/gguf/mixtral_old.gguf",
        "families/mixtral",
    ] {
        let parts = [
            ("model.layers.0.block_sparse_moe.experts", cpu),
            ("model.layers.1.block_sparse_moe", cpu),
            ("", cpu),
        ];
        assert_eq!(place(file, &parts).unwrap(), None, "{file}");
    }
    for file in ["families/gguf/gpt2.gguf", "families/gpt2"] {
        let parts = [
            ("transformer.wte", cpu),
            ("transformer.wpe", cpu),
            ("transformer.h", cpu),
            ("transformer.h.1.attn.c_attn", cpu),
            ("transformer.ln_f", cpu),
            ("lm_head", cpu),
        ];
        assert_eq!(place(file, &parts).unwrap(), None, "{file}");
        assert!(place(file, &parts[1..]).is_err(), "{file}");
    }
    for file in ["families/gguf/qwen3_moe.gguf", "families/qwen3_moe_normal"] {
        let parts = [
            ("model.layers.0.mlp.experts", cpu),
            ("model.layers.0.mlp.gate", cpu),
            ("", cpu),
        ];
        assert_eq!(place(file, &parts).unwrap(), None, "{file}");
    }
}
