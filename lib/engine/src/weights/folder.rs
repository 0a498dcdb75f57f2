//! A folder that holds a model: `config.json`, and the weights in one file or in the shards that an
//! index lists, as safetensors or as `torch.save` wrote them. Safetensors come first, as in
//! transformers.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use wire::{Failure, FailureKind};

use super::{Description, Headers, TensorEntry, Weights, read_json, safetensors, torch};
use crate::{failures, hub::safe_relative};

/// Longest `config.json`; real ones have some kilobytes, or a megabyte with long label lists. As a
/// tree of values it can take forty times its length.
const LONGEST_CONFIG: u64 = 8 << 20;
/// Longest index; one of 100,000 tensors has about 10 MB.
const LONGEST_INDEX: u64 = 64 << 20;

/// The hint where a folder is no model's.
const NEEDED: &str = "a folder needs `config.json` with `model.safetensors` or `pytorch_model.bin`; or pass a `.gguf` \
    file";

/// Reads the headers of a folder's weights.
pub fn open(folder: &Path) -> Result<Weights, Failure> {
    let config_path = folder.join("config.json");
    if !config_path.exists() {
        let what = format!("`{}` has no `config.json`", folder.display());
        return Err(Failure::new(FailureKind::NotFound, what).hint(NEEDED));
    }
    let config = read_json(&config_path, LONGEST_CONFIG)?;
    let headers = if let Some(paths) = files(folder, "model.safetensors")? {
        safetensors::open(paths)?
    } else if let Some(paths) = files(folder, "pytorch_model.bin")? {
        torch::open(paths)?
    } else {
        return Err(Failure::new(
            FailureKind::NotFound,
            format!("`{}` holds no weights", folder.display()),
        )
        .hint(NEEDED));
    };
    let Headers {
        mut tensors,
        untaken,
        files,
    } = headers;
    tensors.retain(|name, entry| !is_old_buffer(name, entry));
    Ok(Weights {
        description: Description::Json(config),
        tensors,
        untaken,
        files,
    })
}

/// Whether a tensor is a buffer that transformers wrote once and computes since: causal masks of GPT-2 and
/// rotary frequencies. It passes them over as it loads, and counts them nowhere.
fn is_old_buffer(name: &str, entry: &TensorEntry) -> bool {
    let is_mask = name.ends_with(".attn.bias") && entry.shape.len() == 4;
    is_mask || name.ends_with(".attn.masked_bias") || name.ends_with(".rotary_emb.inv_freq")
}

/// The file of this name, or the shards that its index lists; `None` where there is neither.
fn files(folder: &Path, name: &str) -> Result<Option<Vec<PathBuf>>, Failure> {
    let single = folder.join(name);
    if single.is_file() {
        return Ok(Some(vec![single]));
    }
    let index_path = folder.join(format!("{name}.index.json"));
    if !index_path.is_file() {
        return Ok(None);
    }
    let index: Index = read_json(&index_path, LONGEST_INDEX)?;
    let mut names = index.weight_map.0;
    names.sort_unstable();
    names.dedup();
    if names.iter().any(|name| safe_relative(name).is_none()) {
        return Err(failures::corrupt(
            &index_path,
            "a shard lies outside the folder",
        ));
    }
    let paths: Vec<PathBuf> = names.into_iter().map(|name| folder.join(name)).collect();
    if let Some(path) = paths.iter().find(|path| !path.exists()) {
        let what = format!(
            "`{}` is missing, which `{}` names",
            path.display(),
            index_path.display()
        );
        return Err(Failure::new(FailureKind::NotFound, what)
            .hint("put all files that it names into the folder"));
    }
    Ok(Some(paths))
}

#[derive(Deserialize)]
struct Index {
    weight_map: ShardNames,
}

/// The files that an index names, one a tensor; the tensors' own names stand in the shards.
struct ShardNames(Vec<String>);

impl<'de> Deserialize<'de> for ShardNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = ShardNames;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("file names by tensor")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ShardNames, A::Error> {
                let mut names: Vec<String> = Vec::new();
                while let Some((_, name)) = map.next_entry::<IgnoredAny, String>()? {
                    // Tensors of one shard stand together, so that this keeps the list short.
                    if names.last() != Some(&name) {
                        names.push(name);
                    }
                }
                Ok(ShardNames(names))
            }
        }
        deserializer.deserialize_map(Names)
    }
}
