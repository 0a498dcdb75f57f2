//! The relay: evcxr's child. Passes its lines to the supervisor and the answers back, and ends when
//! either side does. evcxr may end it at will, by which it forgets its variables; the supervisor
//! then starts a worker without any.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, poll};

use super::EVCXR_SOCKET;

/// A supervisor that died is started again by the kernel.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(10);

/// Relays until one side closes.
pub fn run(session: &Path) -> io::Result<()> {
    let mut supervisor = connect(&session.join(EVCXR_SOCKET))?;
    let (stdin, mut stdout) = (io::stdin().lock(), io::stdout().lock());
    let mut buffer = [0; 4096];
    loop {
        let mut fds = [
            PollFd::new(&stdin, PollFlags::IN),
            PollFd::new(&supervisor, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let [from_evcxr, from_supervisor] = fds.map(|fd| !fd.revents().is_empty());
        if from_supervisor {
            match supervisor.read(&mut buffer)? {
                0 => return Ok(()),
                length => stdout.write_all(&buffer[..length])?,
            }
            stdout.flush()?;
        }
        if from_evcxr {
            match rustix::io::read(&stdin, &mut buffer)? {
                0 => return Ok(()),
                length => supervisor.write_all(&buffer[..length])?,
            }
        }
    }
}

fn connect(socket: &Path) -> io::Result<UnixStream> {
    let limit = Instant::now() + CONNECT_LIMIT;
    loop {
        match UnixStream::connect(socket) {
            Err(_) if Instant::now() < limit => thread::sleep(RETRY),
            connected => return connected,
        }
    }
}
