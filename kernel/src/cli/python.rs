//! The Python that runs JupyterLab: finding one on the machine, and the commands of our own virtual
//! environment.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;
use wire::{Failure, FailureKind};

use super::{paths, process};

/// The oldest Python that the pinned packages run on.
const OLDEST: (u32, u32) = (3, 10);

/// A Python on the `PATH`.
pub struct Python {
    /// The program.
    pub program: PathBuf,
    /// Major and minor version.
    pub version: (u32, u32),
}

/// The first Python on the `PATH` that is new enough. Some systems call their default `python3` and
/// keep newer ones under their number.
pub fn find() -> Result<Python> {
    let names = [
        "python3",
        "python3.14",
        "python3.13",
        "python3.12",
        "python3.11",
        "python3.10",
        "python",
    ];
    let mut seen = Vec::new();
    for program in names.into_iter().filter_map(paths::find_program) {
        match version(&program) {
            Some(version) if version >= OLDEST => return Ok(Python { program, version }),
            Some((major, minor)) => seen.push(format!("{} is {major}.{minor}", program.display())),
            None => seen.push(format!("{} does not run", program.display())),
        }
    }
    let seen = if seen.is_empty() {
        "there is none on the PATH".to_owned()
    } else {
        seen.join(", ")
    };
    Err(Failure::new(
        FailureKind::NotFound,
        format!("cannot find Python 3.10 or newer: {seen}"),
    )
    .hint("install it, on Debian and Ubuntu by `apt install python3 python3-venv python3-pip`")
    .into())
}

/// The virtual environment's own Python.
pub fn in_venv(data: &Path) -> PathBuf {
    paths::venv(data).join("bin/python")
}

/// A command of the virtual environment's Python. What the user set for another Python is left out.
pub fn command(data: &Path) -> Command {
    let mut command = Command::new(in_venv(data));
    command
        .env_remove("PYTHONPATH")
        .env_remove("PYTHONHOME")
        .env("PYTHONUNBUFFERED", "1");
    command
}

fn version(program: &Path) -> Option<(u32, u32)> {
    let script = "import sys; print(sys.version_info[0], sys.version_info[1])";
    let text = process::output_of(Command::new(program).args(["-c", script]))?;
    let (major, minor) = text.split_once(' ')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
