//! What reaches the kernel from outside its sockets: signals, and the death of who started it.

use std::io;
use std::os::unix::process::parent_id;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

/// How often the parent is looked for.
const PARENT_TICK: Duration = Duration::from_secs(1);

/// The signals that a kernel answers.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// SIGINT: end the running cell.
    Interrupt,
    /// SIGTERM or SIGHUP: leave.
    Terminate,
}

impl Signals {
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.interrupt.recv() => Request::Interrupt,
            _ = self.terminate.recv() => Request::Terminate,
            _ = self.hang_up.recv() => Request::Terminate,
        }
    }
}

/// Returns when the process has died that started this one, if that is the server named by
/// Jupyter. A kernel that was started by a wrapper of it cannot tell, and stays.
pub(crate) async fn parent_gone() {
    let server = std::env::var("JPY_PARENT_PID")
        .ok()
        .and_then(|pid| pid.parse::<u32>().ok());
    if server != Some(parent_id()) {
        return std::future::pending().await;
    }
    while server == Some(parent_id()) {
        sleep(PARENT_TICK).await;
    }
}
