//! The connection file: read once, checked, and turned into endpoints. Opening them is the
//! channels' part.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use jupyter_protocol::ConnectionInfo;
use jupyter_protocol::connection_info::Transport;

use crate::Error;

/// Reads a connection file and refuses what must not be listened on.
pub(crate) fn read(path: &Path) -> Result<ConnectionInfo, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::ConnectionFile {
        path: path.to_owned(),
        source,
    })?;
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
        tracing::warn!("the connection file has no key: messages are neither signed nor checked");
    }
    Ok(info)
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
pub(crate) fn restrict(endpoint: &str) {
    let Some(path) = ipc_path(endpoint) else {
        return;
    };
    if let Err(error) = fs::set_permissions(&path, fs::Permissions::from_mode(0o600)) {
        tracing::warn!(%error, path = %path.display(), "cannot restrict the socket to its owner");
    }
}
