//! Interrupts: first a request, then force. The host stops what the cell asked of it, a compiler is
//! ended, and a cell that still runs after a moment loses its process, whose snapshot takes over.

use std::{
    fs,
    path::PathBuf,
    process::Child,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

/// How long a cell may take to end by itself.
const PATIENCE: Duration = Duration::from_millis(800);

/// What the thread that runs cells and the one that interrupts them know of each other.
pub struct Interrupter {
    /// Number of the running cell, and 0 between cells.
    running: AtomicU64,
    started: AtomicU64,
    interrupted: AtomicBool,
    runner: Mutex<Option<Arc<Mutex<Child>>>>,
    session: String,
    host_socket: PathBuf,
}

impl Interrupter {
    /// For the kernel of this session.
    pub fn new(session: String, host_socket: PathBuf) -> Self {
        Self {
            running: AtomicU64::new(0),
            started: AtomicU64::new(0),
            interrupted: AtomicBool::new(false),
            runner: Mutex::new(None),
            session,
            host_socket,
        }
    }

    /// The runner that is to be ended when a cell does not listen.
    pub fn set_runner(&self, runner: Arc<Mutex<Child>>) {
        *self.runner.lock().unwrap_or_else(PoisonError::into_inner) = Some(runner);
    }

    /// A cell begins.
    pub fn start_cell(&self) {
        self.interrupted.store(false, Ordering::SeqCst);
        let number = self.started.fetch_add(1, Ordering::SeqCst) + 1;
        self.running.store(number, Ordering::SeqCst);
    }

    /// The cell has ended; says whether it was interrupted.
    pub fn end_cell(&self) -> bool {
        self.running.store(0, Ordering::SeqCst);
        self.interrupted.swap(false, Ordering::SeqCst)
    }

    /// Asks the running cell to end, and sees to it. Does nothing when none runs.
    pub fn interrupt(self: &Arc<Self>) {
        let cell = self.running.load(Ordering::SeqCst);
        if cell == 0 || self.interrupted.swap(true, Ordering::SeqCst) {
            return;
        }
        let this = Arc::clone(self);
        let spawned = thread::Builder::new()
            .name("interrupt".to_owned())
            .spawn(move || this.pursue(cell));
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread for an interrupt");
        }
    }

    fn pursue(&self, cell: u64) {
        if let Err(error) = host::client::cancel_session(&self.host_socket, &self.session) {
            tracing::debug!(%error, "no host to cancel at");
        }
        let runner = self
            .runner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let runner_id = runner
            .as_ref()
            .map(|runner| runner.lock().unwrap_or_else(PoisonError::into_inner).id());
        end_compilers(runner_id);
        thread::sleep(PATIENCE);
        if self.running.load(Ordering::SeqCst) == cell
            && let Some(runner) = runner_id
        {
            // The worker is the supervisor's child; its snapshot takes over.
            children(runner).into_iter().for_each(kill);
        }
    }
}

/// Ends the kernel's children and theirs, but for the runner: cargo and rustc.
fn end_compilers(runner: Option<u32>) {
    for child in children(std::process::id()) {
        if Some(child) != runner {
            end_tree(child);
        }
    }
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
