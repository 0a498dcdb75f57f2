//! Where the two ends meet by default. Pure: the caller says what the environment says.

use std::{
    ffi::{OsStr, OsString},
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

/// The folder of this program's own data: [`crate::DATA_DIR_VAR`], else `$XDG_DATA_HOME/warmcell`,
/// else `~/.local/share/warmcell`; `None` without a home. `get` looks a variable up.
pub fn data_dir(get: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name: &str| {
        let value = get(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    };
    folder(crate::DATA_DIR_VAR).or_else(|| Some(data_home(&get)?.join("warmcell")))
}

/// The folder that programs keep their data in: `$XDG_DATA_HOME`, else `~/.local/share`.
pub fn data_home(get: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // The specification asks to ignore relative paths.
    let absolute = |name: &str| {
        let value = get(name).filter(|value| Path::new(value).is_absolute());
        value.map(PathBuf::from)
    };
    absolute("XDG_DATA_HOME").or_else(|| {
        let home = get("HOME").filter(|home| !home.is_empty())?;
        Some(Path::new(&home).join(".local/share"))
    })
}
