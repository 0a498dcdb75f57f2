//! The connection file: read once, checked, and turned into endpoints. Opening them is the
//! channels' part.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use jupyter_protocol::ConnectionInfo;
use jupyter_protocol::connection_info::Transport;

use crate::Error;

/// Reads a connection file and refuses what must not be listened on.
pub(crate) fn read(path: &Path) -> Result<ConnectionInfo, Error> {
    let unreadable = |source| Error::ConnectionFile {
        path: path.to_owned(),
        source,
    };
    let text = fs::read_to_string(path).map_err(unreadable)?;
    if !is_private(path).map_err(unreadable)? {
        if !allows_insecure_files() {
            return Err(Error::OpenConnectionFile(path.to_owned()));
        }
        tracing::warn!(path = %path.display(), "others can read the connection file");
    }
    let info: ConnectionInfo =
        serde_json::from_str(&text).map_err(|source| Error::ConnectionFormat {
            path: path.to_owned(),
            source,
        })?;
    if info.signature_scheme != "hmac-sha256" && !info.key.is_empty() {
        return Err(Error::SignatureScheme(info.signature_scheme));
    }
    if info.transport == Transport::TCP && !is_loopback(&info.ip) {
        return Err(Error::RemoteAddress(info.ip));
    }
    if info.key.is_empty() {
        // An ipc socket lets nobody in but its owner; a port of this machine lets in all its users.
        if info.transport == Transport::TCP {
            return Err(Error::NoKey(path.to_owned()));
        }
        tracing::warn!("the connection file has no key: messages are neither signed nor checked");
    }
    Ok(info)
}

/// Whether nobody else can read the key in a file: it is closed to others, or its folder is.
fn is_private(path: &Path) -> io::Result<bool> {
    let path = fs::canonicalize(path)?;
    let of_others = |mode: u32| mode & 0o077;
    let is_closed = |path: &Path| Ok(of_others(fs::metadata(path)?.mode()) == 0);
    match path.parent() {
        Some(folder) => Ok(is_closed(&path)? || is_closed(folder)?),
        None => is_closed(&path),
    }
}

/// Jupyter's own switch for file systems that know no owners.
fn allows_insecure_files() -> bool {
    std::env::var("JUPYTER_ALLOW_INSECURE_WRITES")
        .is_ok_and(|value| ["1", "true"].contains(&value.to_lowercase().as_str()))
}

fn is_loopback(ip: &str) -> bool {
    ip == "localhost" || ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The file of an ipc endpoint.
pub(crate) fn ipc_path(endpoint: &str) -> Option<PathBuf> {
    endpoint.strip_prefix("ipc://").map(PathBuf::from)
}

/// Removes the socket file that a kernel which was killed left behind: binding would fail on it.
/// One that somebody listens on is left alone.
pub(crate) fn clear_stale(endpoint: &str) {
    let Some(path) = ipc_path(endpoint) else {
        return;
    };
    let is_socket = fs::symlink_metadata(&path).is_ok_and(|m| m.file_type().is_socket());
    if is_socket && UnixStream::connect(&path).is_err() {
        let _ = fs::remove_file(&path);
    }
}

/// Lets only the user connect to an ipc endpoint, wherever its folder may be.
pub(crate) fn restrict(endpoint: &str) -> io::Result<()> {
    match ipc_path(endpoint) {
        Some(path) => fs::set_permissions(path, fs::Permissions::from_mode(0o600)),
        None => Ok(()),
    }
}
