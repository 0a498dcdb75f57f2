//! The socket, and the lock that makes this host the only one on it.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    os::{
        fd::AsFd,
        unix::{
            fs::{OpenOptionsExt, PermissionsExt},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use crate::{HostError, Result, place};

/// A bound socket. Its name goes away with it, before the lock does.
#[derive(Debug)]
pub(crate) struct Listener {
    pub socket: UnixListener,
    path: PathBuf,
    _lock: File,
}

impl Listener {
    /// Binds the socket. A socket that a dead host left behind is replaced: its lock is free.
    pub fn bind(path: &Path) -> Result<Self> {
        place::prepare_folder(path)?;
        let lock = take_lock(path)?;
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(HostError::io("replace the old socket", path)(error));
            }
            _ => {}
        }
        let socket = UnixListener::bind(path).map_err(HostError::io("listen on", path))?;
        fs::set_permissions(path, Permissions::from_mode(0o600))
            .map_err(HostError::io("protect", path))?;
        socket
            .set_nonblocking(true)
            .map_err(HostError::io("listen on", path))?;
        Ok(Self {
            socket,
            path: path.to_owned(),
            _lock: lock,
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Clients that find no socket start a host; one that finds a dead socket does too.
        let _ = fs::remove_file(&self.path);
    }
}

/// The lock is a file of its own that is never removed: whoever locked a removed file would share
/// the lock with nobody. The system frees it when its holder dies.
fn take_lock(socket: &Path) -> Result<File> {
    let path = socket.with_extension("lock");
    let lock = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(HostError::io("open the lock", &path))?;
    match flock(lock.as_fd(), FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(HostError::AlreadyRunning(socket.to_owned())),
        Err(error) => Err(HostError::io("take the lock", &path)(error.into())),
    }
}
