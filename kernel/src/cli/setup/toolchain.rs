//! The sources of the standard library (the component rust-src). Without them evcxr cannot tell the
//! type of a plain `let s = "x".to_string()`.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;
use wire::{Failure, FailureKind};

use crate::cli::{console::Work, paths, process};

/// Installs the component unless it is there.
pub fn ensure_sources(data: &Path) -> Result<()> {
    if sources_are_there()? {
        return Ok(());
    }
    if paths::find_program("rustup").is_none() {
        return Err(Failure::new(
            FailureKind::NotFound,
            "cannot install the Rust component rust-src: there is no `rustup` on the PATH",
        )
        .hint("install the package with the standard library's sources (Debian: `apt install rust-src`), or Rust from https://rustup.rs")
        .into());
    }
    let _work = Work::begin("installing the Rust component rust-src");
    process::run_logged(
        Command::new("rustup").args(["component", "add", "rust-src"]),
        &data.join("rust-src.log"),
    )
}

/// Whether the sources of the toolchain in use are there.
pub fn sources_are_there() -> Result<bool> {
    Ok(sysroot()?.join("lib/rustlib/src/rust/library/std").is_dir())
}

fn sysroot() -> Result<PathBuf> {
    process::output_of(Command::new("rustc").args(["--print", "sysroot"]))
        .map(PathBuf::from)
        .ok_or_else(|| {
            Failure::new(FailureKind::NotFound, "cannot run `rustc --print sysroot`")
                .hint("install Rust from https://rustup.rs; cells are compiled by it")
                .into()
        })
}
