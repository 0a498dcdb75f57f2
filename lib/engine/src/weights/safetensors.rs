//! Headers of a folder of safetensors files: `model.safetensors`, or the shards that
//! `model.safetensors.index.json` lists, with `config.json` beside them.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use wire::{Failure, FailureKind};

use super::{Description, Format, TensorEntry, Weights, open_file};
use crate::failures;

/// The longest header that is read; the reference implementation has the same limit.
const LONGEST_HEADER: u64 = 100_000_000;

/// Reads the headers of all shards.
pub fn open(folder: &Path) -> Result<Weights, Failure> {
    let config = read_json(&folder.join("config.json"))?;
    let mut files = Vec::new();
    let mut tensors = BTreeMap::new();
    for path in shards(folder)? {
        let (mut file, length) = open_file(&path)?;
        read_header(&path, &mut file, length, files.len(), &mut tensors)?;
        files.push((path, file));
    }
    Ok(Weights {
        description: Description::Json(config),
        tensors,
        files,
    })
}

/// The files that hold the weights.
fn shards(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let single = folder.join("model.safetensors");
    if single.is_file() {
        return Ok(vec![single]);
    }
    let index_path = folder.join("model.safetensors.index.json");
    if !index_path.is_file() {
        return Err(Failure::new(
            FailureKind::NotFound,
            format!("`{}` holds no safetensors weights", folder.display()),
        )
        .hint("a folder needs `config.json` and `model.safetensors`, or pass a `.gguf` file"));
    }
    let index = read_json(&index_path)?;
    let Some(map) = index["weight_map"].as_object() else {
        return Err(failures::corrupt(&index_path, "it has no `weight_map`"));
    };
    let mut names: Vec<&str> = map.values().filter_map(|name| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    if names.iter().any(|name| name.contains(['/', '\\'])) {
        return Err(failures::corrupt(
            &index_path,
            "a shard lies outside the folder",
        ));
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

#[derive(Deserialize)]
struct Header {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

fn read_header(
    path: &Path,
    file: &mut File,
    length: u64,
    number: usize,
    tensors: &mut BTreeMap<String, TensorEntry>,
) -> Result<(), Failure> {
    let mut size = [0; 8];
    file.read_exact(&mut size)
        .map_err(|error| failures::io(path, &error))?;
    let size = u64::from_le_bytes(size);
    if size > LONGEST_HEADER || size.saturating_add(8) > length {
        return Err(failures::corrupt(
            path,
            "its header is longer than the file",
        ));
    }
    let mut text = vec![0; size as usize];
    file.read_exact(&mut text)
        .map_err(|error| failures::io(path, &error))?;
    let entries: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(&text).map_err(|error| failures::corrupt(path, error))?;
    for (name, value) in entries {
        if name == "__metadata__" {
            continue;
        }
        let header: Header = serde_json::from_value(value)
            .map_err(|error| failures::corrupt(path, format!("tensor `{name}`: {error}")))?;
        // A dtype that no layer takes (token-type ids, masks) must not stop a model that loads none.
        let Some(format) = Format::from_safetensors(&header.dtype) else {
            continue;
        };
        let (begin, end) = header.data_offsets;
        let values = header
            .shape
            .iter()
            .try_fold(1_u64, |product, &size| product.checked_mul(size as u64));
        let expected = values.and_then(|values| format.bytes_of(values));
        let offset = begin.saturating_add(8 + size);
        if expected != end.checked_sub(begin) || end.saturating_add(8 + size) > length {
            let what = format!("tensor `{name}` does not fit its place");
            return Err(failures::corrupt(path, what));
        }
        let (bytes, shape) = (end - begin, header.shape);
        tensors.insert(
            name,
            TensorEntry {
                file: number,
                offset,
                bytes,
                format,
                shape,
            },
        );
    }
    Ok(())
}

fn read_json(path: &Path) -> Result<serde_json::Value, Failure> {
    let text = std::fs::read(path).map_err(|error| failures::io(path, &error))?;
    serde_json::from_slice(&text).map_err(|error| failures::corrupt(path, error))
}
