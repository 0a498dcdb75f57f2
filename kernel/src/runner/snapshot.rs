//! The supervisor's hold on the snapshot: the connection that each new one opens, and the check that
//! it is the one which the worker has announced.

use std::{
    io,
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, PidfdFlags},
};

use super::{
    SNAPSHOT_SOCKET,
    messages::{Channel, SnapshotInfo},
    process::Process,
};

/// A sleeping copy of the worker.
pub struct Snapshot {
    pub process: Process,
    /// Names of the user's threads that it does not have.
    pub threads: Vec<String>,
}

/// Where snapshots connect.
pub struct Dormitory(UnixListener);

impl Dormitory {
    /// Binds the socket in the session's folder, which only the user enters.
    pub fn open(session: &Path) -> io::Result<Self> {
        super::bind(&session.join(SNAPSHOT_SOCKET)).map(Self)
    }

    /// Takes the connection of the snapshot that the worker has announced; `Err` says for the user why
    /// there is none.
    pub fn take(&self, info: SnapshotInfo) -> io::Result<Result<Snapshot, String>> {
        let Some(announced) = info.process else {
            return Ok(Err(info.error.unwrap_or_default()));
        };
        let pid = i32::try_from(announced).ok().and_then(Pid::from_raw);
        let pidfd = pid.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
        // Only this user's processes reach the socket; one that is not the snapshot is let go.
        while self.is_coming(pidfd.as_ref())? {
            let stream: UnixStream = self.0.accept()?.0;
            let peer = rustix::net::sockopt::socket_peercred(&stream)?;
            if Some(peer.pid) == pid {
                let process = Process::new(peer.pid, Channel::new(stream))?;
                let threads = info.threads;
                return Ok(Ok(Snapshot { process, threads }));
            }
        }
        Ok(Err("its process ended".to_owned()))
    }

    /// Waits until a connection is there to accept; `false` when the snapshot ended before it made one.
    fn is_coming(&self, snapshot: Option<&OwnedFd>) -> io::Result<bool> {
        let Some(snapshot) = snapshot else {
            return Ok(false);
        };
        loop {
            let mut fds = [
                PollFd::new(&self.0, PollFlags::IN),
                PollFd::new(snapshot, PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Ok(_) => return Ok(!fds[0].revents().is_empty()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
