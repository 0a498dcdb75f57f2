//! The embedded sentiment model: a head that the binary brings along, beside the fetched encoder of
//! sentences. Its folder is a checkpoint in two shards, of which the encoder's is a link.

use std::{fs, io, os::unix::fs::symlink, path::Path};

use anyhow::{Context, Result};
use wire::embedded::{SENTENCE_ENCODER, SENTIMENT_FOLDER};

use crate::cli::paths;

/// What is written: the head, what it means, and its card.
const FILES: [(&str, &[u8]); 4] = [
    (
        "config.json",
        include_bytes!("../../../assets/sentiment/config.json"),
    ),
    (
        "head.safetensors",
        include_bytes!("../../../assets/sentiment/head.safetensors"),
    ),
    (
        "model.safetensors.index.json",
        include_bytes!("../../../assets/sentiment/model.safetensors.index.json"),
    ),
    (
        "README.md",
        include_bytes!("../../../assets/sentiment/README.md"),
    ),
];

/// What is the encoder's: the name here, and the name there.
const LINKS: [(&str, &str); 4] = [
    ("encoder.safetensors", "model.safetensors"),
    ("tokenizer.json", "tokenizer.json"),
    ("tokenizer_config.json", "tokenizer_config.json"),
    ("special_tokens_map.json", "special_tokens_map.json"),
];

/// Writes the folder, unless all is there as it should be.
pub fn ensure(data: &Path) -> Result<()> {
    let folder = paths::models(data).join(SENTIMENT_FOLDER);
    let wrong = |path: &Path| format!("cannot write `{}`", path.display());
    fs::create_dir_all(&folder).with_context(|| wrong(&folder))?;
    for (name, bytes) in FILES {
        let path = folder.join(name);
        if fs::read(&path).ok().as_deref() != Some(bytes) {
            // Under another name first: a host may be reading the old one.
            let partial = folder.join(format!("{name}.partial"));
            fs::write(&partial, bytes).with_context(|| wrong(&partial))?;
            fs::rename(&partial, &path).with_context(|| wrong(&path))?;
        }
    }
    for (name, theirs) in LINKS {
        let path = folder.join(name);
        let target = Path::new("..").join(SENTENCE_ENCODER.folder).join(theirs);
        if fs::read_link(&path).ok().as_ref() == Some(&target) {
            continue;
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| wrong(&path));
            }
            _ => symlink(&target, &path).with_context(|| wrong(&path))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an older binary wrote, or somebody else, is replaced.
    #[test]
    fn a_folder_is_made_right() {
        let data = tempfile::tempdir().expect("a folder");
        let folder = paths::models(data.path()).join(SENTIMENT_FOLDER);
        ensure(data.path()).expect("is made");
        fs::write(folder.join("config.json"), "{}").expect("written");
        fs::remove_file(folder.join("tokenizer.json")).expect("removed");
        fs::write(folder.join("tokenizer.json"), "{}").expect("written");
        ensure(data.path()).expect("is mended");
        let config = fs::read(folder.join("config.json")).expect("is there");
        assert_eq!(config, FILES[0].1);
        let link = fs::read_link(folder.join("tokenizer.json")).expect("is a link");
        assert!(link.ends_with("all-MiniLM-L6-v2/tokenizer.json"));
    }
}
