//! Headers that lie: what they claim is held against the file, and costs no more memory than a small
//! multiple of what is really there. Sparse files stand for those that only look huge.

use std::{fs::File, path::Path};

use engine::{hub::Layout, weights::Weights};
use wire::{Failure, FailureKind, host::Request, model::ModelSource};

use crate::{
    support::{ask, assert_told, fixture, gguf::Gguf, spec},
    unsafe_allocations::{held, peak_of},
};

/// What opening may take for a file that is refused: buffers, and the error.
const LITTLE: usize = 2 << 20;

/// Opens a GGUF of these bytes, as part of a file of `length` bytes that takes no space on disk.
fn open_sparse(folder: &Path, bytes: &[u8], length: u64) -> (Result<Weights, Failure>, usize) {
    let path = folder.join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(length.max(bytes.len() as u64)).unwrap();
    peak_of(|| Weights::open(&Layout::Gguf(path)))
}

fn refused(bytes: &[u8], because: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (result, peak) = open_sparse(folder.path(), bytes, 1 << 42);
    let failure = result.map(drop).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Corrupt, "{failure}");
    assert!(failure.message.contains(because), "{because}: {failure}");
    assert!(peak < LITTLE, "{because}: it took {peak} bytes");
}

#[test]
fn claims_of_a_gguf_cost_nothing() {
    let huge = 1_u64 << 40;
    refused(&Gguf::counts(huge, 0), "items");
    refused(&Gguf::counts(0, huge), "items");
    refused(&Gguf::new().raw_key(huge, b"a").0, "over the limit");
    let text = [huge.to_le_bytes().as_slice(), b"x"].concat();
    refused(&Gguf::new().pair("k", 8, &text).0, "over the limit");
    let list = |kind: u32| [kind.to_le_bytes().as_slice(), &huge.to_le_bytes()].concat();
    for kind in [0, 4, 8, 9, 12] {
        refused(&Gguf::new().pair("k", 9, &list(kind)).0, "it announces");
    }
    let mut nested = Vec::new();
    for _ in 0..40 {
        nested.extend(9_u32.to_le_bytes());
        nested.extend(1_u64.to_le_bytes());
    }
    refused(&Gguf::new().pair("k", 9, &nested).0, "nested too deeply");
}

#[test]
fn what_a_gguf_says_twice_or_wrongly_is_refused() {
    let number = 1_u32.to_le_bytes();
    let twice = Gguf::new().pair("k", 4, &number).pair("k", 4, &number);
    refused(&twice.0, "key `k` is there twice");
    let tensors = |list: &[(&str, &[u64], u64)]| {
        list.iter()
            .fold(Gguf::new(), |gguf, (name, shape, offset)| {
                gguf.tensor(name, shape, 0, *offset)
            })
    };
    refused(
        &tensors(&[("w", &[8], 0), ("w", &[8], 32)]).0,
        "`w` is there twice",
    );
    refused(
        &tensors(&[("a", &[16], 0), ("b", &[8], 32)]).0,
        "`b` lies over another",
    );
    refused(&tensors(&[("w", &[8], 4)]).0, "`w` is not aligned");
    refused(&tensors(&[("w", &[8], u64::MAX - 31)]).0, "`w`");
    refused(&tensors(&[("w", &[0], 0)]).0, "impossible shape");
    refused(
        &tensors(&[("w", &[1 << 33, 1 << 33], 0)]).0,
        "impossible shape",
    );
    refused(&tensors(&[("w", &[1, 1, 1, 1, 1], 0)]).0, "5 dimensions");
    refused(&tensors(&[("w", &[], 0)]).0, "0 dimensions");
    for (kind, alignment) in [(4, 0_u32), (4, 48), (4, 1 << 31), (7, 1)] {
        let value = alignment.to_le_bytes();
        let value = if kind == 7 { &value[..1] } else { &value[..] };
        refused(
            &Gguf::new().pair("general.alignment", kind, value).0,
            "alignment",
        );
    }
    refused(&Gguf::new().pair("k", 13, &[]).0, "metadata type 13");
    let mut wrong_magic = Gguf::new().0;
    wrong_magic[..4].copy_from_slice(b"GGML");
    refused(&wrong_magic, "does not start with `GGUF`");
}

#[test]
fn another_version_or_format_is_named_with_what_loads() {
    let folder = tempfile::tempdir().unwrap();
    let version = |number: u32| {
        let mut bytes = Gguf::new().0;
        bytes[4..8].copy_from_slice(&number.to_le_bytes());
        bytes
    };
    let kind = |number| Gguf::new().tensor("w", &[8], number, 0).0;
    for (bytes, what, hint) in [
        (version(1), "GGUF version 1", "versions 2 and 3"),
        (version(4), "GGUF version 4", "versions 2 and 3"),
        (
            version(3_u32.swap_bytes()),
            "its numbers are big-endian",
            "little-endian",
        ),
        (kind(20), "`w` is IQ4_NL", "formats that load"),
        (kind(99), "`w` is of ggml type 99", "formats that load"),
    ] {
        let failure = open_sparse(folder.path(), &bytes, 1 << 20).0.unwrap_err();
        assert_told(&failure, FailureKind::Unsupported, what, hint);
    }
}

/// A folder with a header of this text, as part of a file of `length` bytes.
fn open_safetensors(header: &[u8], length: u64) -> (Result<Weights, Failure>, usize) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), "{}").unwrap();
    let path = folder.path().join("model.safetensors");
    let bytes = [&(header.len() as u64).to_le_bytes(), header].concat();
    std::fs::write(&path, &bytes).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(length).unwrap();
    peak_of(|| Weights::open(&Layout::Folder(folder.path().to_owned())))
}

#[test]
fn headers_of_safetensors_that_lie_are_refused() {
    let length = 1 << 42;
    for (header, because) in [
        (
            r#"{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}"#,
            "does not fit",
        ),
        (
            r#"{"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}"#,
            "does not fit",
        ),
        (
            r#"{"w": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 4]}}"#,
            "does not fit",
        ),
        (
            r#"{"w": {"dtype": "F32", "shape": [1], "data_offsets": [18446744073709551612, 18446744073709551616]}}"#,
            "tensor `w`",
        ),
        (
            r#"{"w": {"dtype": "F32", "shape": [1], "data_offsets": [18446744073709551608, 18446744073709551612]}}"#,
            "tensor `w`",
        ),
        (
            r#"{"w": {"dtype": "F32", "shape": [2199023255552], "data_offsets": [0, 8796093022208]}}"#,
            "past the end",
        ),
        (
            r#"{"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}"#,
            "there twice",
        ),
        (
            r#"{"v": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}"#,
            "lies over another",
        ),
        (
            r#"{"w": {"dtype": 7, "shape": [1], "data_offsets": [0, 4]}}"#,
            "tensor `w`",
        ),
        (
            r#"{"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}"#,
            "tensor `w`",
        ),
        (
            r#"{"w": {"dtype": "F32", "shape": [1,1,1,1,1,1,1,1,1], "data_offsets": [0, 4]}}"#,
            "at most 8 dimensions",
        ),
        (r#"["w"]"#, "tensors by name"),
        ("{", "EOF"),
    ] {
        let (result, peak) = open_safetensors(header.as_bytes(), length);
        let failure = result.map(drop).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Corrupt, "{header}: {failure}");
        assert!(failure.message.contains(because), "{header}: {failure}");
        assert!(peak < LITTLE, "{header}: it took {peak} bytes");
    }
}

/// As a tree of JSON values this header took forty times its length.
#[test]
fn a_long_header_takes_little_more_than_its_length() {
    let zeros = "0,".repeat(4 << 20);
    let header = format!(
        r#"{{"__metadata__": {{"x": [{zeros}0]}}, "w": {{"dtype": "F32", "shape": [{zeros}0], "data_offsets": [0, 4]}}}}"#
    );
    let (result, peak) = open_safetensors(header.as_bytes(), 1 << 30);
    assert_eq!(result.map(drop).unwrap_err().kind, FailureKind::Corrupt);
    assert!(peak < 2 * header.len() + LITTLE, "it took {peak} bytes");
}

#[test]
fn a_sharded_folder_may_have_subfolders_but_no_way_out_and_no_tensor_twice() {
    let source = fixture("tiny_llama/grouped");
    let shard = std::fs::read(source.join("model.safetensors")).unwrap();
    let open = |shards: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("model");
        std::fs::create_dir(&root).unwrap();
        std::fs::copy(source.join("config.json"), root.join("config.json")).unwrap();
        let mut map = serde_json::Map::new();
        for (number, name) in shards.iter().enumerate() {
            map.insert(format!("t{number}"), (*name).into());
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, &shard).unwrap();
        }
        let index = serde_json::json!({ "weight_map": map });
        std::fs::write(root.join("model.safetensors.index.json"), index.to_string()).unwrap();
        Weights::open(&Layout::Folder(root))
    };
    assert!(open(&["parts/one.safetensors"]).is_ok());
    let failure = open(&["../one.safetensors"]).unwrap_err();
    assert!(failure.message.contains("outside the folder"), "{failure}");
    let failure = open(&["a.safetensors", "b.safetensors"]).unwrap_err();
    assert!(
        failure.message.contains("in another shard too"),
        "{failure}"
    );
}

#[test]
fn a_configuration_without_end_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = File::create(folder.path().join("config.json")).unwrap();
    config.set_len(1 << 40).unwrap();
    let (result, peak) = peak_of(|| Weights::open(&Layout::Folder(folder.path().to_owned())));
    let failure = result.map(drop).unwrap_err();
    assert!(failure.message.contains("over the limit"), "{failure}");
    assert!(peak < LITTLE, "it took {peak} bytes");
}

/// The last layer is not there, which shows when all the others have been read.
#[test]
fn a_load_that_fails_midway_gives_back_what_it_took() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let mut bytes = std::fs::read(crate::support::embedded_file()).unwrap();
    let name = b"blk.29.ffn_up.weight";
    let at = bytes.windows(name.len()).position(|window| window == name);
    bytes[at.unwrap() + 4] = b'3';
    std::fs::write(&path, &bytes).unwrap();
    drop(bytes);
    let service = engine::Service::new();
    let before = held();
    let load = || {
        let source = ModelSource::new(path.display().to_string());
        ask(&service, Request::LoadModel(spec(source))).0.map(drop)
    };
    let (result, peak) = peak_of(load);
    let failure = result.unwrap_err();
    assert!(
        failure.message.contains("blk.29.ffn_up.weight"),
        "{failure}"
    );
    assert!(peak > 80 << 20, "it failed too early to tell: {peak} bytes");
    drop(failure);
    // The tokenizer stays: it is sound, and the next try needs it.
    let left = held() - before;
    assert!(left < 40 << 20, "{left} bytes are left");
    let (result, peak_again) = peak_of(load);
    assert!(result.is_err() && peak_again <= peak);
    let left_again = held() - before;
    assert!(
        left_again - left < 1 << 20,
        "each try keeps {left_again} bytes"
    );
}
