//! The kernel's end of the cell runner: starts the supervisor, keeps it running, and gives it orders
//! on its control socket.

use std::{
    io,
    os::unix::{net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::runner::{
    CONTROL_SOCKET,
    messages::{Channel, ControlOrder, ControlReply, RunEnd},
};

/// The supervisor binds its socket within milliseconds; a loaded machine may take longer.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);
const RETRY: Duration = Duration::from_millis(2);

/// The supervisor's process. It ends with this value, and with the kernel however that ends.
pub struct Runner {
    process: Child,
}

impl Runner {
    /// Starts the supervisor by `command`.
    pub fn start(mut command: Command) -> io::Result<Self> {
        // It ends when this pipe closes; nothing is ever written to it.
        let process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // A Ctrl-C in the kernel's terminal is for the kernel, which interrupts the cell.
            .process_group(0)
            .spawn()?;
        Ok(Self { process })
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// A connection to the supervisor.
pub struct Control {
    channel: Channel,
}

impl Control {
    /// Connects to the supervisor of the session in this folder, which may just be starting.
    pub fn connect(session: &Path) -> io::Result<Self> {
        let socket: PathBuf = session.join(CONTROL_SOCKET);
        let limit = Instant::now() + CONNECT_LIMIT;
        loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => {
                    return Ok(Self {
                        channel: Channel::new(stream),
                    });
                }
                Err(error) if Instant::now() >= limit => return Err(error),
                Err(_) => thread::sleep(RETRY),
            }
        }
    }

    /// Runs a compiled cell to its end.
    pub fn run(&mut self, library: &Path, function: &str) -> io::Result<RunEnd> {
        let library = library.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
        let order = ControlOrder::Run {
            library: library.to_owned(),
            function: function.to_owned(),
        };
        match self.ask(&order)? {
            ControlReply::Ended(end) => Ok(end),
            ControlReply::Done => Err(io::Error::other("a cell's end was not told")),
        }
    }

    /// Ends the running cell, whatever it does: its variables go back to those from before it. Does
    /// nothing when none runs.
    pub fn end_cell(&mut self) -> io::Result<()> {
        self.ask(&ControlOrder::EndCell).map(drop)
    }

    fn ask(&mut self, order: &ControlOrder) -> io::Result<ControlReply> {
        self.channel.send(order)?;
        let reply = self.channel.receive()?;
        reply.ok_or_else(|| io::Error::other("the cell runner has ended"))
    }
}
