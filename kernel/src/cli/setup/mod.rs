//! What `run` and `lab` do first. Each step looks whether it was done, which takes milliseconds, and
//! says so only when it has work; two set-ups at once wait for each other.

mod environment;
pub mod kernelspec;
mod library;
mod model;
mod sentiment;
pub mod toolchain;

use std::fs::{self, File};

use anyhow::{Context, Result};

use super::{console, paths};
pub use environment::is_ready as environment_is_ready;
pub use model::missing as missing_files;

/// `warmcell setup`: all steps, and where things are.
pub fn run() -> Result<()> {
    prepare()?;
    console::say(format_args!(
        "ready; everything is kept in {}",
        paths::data_dir()?.display()
    ));
    Ok(())
}

/// All steps in the order in which they need each other.
pub fn prepare() -> Result<()> {
    let data = paths::data_dir()?;
    fs::create_dir_all(&data)
        .with_context(|| format!("cannot make the folder `{}`", data.display()))?;
    let path = data.join("setup.lock");
    let lock = File::create(&path).with_context(|| format!("cannot write `{}`", path.display()))?;
    lock.lock()
        .with_context(|| format!("cannot lock `{}`", path.display()))?;
    toolchain::ensure_sources(&data)?;
    environment::ensure(&data)?;
    model::ensure(&data)?;
    sentiment::ensure(&data)?;
    library::ensure(&data)?;
    kernelspec::ensure_for_user()
}
