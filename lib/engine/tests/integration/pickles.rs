//! Weights that `torch.save` wrote (`fixtures/make_torch.py`): read value for value, and nothing of
//! a pickle is ever executed, whatever it asks for.

use std::{collections::BTreeMap, path::Path};

use engine::{
    Cancel,
    families::{self, CausalLm},
    hub::Layout,
    weights::Weights,
};
use proptest::{collection::vec, prelude::*};
use wire::{Failure, FailureKind};

use crate::{
    support::{copied, fixture, json},
    unsafe_allocations::peak_of,
};

fn load(folder: &str) -> Box<dyn CausalLm> {
    let weights = Weights::open(&Layout::Folder(fixture(folder))).unwrap();
    families::load(&weights, folder, &Cancel::new(), &mut |_| {}).unwrap()
}

/// Logits of the last of some tokens.
fn logits(model: &dyn CausalLm) -> Vec<f32> {
    let hidden = model
        .hidden_states(&[1, 5, 9, 2], &mut model.new_cache())
        .unwrap();
    let logits = model.logits(&hidden).unwrap();
    logits.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn a_pickled_model_computes_what_its_safetensors_do() {
    for (pickled, safetensors) in [
        ("torch/views", "tiny_llama/grouped"),
        ("torch/parameters", "tiny_llama/tied_bf16"),
    ] {
        let (ours, expected) = (load(pickled), load(safetensors));
        assert_eq!(
            logits(ours.as_ref()),
            logits(expected.as_ref()),
            "{pickled}"
        );
    }
    let versions = json("torch/versions.json");
    assert!(versions["torch"].is_string());
}

/// As transformers has it where no type is asked for; they once were missing.
#[test]
fn doubles_are_read_as_floats() {
    let expected = logits(load("tiny_llama/grouped").as_ref());
    for name in ["model.safetensors", "pytorch_model.bin"] {
        let folder = copied("torch/doubles", &["config.json", name]);
        let weights = Weights::open(&Layout::Folder(folder.path().to_owned())).unwrap();
        let model = families::load(&weights, name, &Cancel::new(), &mut |_| {}).unwrap();
        assert_eq!(logits(model.as_ref()), expected, "{name}");
        assert_eq!(weights.bytes(), 4 * weights.parameters(), "{name}");
    }
}

/// A tensor of a type that no layer takes is told by its type, and not as missing.
#[test]
fn a_type_that_no_layer_takes_is_named() {
    let folder = copied("tiny_llama/grouped", &["config.json"]);
    let mut file = std::fs::read(fixture("tiny_llama/grouped/model.safetensors")).unwrap();
    let name = b"model.layers.1.mlp.up_proj.weight";
    let at = file.windows(name.len()).position(|part| part == name);
    let rest = &mut file[at.unwrap()..];
    let at = rest.windows(5).position(|part| part == b"\"F32\"").unwrap();
    rest[at..at + 5].copy_from_slice(b"\"U32\"");
    std::fs::write(folder.path().join("model.safetensors"), file).unwrap();
    let weights = Weights::open(&Layout::Folder(folder.path().to_owned())).unwrap();
    let failure = families::load(&weights, "tiny", &Cancel::new(), &mut |_| {})
        .err()
        .unwrap();
    assert_eq!(failure.kind, FailureKind::Unsupported);
    let because = "tensor `model.layers.1.mlp.up_proj.weight` is U32";
    assert!(failure.message.contains(because), "{failure}");
}

fn open_as(folder: &Path, bytes: &[u8]) -> (Result<Weights, Failure>, usize) {
    std::fs::write(folder.join("config.json"), "{}").unwrap();
    std::fs::write(folder.join("pytorch_model.bin"), bytes).unwrap();
    peak_of(|| Weights::open(&Layout::Folder(folder.to_owned())))
}

#[test]
fn a_pickle_that_wants_more_than_tensors_is_refused_by_name() {
    let mut expected = BTreeMap::from([
        ("system", "`posix.system`"),
        ("eval", "`builtins.eval`"),
        ("load", "`torch.serialization.load`"),
        ("object", "opcode 0x81"),
        ("build", "attributes of what is no table"),
        ("deep", "no table of tensors"),
        ("bomb", "no table of tensors"),
        ("number", "opcode 0x8b"),
        ("text", "it ends early"),
        ("memo", "it recalls 7"),
        ("mark", "closes what it did not open"),
        ("below", "a value that is not there"),
        ("endless", "it ends early"),
        ("list", "no table of tensors"),
        ("spread", "does not fit its storage"),
        ("beyond", "does not fit its storage"),
        ("reach", "does not fit its storage"),
        ("many", "does not fit its storage"),
        ("negative", "are no sizes"),
        ("short", "does not fit its storage"),
        ("dimensions", "9 dimensions"),
        ("swollen", "compressed or encrypted"),
        ("legacy", "format of torch before 1.6"),
    ]);
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture("torch/hostile")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let because = expected.remove(name).expect(name);
        let bytes = std::fs::read(&path).unwrap();
        let (result, peak) = open_as(folder.path(), &bytes);
        let failure = result.map(drop).expect_err(name);
        assert!(failure.message.contains(because), "{name}: {failure}");
        let kind = if name == "legacy" {
            FailureKind::Unsupported
        } else {
            FailureKind::Corrupt
        };
        assert_eq!(failure.kind, kind, "{name}");
        assert!(peak < 16 << 20, "{name}: it took {peak} bytes");
    }
    assert!(expected.is_empty(), "not tried: {expected:?}");
}

#[test]
fn every_cut_of_an_archive_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(fixture("torch/parameters/two.bin")).unwrap();
    assert!(open_as(folder.path(), &whole).0.is_ok());
    for length in (0..whole.len()).step_by(97) {
        let failure = open_as(folder.path(), &whole[..length]).0.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Corrupt, "cut at {length}");
    }
}

/// The bytes of the pickle and of the archive's records, and not those of the weights.
fn altered(edits: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    let mut bytes = std::fs::read(fixture("torch/parameters/two.bin")).unwrap();
    let pickle_end = bytes
        .windows(2)
        .position(|pair| pair == b"u.")
        .unwrap_or(2000);
    let directory = bytes.len() - 1500;
    for (place, value) in edits {
        let at = place.index(pickle_end + 1500);
        let at = if at < pickle_end {
            at
        } else {
            directory + at - pickle_end
        };
        bytes[at] = *value;
    }
    bytes
}

proptest! {
    #[test]
    fn an_altered_archive_neither_panics_nor_takes_much(
        edits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..10)
    ) {
        let folder = tempfile::tempdir().unwrap();
        let bytes = altered(&edits);
        let (result, peak) = open_as(folder.path(), &bytes);
        prop_assert!(peak < (2 << 20) + 64 * bytes.len(), "it took {peak} bytes");
        if let Ok(weights) = result {
            let most = 64 * bytes.len() as u64;
            prop_assert!(weights.bytes() <= most, "more weights than bytes");
        }
    }
}
