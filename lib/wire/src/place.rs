//! Where the two ends meet by default. Pure: the caller says what the environment says.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

/// The socket's name in the runtime folder.
const SOCKET: &str = "host.sock";

/// The user's folder for sockets, locks and logs: `$XDG_RUNTIME_DIR/warmcell` where there is one,
/// else a folder in `/tmp` that carries the user's number. Must be 0700 and the user's own.
pub fn runtime_dir(xdg_runtime_dir: Option<&OsStr>, uid: u32) -> PathBuf {
    match xdg_runtime_dir.filter(|dir| Path::new(dir).is_absolute()) {
        Some(dir) => Path::new(dir).join("warmcell"),
        None => PathBuf::from(format!("/tmp/warmcell-{uid}")),
    }
}

/// The model host's socket: what [`crate::HOST_SOCKET_VAR`] says, else a fixed name in the runtime
/// folder.
pub fn host_socket(variable: Option<&OsStr>, runtime_dir: &Path) -> PathBuf {
    match variable.filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => runtime_dir.join(SOCKET),
    }
}
