//! Files that are cut short, altered or hostile: each ends in a failure that says so, and none in a
//! panic or an allocation of the file's choosing.

use std::path::Path;

use engine::{hub::Layout, weights::Weights};
use wire::{Failure, FailureKind, host::Request, model::ModelSource};

use crate::support::{ask, assert_told, copied, fixture, spec};

fn open_gguf(folder: &Path, bytes: &[u8]) -> Result<Weights, Failure> {
    let path = folder.join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    Weights::open(&Layout::Gguf(path))
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// A file with one number and one tensor of two blocks.
fn small_gguf() -> Vec<u8> {
    let mut out = gguf_header(64);
    out.resize(out.len().next_multiple_of(32) + 2 * 34, 0);
    out
}

/// The header of a file with one number and one tensor of this many values in `Q8_0`.
fn gguf_header(values: u64) -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    out.extend(3_u32.to_le_bytes());
    out.extend(1_u64.to_le_bytes());
    out.extend(1_u64.to_le_bytes());
    text(&mut out, "llama.block_count");
    out.extend(4_u32.to_le_bytes());
    out.extend(2_u32.to_le_bytes());
    text(&mut out, "w");
    out.extend(1_u32.to_le_bytes());
    out.extend(values.to_le_bytes());
    out.extend(8_u32.to_le_bytes());
    out.extend(0_u64.to_le_bytes());
    out
}

#[test]
fn every_cut_of_a_gguf_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let whole = small_gguf();
    assert!(open_gguf(folder.path(), &whole).is_ok());
    for length in 0..whole.len() {
        let failure = open_gguf(folder.path(), &whole[..length]).unwrap_err();
        assert_eq!(
            failure.kind,
            FailureKind::Corrupt,
            "cut at {length}: {failure}"
        );
    }
}

/// A flipped byte may leave a valid file (another name, another number), but must never panic.
#[test]
fn no_flipped_byte_panics() {
    let folder = tempfile::tempdir().unwrap();
    let whole = small_gguf();
    for at in 0..whole.len() - 2 * 34 {
        for value in [0x00, 0x7f, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            drop(open_gguf(folder.path(), &bytes));
        }
    }
}

#[test]
fn counts_beyond_the_file_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = small_gguf();
    bytes[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    let failure = open_gguf(folder.path(), &bytes).unwrap_err();
    assert!(failure.message.contains("cannot fit"), "{failure}");
}

/// The file takes no space on disk, and says it holds more than any memory does.
#[test]
fn what_does_not_fit_in_memory_is_refused_before_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge.gguf");
    std::fs::write(&path, gguf_header(1 << 41)).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(1 << 42).unwrap();
    let source = ModelSource::new(path.display().to_string());
    let service = engine::Service::new();
    let failure = ask(&service, Request::LoadModel(spec(source)))
        .0
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::OutOfMemory, "{failure}");
    assert!(failure.message.contains("2336462 MB"), "{failure}");
    assert!(failure.message.contains("resident: nothing"), "{failure}");
}

#[test]
fn damaged_safetensors_are_noticed() {
    let folder = copied("tiny_llama/grouped", &["config.json"]);
    let whole = std::fs::read(fixture("tiny_llama/grouped/model.safetensors")).unwrap();
    let open = |bytes: &[u8]| {
        std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
        Weights::open(&Layout::Folder(folder.path().to_owned()))
    };
    assert!(open(&whole).is_ok());
    for length in [0, 7, 8, 100, whole.len() / 2, whole.len() - 1] {
        let failure = open(&whole[..length]).unwrap_err();
        assert_eq!(
            failure.kind,
            FailureKind::Corrupt,
            "cut at {length}: {failure}"
        );
    }
}

/// A folder whose weights are these bytes.
fn with_weights(name: &str, bytes: &[u8]) -> Failure {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), "{}").unwrap();
    std::fs::write(folder.path().join(name), bytes).unwrap();
    Weights::open(&Layout::Folder(folder.path().to_owned())).unwrap_err()
}

/// A header without its end once gave the words of the reader, "failed to fill whole buffer", and no hint.
#[test]
fn a_header_that_ends_early_is_told_with_a_hint() {
    for bytes in [&b""[..], b"1234567"] {
        let failure = with_weights("model.safetensors", bytes);
        assert!(
            failure
                .message
                .ends_with("is damaged: it ends inside its header")
                && failure.hint.is_some(),
            "{failure}"
        );
    }
}

#[test]
fn what_stands_in_the_place_of_a_file_is_named() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n";
    let page = b"\n<!DOCTYPE html><html></html>";
    let cases: [(&[u8], _, _); 2] = [
        (pointer, "it is a pointer of Git LFS", "git lfs pull"),
        (page, "it is a page of HTML", "/resolve/"),
    ];
    for (bytes, what, hint) in cases {
        let folder = tempfile::tempdir().unwrap();
        for failure in [
            with_weights("model.safetensors", bytes),
            with_weights("pytorch_model.bin", bytes),
            open_gguf(folder.path(), bytes).unwrap_err(),
        ] {
            assert_told(&failure, FailureKind::Corrupt, what, hint);
        }
    }
}

#[test]
fn what_is_missing_is_named_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let told = |layout, what: &str| {
        let failure = Weights::open(&layout).unwrap_err();
        assert_eq!(failure.kind, FailureKind::NotFound);
        assert!(
            failure.message.contains(what) && failure.hint.is_some(),
            "{failure}"
        );
    };
    let of_folder = || Layout::Folder(folder.path().to_owned());
    told(of_folder(), "has no `config.json`");
    std::fs::write(folder.path().join("config.json"), "{}").unwrap();
    told(of_folder(), "holds no weights");
    let index = r#"{"weight_map": {"w": "one.safetensors"}}"#;
    let index_path = folder.path().join("model.safetensors.index.json");
    std::fs::write(index_path, index).unwrap();
    told(of_folder(), "one.safetensors` is missing, which");
    let parts = [1, 2].map(|part| folder.path().join(format!("m-0000{part}-of-00002.gguf")));
    std::fs::write(&parts[0], small_gguf()).unwrap();
    told(
        Layout::Gguf(parts[0].clone()),
        "00002-of-00002.gguf` is missing",
    );
    std::fs::rename(&parts[0], &parts[1]).unwrap();
    told(
        Layout::Gguf(parts[1].clone()),
        "00001-of-00002.gguf` is missing",
    );
}

/// A load once waited without end for a pipe to be written to.
#[test]
fn a_pipe_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let made = std::process::Command::new("mkfifo").arg(path).status();
    assert!(made.unwrap().success());
    let layout = Layout::Folder(folder.path().to_owned());
    let (sender, opened) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(Weights::open(&layout).map(drop)));
    let waited = opened.recv_timeout(std::time::Duration::from_secs(20));
    let failure = waited.expect("it waits for the pipe").unwrap_err();
    assert!(
        failure.message.ends_with("it is no regular file"),
        "{failure}"
    );
}

#[test]
fn an_unknown_architecture_is_named() {
    let folder = copied("tiny_llama/grouped", &["model.safetensors"]);
    std::fs::write(
        folder.path().join("config.json"),
        r#"{"model_type": "perceiver"}"#,
    )
    .unwrap();
    let weights = Weights::open(&Layout::Folder(folder.path().to_owned())).unwrap();
    let loaded = engine::families::load(&weights, "x", &engine::Cancel::new(), &mut |_| {});
    let Err(failure) = loaded else {
        panic!("loaded")
    };
    assert_told(&failure, FailureKind::Unsupported, "perceiver", "llama");
}
