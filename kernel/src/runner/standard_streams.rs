//! The standard streams of the worker. A cell may close them or put something else in their place, and what is
//! opened next then gets their numbers; each cell begins with the kernel's own.

use std::{
    fs::OpenOptions,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
};

use crate::evaluate::session::{STDERR_PIPE, STDOUT_PIPE};

/// The runner's own descriptors have numbers from here on: those below are the cells'.
const LOWEST: i32 = 64;

/// The kernel's pipes, and an input that is empty, kept where no cell looks.
pub struct StandardStreams {
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl StandardStreams {
    /// Opens the session's pipes and has the standard streams be these. The pipes are named rather than
    /// inherited, so that no compiler started by the kernel holds them open.
    pub fn open(session: &Path) -> io::Result<Self> {
        let open = |name: &str| OpenOptions::new().write(true).open(session.join(name));
        let stdin = OpenOptions::new().read(true).open("/dev/null")?;
        let streams = Self {
            stdin: moved_up(stdin)?,
            stdout: moved_up(open(STDOUT_PIPE)?)?,
            stderr: moved_up(open(STDERR_PIPE)?)?,
        };
        streams.restore()?;
        Ok(streams)
    }

    /// Puts them back, whatever stands in their place.
    pub fn restore(&self) -> io::Result<()> {
        rustix::stdio::dup2_stdin(&self.stdin)?;
        rustix::stdio::dup2_stdout(&self.stdout)?;
        rustix::stdio::dup2_stderr(&self.stderr)?;
        Ok(())
    }
}

/// The worker's connection to the supervisor, where no cell looks.
pub fn moved_up_stream(stream: UnixStream) -> io::Result<UnixStream> {
    moved_up(stream).map(UnixStream::from)
}

fn moved_up(descriptor: impl AsFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(descriptor, LOWEST)?)
}
