//! Where things are kept. All that set-up makes lies below one folder, so that removing it removes
//! everything but the kernelspec.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
pub use wire::DATA_DIR_VAR;
use wire::{Failure, FailureKind, embedded::Embedded, place};

/// `$WARMCELL_DATA_DIR`, else `$XDG_DATA_HOME/warmcell`, else `~/.local/share/warmcell`.
pub fn data_dir() -> Result<PathBuf> {
    let folder = place::data_dir(|name| env::var_os(name)).ok_or_else(no_home)?;
    std::path::absolute(&folder)
        .with_context(|| format!("cannot use {DATA_DIR_VAR}=`{}`", folder.display()))
}

/// The virtual environment with JupyterLab.
pub fn venv(data: &Path) -> PathBuf {
    data.join("python")
}

/// The folder of the embedded models, where the engine looks for them.
pub fn models(data: &Path) -> PathBuf {
    data.join("models")
}

/// The folder that holds the files of an embedded model.
pub fn embedded_model(data: &Path, model: &Embedded) -> PathBuf {
    models(data).join(model.folder)
}

/// Jupyter's own folder for this user, as `jupyter_core` finds it on Linux.
pub fn jupyter_data_dir() -> Result<PathBuf> {
    if let Some(folder) = non_empty("JUPYTER_DATA_DIR") {
        return Ok(folder);
    }
    let data_home = place::data_home(|name| env::var_os(name)).ok_or_else(no_home)?;
    Ok(data_home.join("jupyter"))
}

/// The first executable of this name on the `PATH`.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

fn no_home() -> Failure {
    Failure::new(
        FailureKind::Io,
        "cannot find a folder for data: HOME is not set",
    )
    .hint(format!(
        "set {DATA_DIR_VAR} to a folder that you can write to"
    ))
}

fn non_empty(variable: &str) -> Option<PathBuf> {
    env::var_os(variable)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}
