//! Where the host listens, and the checks that nobody else can get there.

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use wire::{HOST_SOCKET_VAR, place};

use crate::{HostError, Result};

/// The socket that this user's clients use, by the environment.
pub fn default_socket() -> PathBuf {
    let runtime_dir = place::runtime_dir(std::env::var_os("XDG_RUNTIME_DIR").as_deref(), own_uid());
    place::host_socket(std::env::var_os(HOST_SOCKET_VAR).as_deref(), &runtime_dir)
}

pub(crate) fn own_uid() -> u32 {
    rustix::process::getuid().as_raw()
}

/// Makes the socket's folder when it is missing, and refuses one that others can enter. Kernels keep
/// their own sockets in it too.
///
/// # Errors
/// The folder cannot be made, or is not this user's alone.
pub fn prepare_folder(socket: &Path) -> Result<PathBuf> {
    let folder = socket
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
        .to_owned();
    DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(&folder)
        .map_err(HostError::io("make the folder", &folder))?;
    // Not `metadata`: a link could be turned round after the check.
    let metadata = fs::symlink_metadata(&folder).map_err(HostError::io("look at", &folder))?;
    let reason = match metadata.mode() & 0o777 {
        _ if !metadata.is_dir() => "it is no folder".to_owned(),
        _ if metadata.uid() != own_uid() => "it belongs to another user".to_owned(),
        mode if mode & 0o077 != 0 => format!("others may enter it (mode {mode:o}, must be 700)"),
        _ => return Ok(folder),
    };
    Err(HostError::UnsafeFolder { folder, reason })
}
