//! Random and randomly altered headers: reading one never panics, never takes much more memory than
//! the file has bytes, and gives back what was written when nothing was altered. What once failed is
//! kept by proptest in `proptest-regressions`, and tried first. `PROPTEST_CASES=1000000` is a long
//! run.

use std::{collections::BTreeMap, path::Path};

use engine::{
    hub::Layout,
    weights::{Description, Weights},
};
use proptest::{collection::vec, prelude::*};
use serde_json::json;
use wire::Failure;

use crate::{support::gguf::Gguf, unsafe_allocations::peak_of};

/// Bytes that one byte of a file may claim: a list's value takes four words.
const MOST_PER_BYTE: usize = 64;
/// Buffers, and the error.
const BASE: usize = 2 << 20;

/// Replaced bytes by place (a share of the file) and value; then a cut.
type Changes = (Vec<(f64, u8)>, Option<f64>);

fn changes() -> impl Strategy<Value = Changes> {
    let interesting = prop_oneof![
        Just(0_u8),
        Just(1),
        Just(0x7f),
        Just(0x80),
        Just(0xff),
        any::<u8>()
    ];
    (
        vec((0.0..1.0_f64, interesting), 0..12),
        prop::option::weighted(0.2, 0.0..1.0_f64),
    )
}

fn altered(mut bytes: Vec<u8>, (edits, cut): &Changes) -> Vec<u8> {
    let place = |share: f64, length: usize| (share * length as f64) as usize;
    let length = bytes.len();
    for (share, value) in edits.iter().filter(|_| length > 0) {
        bytes[place(*share, length)] = *value;
    }
    if let Some(share) = cut {
        bytes.truncate(place(*share, length));
    }
    bytes
}

fn open_gguf(folder: &Path, bytes: &[u8]) -> (Result<Weights, Failure>, usize) {
    let path = folder.join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    peak_of(|| Weights::open(&Layout::Gguf(path)))
}

fn open_safetensors(folder: &Path, bytes: &[u8]) -> (Result<Weights, Failure>, usize) {
    std::fs::write(folder.join("config.json"), "{}").unwrap();
    std::fs::write(folder.join("model.safetensors"), bytes).unwrap();
    peak_of(|| Weights::open(&Layout::Folder(folder.to_owned())))
}

#[derive(Clone, Debug)]
enum Pair {
    Integer(i32),
    Float(f32),
    Text(String),
    Flags(Vec<bool>),
    Texts(Vec<String>),
}

fn pairs() -> impl Strategy<Value = BTreeMap<String, Pair>> {
    let value = prop_oneof![
        any::<i32>().prop_map(Pair::Integer),
        any::<f32>().prop_map(Pair::Float),
        ".{0,20}".prop_map(Pair::Text),
        vec(any::<bool>(), 0..20).prop_map(Pair::Flags),
        vec(".{0,5}", 0..10).prop_map(Pair::Texts),
    ];
    prop::collection::btree_map("[a-z.]{1,8}", value, 0..8)
}

/// Lengths of one-dimensional f32 tensors.
fn tensors() -> impl Strategy<Value = Vec<u64>> {
    vec(1..40_u64, 0..6)
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

fn gguf(pairs: &BTreeMap<String, Pair>, sizes: &[u64]) -> Vec<u8> {
    let list = |kind: u32, count: usize, values: Vec<u8>| {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend((count as u64).to_le_bytes());
        bytes.extend(values);
        bytes
    };
    let mut file = Gguf::new();
    for (key, value) in pairs {
        file = match value {
            Pair::Integer(number) => file.pair(key, 5, &number.to_le_bytes()),
            Pair::Float(number) => file.pair(key, 6, &number.to_le_bytes()),
            Pair::Text(value) => file.pair(key, 8, &text(value)),
            Pair::Flags(flags) => {
                let bytes = flags.iter().map(|&flag| u8::from(flag)).collect();
                file.pair(key, 9, &list(7, flags.len(), bytes))
            }
            Pair::Texts(texts) => {
                let bytes = texts.iter().flat_map(|value| text(value)).collect();
                file.pair(key, 9, &list(8, texts.len(), bytes))
            }
        };
    }
    let mut offset = 0;
    for (number, size) in sizes.iter().enumerate() {
        file = file.tensor(&format!("t{number}"), &[*size], 0, offset);
        offset = (offset + 4 * size).next_multiple_of(32);
    }
    let mut bytes = file.0;
    bytes.resize(bytes.len().next_multiple_of(32) + offset as usize, 0);
    bytes
}

fn safetensors(sizes: &[u64]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut offset = 0;
    for (number, size) in sizes.iter().enumerate() {
        let end = offset + 4 * size;
        let entry = json!({ "dtype": "F32", "shape": [size], "data_offsets": [offset, end] });
        header.insert(format!("t{number}"), entry);
        offset = end;
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut bytes = text(&header);
    bytes.resize(bytes.len() + offset as usize, 0);
    bytes
}

proptest! {
    #[test]
    fn a_gguf_is_read_as_it_was_written(pairs in pairs(), sizes in tensors()) {
        let folder = tempfile::tempdir().unwrap();
        let weights = open_gguf(folder.path(), &gguf(&pairs, &sizes)).0.unwrap();
        let Description::Gguf(metadata) = &weights.description else { panic!("no GGUF") };
        for (key, value) in &pairs {
            let list = || metadata.list(key).map(<[_]>::len);
            match value {
                Pair::Integer(number) => {
                    prop_assert_eq!(metadata.count(key), usize::try_from(*number).ok());
                }
                Pair::Float(number) => {
                    let read = metadata.float(key).map(f64::to_bits);
                    prop_assert_eq!(read, Some(f64::from(*number).to_bits()));
                }
                Pair::Text(text) => prop_assert_eq!(metadata.text(key), Some(text.as_str())),
                Pair::Flags(flags) => prop_assert_eq!(list(), Some(flags.len())),
                Pair::Texts(texts) => prop_assert_eq!(list(), Some(texts.len())),
            }
        }
        prop_assert_eq!(weights.parameters(), sizes.iter().sum::<u64>());
    }

    #[test]
    fn an_altered_gguf_neither_panics_nor_takes_much(
        pairs in pairs(), sizes in tensors(), changes in changes()
    ) {
        let folder = tempfile::tempdir().unwrap();
        let bytes = altered(gguf(&pairs, &sizes), &changes);
        let (result, peak) = open_gguf(folder.path(), &bytes);
        prop_assert!(peak < BASE + MOST_PER_BYTE * bytes.len(), "it took {peak} bytes");
        if let Ok(weights) = result {
            prop_assert!(weights.bytes() <= bytes.len() as u64, "more weights than bytes");
        }
    }

    #[test]
    fn safetensors_are_read_as_written(sizes in tensors()) {
        let folder = tempfile::tempdir().unwrap();
        let weights = open_safetensors(folder.path(), &safetensors(&sizes)).0.unwrap();
        prop_assert_eq!(weights.parameters(), sizes.iter().sum::<u64>());
    }

    #[test]
    fn altered_safetensors_neither_panic_nor_take_much(
        sizes in tensors(), changes in changes()
    ) {
        let folder = tempfile::tempdir().unwrap();
        let bytes = altered(safetensors(&sizes), &changes);
        let (result, peak) = open_safetensors(folder.path(), &bytes);
        prop_assert!(peak < BASE + MOST_PER_BYTE * bytes.len(), "it took {peak} bytes");
        if let Ok(weights) = result {
            prop_assert!(weights.bytes() <= bytes.len() as u64, "more weights than bytes");
        }
    }

    #[test]
    fn noise_is_no_model(bytes in vec(any::<u8>(), 0..300)) {
        let folder = tempfile::tempdir().unwrap();
        prop_assert!(open_gguf(folder.path(), &bytes).0.is_err());
        prop_assert!(open_safetensors(folder.path(), &bytes).0.is_err());
    }
}
