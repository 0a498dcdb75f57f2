//! Interrupts: first a request, then force. The host stops what the cell asked of it, a compiler is
//! ended, and a cell that still runs after a moment loses its process, whose snapshot takes over.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{control::Control, direct};
use crate::runner;

/// How long a cell may take to end by itself.
const PATIENCE: Duration = Duration::from_millis(800);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What a running cell waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// rustc, which this program has called.
    Compiles,
    /// Its own code.
    Runs,
    /// evcxr, which analyses, compiles and runs.
    AtEvcxr,
}

impl From<u8> for Phase {
    fn from(number: u8) -> Self {
        match number {
            0 => Self::Compiles,
            1 => Self::Runs,
            _ => Self::AtEvcxr,
        }
    }
}

/// What the thread that runs cells and the one that interrupts them know of each other.
pub struct Interrupter {
    /// Number of the running cell or command, and 0 between them.
    running: AtomicU64,
    /// Whether what runs is a command.
    is_command: AtomicBool,
    started: AtomicU64,
    interrupted: AtomicBool,
    /// A [`Phase`].
    phase: AtomicU8,
    /// Whether a cell has been announced that has not ended.
    expected: AtomicBool,
    /// Whether it was interrupted before it began.
    early: AtomicBool,
    /// The folder with the cell runner's socket, once there is one.
    runner: Mutex<Option<PathBuf>>,
    session: String,
    host_socket: PathBuf,
    /// Held while what a cell asked of the host is cancelled: the next cell waits for it, which else might
    /// be taken for the one before.
    cancels: Mutex<()>,
}

impl Interrupter {
    /// For the kernel of this session.
    pub fn new(session: String, host_socket: PathBuf) -> Self {
        Self {
            running: AtomicU64::new(0),
            is_command: AtomicBool::new(false),
            started: AtomicU64::new(0),
            interrupted: AtomicBool::new(false),
            phase: AtomicU8::new(Phase::Compiles as u8),
            expected: AtomicBool::new(false),
            early: AtomicBool::new(false),
            runner: Mutex::new(None),
            session,
            host_socket,
            cancels: Mutex::new(()),
        }
    }

    /// The session whose runner is told to end a cell that does not listen.
    pub fn set_runner(&self, session: &Path) {
        *self.runner.lock().unwrap_or_else(PoisonError::into_inner) = Some(session.to_owned());
    }

    /// A cell is about to begin: an interrupt from now on is meant for it.
    pub fn expect_cell(&self) {
        self.early.store(false, Ordering::SeqCst);
        self.expected.store(true, Ordering::SeqCst);
    }

    /// The cell has ended, or did not begin.
    pub fn expect_none(&self) {
        self.expected.store(false, Ordering::SeqCst);
    }

    /// A cell begins.
    pub fn start_cell(self: &Arc<Self>) {
        self.start(false);
    }

    fn start(self: &Arc<Self>, is_command: bool) {
        drop(self.cancels.lock());
        self.interrupted.store(false, Ordering::SeqCst);
        self.is_command.store(is_command, Ordering::SeqCst);
        let number = self.started.fetch_add(1, Ordering::SeqCst) + 1;
        self.running.store(number, Ordering::SeqCst);
        if self.early.swap(false, Ordering::SeqCst) {
            self.interrupt();
        }
    }

    /// A command begins: it looks at [`Self::is_interrupted`] itself, and no process is ended for it.
    pub fn start_command(self: &Arc<Self>) {
        self.start(true);
    }

    /// Whether the running cell or command was asked to end.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }

    /// The cell has ended; says whether it was interrupted.
    pub fn end_cell(&self) -> bool {
        self.running.store(0, Ordering::SeqCst);
        self.interrupted.swap(false, Ordering::SeqCst)
    }

    /// Asks the running cell to end, and sees to it. Does nothing when none runs.
    pub fn interrupt(self: &Arc<Self>) {
        if self.expected.load(Ordering::SeqCst) && self.running.load(Ordering::SeqCst) == 0 {
            self.early.store(true, Ordering::SeqCst);
        }
        // It may have begun meanwhile; then it has seen the mark, or is seen here.
        let cell = self.running.load(Ordering::SeqCst);
        if cell == 0 || self.interrupted.swap(true, Ordering::SeqCst) {
            return;
        }
        let this = Arc::clone(self);
        if self.is_command.load(Ordering::SeqCst) {
            this.ask_host(cell);
            return;
        }
        let spawned = thread::Builder::new()
            .name("interrupt".to_owned())
            .spawn(move || this.pursue(cell));
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread for an interrupt");
        }
    }

    fn pursue(self: Arc<Self>, cell: u64) {
        Arc::clone(&self).ask_host(cell);
        let mut control = self.control();
        let mut compiled = Instant::now();
        // Until it is over: analysis may go before the compiler, and the cell after it.
        while self.is_running(cell) {
            // Again each time: the cell may be about to start one.
            if let Some(control) = &mut control {
                let _ = control.interrupt();
            }
            if self.end_compilers() {
                compiled = Instant::now();
            }
            if compiled.elapsed() > PATIENCE {
                // The snapshot of the worker takes over.
                let ended = control.as_mut().map(Control::end_cell);
                if let Some(Err(error)) = ended {
                    tracing::warn!(%error, "the cell runner cannot be told to end the cell");
                    control = self.control();
                }
                compiled = Instant::now();
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// Ends what compiles for the cell, and says whether anything did. What evcxr starts while it opens
    /// beside is let be.
    fn end_compilers(&self) -> bool {
        let mut compilers = children(std::process::id());
        match Phase::from(self.phase.load(Ordering::SeqCst)) {
            Phase::Runs => return false,
            Phase::Compiles => compilers.retain(|&child| is_direct_compiler(child)),
            Phase::AtEvcxr => compilers.retain(|&child| !is_runner_or_dead(child)),
        }
        compilers.iter().copied().for_each(end_tree);
        !compilers.is_empty()
    }

    /// What the running cell now waits for.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
    }

    fn is_running(&self, cell: u64) -> bool {
        self.running.load(Ordering::SeqCst) == cell
    }

    /// A connection of its own: the one that runs the cell waits for its end.
    fn control(&self) -> Option<Control> {
        let runner = self.runner.lock().unwrap_or_else(PoisonError::into_inner);
        let session = runner.clone()?;
        drop(runner);
        Control::connect(&session).ok()
    }

    /// Cancels at the host what the cell asked of it, until the cell has ended: its request may be on
    /// its way there. On a thread of its own: a host that hangs must not hold up the rest.
    fn ask_host(self: Arc<Self>, cell: u64) {
        let spawned = thread::Builder::new()
            .name("cancel".to_owned())
            .spawn(move || {
                loop {
                    let cancels = self.cancels.lock();
                    if !self.is_running(cell) {
                        break;
                    }
                    let cancelled = host::client::cancel_session(&self.host_socket, &self.session);
                    if let Err(error) = cancelled {
                        tracing::debug!(%error, "no host to cancel at");
                    }
                    drop(cancels);
                    thread::sleep(LOOK_AGAIN);
                }
            });
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread to cancel at the host");
        }
    }
}

fn is_direct_compiler(process: u32) -> bool {
    let command = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    command
        .split(|&byte| byte == 0)
        .any(|argument| argument == direct::MARK.as_bytes())
}

fn is_runner_or_dead(process: u32) -> bool {
    // That of a process which has ended and waits for its burial is empty.
    let command = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    command.is_empty()
        || command.split(|&byte| byte == 0).nth(1) == Some(runner::COMMAND.as_bytes())
}

fn end_tree(process: u32) {
    for child in children(process) {
        end_tree(child);
    }
    kill(process);
}

fn kill(process: u32) {
    if let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Children of all threads of a process.
fn children(process: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else {
        return Vec::new();
    };
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|id| id.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interrupter() -> Arc<Interrupter> {
        Arc::new(Interrupter::new(
            "test".to_owned(),
            PathBuf::from("/no/socket"),
        ))
    }

    /// A press before the first command, or between two, was lost.
    #[test]
    fn a_press_before_a_command_reaches_it() {
        let interrupter = interrupter();
        interrupter.expect_cell();
        interrupter.interrupt();
        interrupter.start_command();
        assert!(interrupter.is_interrupted());
        assert!(interrupter.end_cell());
        interrupter.start_command();
        assert!(!interrupter.is_interrupted(), "one press ends one thing");
    }

    /// The thread that cancels for one command took the next one for it.
    #[test]
    fn no_command_is_taken_for_the_one_before() {
        let interrupter = interrupter();
        interrupter.start_command();
        let first = interrupter.running.load(Ordering::SeqCst);
        interrupter.end_cell();
        interrupter.start_command();
        assert!(!interrupter.is_running(first));
    }

    /// A host that takes its time to cancel; gives how many it was asked to.
    fn slow_host(socket: &Path) -> Arc<AtomicU64> {
        use wire::host::{ClientMessage, Event, HostMessage, Response, Welcome};
        let listener = std::os::unix::net::UnixListener::bind(socket).expect("a socket");
        let cancelled = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&cancelled);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut channel = crate::runner::messages::Channel::new(stream.expect("a client"));
                while let Ok(Some(message)) = channel.receive::<ClientMessage>() {
                    let answer = match message {
                        ClientMessage::Hello(hello) => HostMessage::Welcome(Welcome {
                            protocol: hello.protocol,
                            version: String::new(),
                            pid: 0,
                        }),
                        ClientMessage::CancelSession { .. } => {
                            thread::sleep(Duration::from_millis(300));
                            count.fetch_add(1, Ordering::SeqCst);
                            continue;
                        }
                        ClientMessage::Request { id, .. } => HostMessage::Event {
                            id,
                            event: Event::Done(Response::Unloaded(Vec::new())),
                        },
                        ClientMessage::Cancel { .. } => continue,
                    };
                    let _ = channel.send(&answer);
                }
            }
        });
        cancelled
    }

    /// Of two cells that ran one after the other, the second was stopped by the first one's button.
    #[test]
    fn what_is_cancelled_late_is_not_the_next_cells() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("host");
        let cancelled = slow_host(&socket);
        let interrupter = Arc::new(Interrupter::new("test".to_owned(), socket));
        interrupter.start_command();
        interrupter.interrupt();
        // Until it is on its way.
        thread::sleep(Duration::from_millis(100));
        assert!(interrupter.end_cell());
        interrupter.start_command();
        assert_eq!(cancelled.load(Ordering::SeqCst), 1, "it was waited for");
        thread::sleep(Duration::from_millis(700));
        assert_eq!(cancelled.load(Ordering::SeqCst), 1, "and is not repeated");
        assert!(!interrupter.is_interrupted());
    }
}
