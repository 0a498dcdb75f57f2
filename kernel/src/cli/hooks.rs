//! Where the command line calls the rest of the program: the kernel, the library for cells, the
//! model host. One place, so that the commands themselves know no evaluation and no engine.

use std::{
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Stdio,
};

use ::host::{HostConfig, HostError, client};
use anyhow::{Context, Result};
use wire::{
    host::{HostStatus, UnloadTarget},
    model::Resident,
};

use super::paths;
use crate::serve::Engine;

/// Serves one front end until it asks for the end.
pub fn run_kernel(connection_file: &Path) -> Result<()> {
    crate::evaluate::run(connection_file, &paths::data_dir()?)
}

/// Builds the library that cells link, unless that was done; milliseconds then.
pub fn build_library(data: &Path) -> Result<()> {
    crate::evaluate::build_template(data)
}

/// Whether [`build_library`] has nothing to do.
pub fn library_is_built(data: &Path) -> Result<bool> {
    crate::evaluate::template_is_built(data)
}

/// Serves models on the user's socket until asked to end or idle for long.
pub fn serve_models() -> Result<()> {
    crate::runner::stand_back_as_victim();
    match ::host::serve(HostConfig::new(env!("CARGO_PKG_VERSION")), Engine::new()) {
        // Two that started at once: the other is as good, and its clients wait for it.
        Ok(()) | Err(HostError::AlreadyRunning(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The user's socket of the model host.
pub fn host_socket() -> PathBuf {
    ::host::default_socket()
}

/// What the host holds; `None` when none runs.
pub fn host_status() -> Result<Option<HostStatus>> {
    Ok(client::status(&host_socket())?)
}

/// Starts the host unless one runs.
pub fn start_host() -> Result<HostStatus> {
    let socket = host_socket();
    let folder = ::host::prepare_folder(&socket)?;
    let binary = std::env::current_exe().context("cannot find this program's own file")?;
    let log = folder.join("host.log");
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&log)
        .with_context(|| format!("cannot write `{}`", log.display()))?;
    Ok(client::start(&binary, &socket, Stdio::from(log))?)
}

/// Ends the host; `false` when none ran.
pub fn stop_host() -> Result<bool> {
    Ok(client::stop(&host_socket())?)
}

/// Frees models and gives what was freed.
pub fn unload(target: UnloadTarget) -> Result<Vec<Resident>> {
    Ok(client::unload(&host_socket(), target)?)
}
