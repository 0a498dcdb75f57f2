//! The virtual environment with JupyterLab, nbclient and nbconvert, every version pinned. No
//! ipykernel: the kernel is ours.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::cli::{
    console::Work,
    paths, process,
    python::{self, Python},
};
use crate::hex;

/// The packages, as `pip freeze` named them after the tests had passed with them.
const REQUIREMENTS: &str = include_str!("../../../assets/requirements.txt");

/// Makes the environment, or brings it up to date, unless it is.
pub fn ensure(data: &Path) -> Result<()> {
    if is_ready(data) {
        return Ok(());
    }
    let python = python::find()?;
    let requirements = data.join("requirements.txt");
    fs::write(&requirements, REQUIREMENTS)
        .with_context(|| format!("cannot write `{}`", requirements.display()))?;
    create(data, &python)?;
    install(data, &python, &requirements)?;
    let stamp = stamp_file(data);
    fs::write(&stamp, stamp_text()).with_context(|| format!("cannot write `{}`", stamp.display()))
}

/// Whether the environment is there with the packages of this version.
pub fn is_ready(data: &Path) -> bool {
    // The program is a link to the machine's Python, which an upgrade may have removed.
    python::in_venv(data).exists()
        && fs::read_to_string(stamp_file(data)).is_ok_and(|text| text == stamp_text())
}

fn create(data: &Path, python: &Python) -> Result<()> {
    let (major, minor) = python.version;
    let _work = Work::begin(&format!("making a Python {major}.{minor} environment"));
    let mut command = Command::new(&python.program);
    command
        // Debian's Python lacks what would put pip into it; the machine's pip installs from outside.
        .args(["-m", "venv", "--clear", "--without-pip"])
        .arg(paths::venv(data));
    process::run_logged(&mut command, &data.join("venv.log"))
        .context("cannot make a Python environment")
}

fn install(data: &Path, python: &Python, requirements: &Path) -> Result<()> {
    let _work = Work::begin("installing JupyterLab and nbclient");
    let mut command = Command::new(&python.program);
    command
        .args(["-m", "pip", "--python"])
        .arg(python::in_venv(data))
        .args([
            "install",
            "--disable-pip-version-check",
            "--no-input",
            "--no-deps",
            "--requirement",
        ])
        .arg(requirements);
    process::run_logged(&mut command, &data.join("pip.log")).context("cannot install JupyterLab")
}

fn stamp_file(data: &Path) -> PathBuf {
    paths::venv(data).join("warmcell-requirements.sha256")
}

fn stamp_text() -> String {
    hex::encode(&Sha256::digest(REQUIREMENTS))
}
