//! The folder and the socket of the model host, and the checks that they are the user's own.

use std::{
    fs::{self, DirBuilder, Metadata},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use wire::{Failure, FailureKind, HOST_SOCKET_VAR, place};

/// Where the host listens, and where its log goes.
pub(super) struct Place {
    pub socket: PathBuf,
    pub log: PathBuf,
}

/// Finds the place, and makes its folder when it is missing.
pub(super) fn find() -> Result<Place, Failure> {
    let runtime_dir =
        place::runtime_dir(std::env::var_os("XDG_RUNTIME_DIR").as_deref(), own_uid()?);
    let socket = place::host_socket(std::env::var_os(HOST_SOCKET_VAR).as_deref(), &runtime_dir);
    let folder = socket
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    match DirBuilder::new().mode(0o700).recursive(true).create(folder) {
        Ok(()) => check(folder)?,
        Err(error) => return Err(unusable(folder, &error.to_string())),
    }
    Ok(Place {
        log: folder.join("host.log"),
        socket,
    })
}

/// Whoever can write to the folder can put a socket of their own there, and read what is sent.
fn check(folder: &Path) -> Result<(), Failure> {
    // Not `metadata`: a link could be turned round after the check.
    let metadata =
        fs::symlink_metadata(folder).map_err(|error| unusable(folder, &error.to_string()))?;
    if !metadata.is_dir() {
        return Err(unusable(folder, "it is no folder"));
    }
    if metadata.uid() != own_uid()? {
        return Err(unusable(folder, "it belongs to another user"));
    }
    if metadata.mode() & 0o077 != 0 {
        let mode = metadata.mode() & 0o777;
        return Err(unusable(
            folder,
            &format!("others may enter it (mode {mode:o}, must be 700)"),
        )
        .hint(format!("chmod 700 {}", folder.display())));
    }
    Ok(())
}

fn unusable(folder: &Path, reason: &str) -> Failure {
    Failure::new(
        FailureKind::Host,
        format!(
            "the model host's folder `{}` cannot be used: {reason}",
            folder.display()
        ),
    )
    .hint("set XDG_RUNTIME_DIR to a folder that only you can enter")
}

/// The user's number: the owner of this process's own entry in `/proc`.
fn own_uid() -> Result<u32, Failure> {
    let metadata: io::Result<Metadata> = fs::metadata("/proc/self");
    metadata.map(|metadata| metadata.uid()).map_err(|error| {
        Failure::new(
            FailureKind::Host,
            format!("cannot read `/proc/self`: {error}"),
        )
    })
}
