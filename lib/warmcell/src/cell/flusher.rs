//! Sends on what a cell has printed without a newline. Rust's standard output keeps such text until
//! the line ends, which in a notebook may be never: a progress bar, a stream of tokens.
//!
//! The thread rests between cells, when the runner forks its snapshot: a lock it held then would be
//! held in the snapshot for ever. A forked process gets a gate and a thread of its own.

use std::{
    io::Write,
    process,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// Short for a reader, long for a processor.
const INTERVAL: Duration = Duration::from_millis(15);

struct Gate {
    /// The process whose thread waits here.
    process: u32,
    /// Whether a cell runs. Held while flushing.
    running: Mutex<bool>,
    changed: Condvar,
}

/// Touched by the thread that runs cells alone, so that it is free whenever that one forks. What it
/// refers to is leaked: its thread uses it for as long as the process lives.
static GATE: Mutex<Option<&'static Gate>> = Mutex::new(None);

/// A cell begins: its output is sent on from now on.
pub(super) fn start() {
    let mut current = lock(&GATE);
    let gate = match *current {
        Some(gate) if gate.process == process::id() => gate,
        _ => {
            let gate: &'static Gate = Box::leak(Box::new(Gate {
                process: process::id(),
                running: Mutex::new(false),
                changed: Condvar::new(),
            }));
            let spawned = thread::Builder::new()
                .name("warmcell-flush".to_owned())
                .spawn(move || gate.serve());
            // Without the thread, text without a newline waits for the end of the cell.
            if spawned.is_err() {
                return;
            }
            *current = Some(gate);
            gate
        }
    };
    *lock(&gate.running) = true;
    gate.changed.notify_one();
}

/// A cell has ended. Waits for a flush under way; none follows until the next cell.
pub(super) fn pause() {
    if let Some(gate) = *lock(&GATE) {
        *lock(&gate.running) = false;
    }
}

impl Gate {
    fn serve(&self) {
        loop {
            let mut running = lock(&self.running);
            while !*running {
                running = self
                    .changed
                    .wait(running)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            // A closed output is the cell's to notice.
            let _ = std::io::stdout().flush();
            drop(running);
            thread::sleep(INTERVAL);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
