//! Sends on what a cell has printed without a newline. Rust's standard output keeps such text until
//! the line ends, which in a notebook may be never: a progress bar, a stream of tokens.
//!
//! A thread of its own does it, since a thread of the user's may hold standard output for as long as
//! it likes: the end of a cell waits for the thread here, but not for ever.

use std::{
    io::Write,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use super::unsafe_fork::PerProcess;

/// Short for a reader, long for a processor.
const INTERVAL: Duration = Duration::from_millis(15);
/// How long the end of a cell waits for a thread that holds standard output.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Whether the thread has been started.
    is_served: bool,
    /// Whether a cell runs.
    is_running: bool,
    /// Flushes asked for, and the last of them that is done.
    asked: u64,
    done: u64,
}

/// A fork has no such thread, and gets a gate of its own.
static GATE: PerProcess<Gate> = PerProcess::new();

/// A cell begins: its output is sent on from now on.
pub(super) fn start() {
    let gate = GATE.get();
    let mut state = gate.lock();
    if !state.is_served {
        // Without the thread, text without a newline waits for the end of the cell.
        state.is_served = thread::Builder::new()
            .name("warmcell-flush".to_owned())
            .spawn(|| gate.serve())
            .is_ok();
    }
    state.is_running = true;
    gate.changed.notify_all();
}

/// A cell has ended: sends on all it printed. `false` when another thread holds an output, so that
/// something may still be there.
pub(super) fn finish() -> bool {
    let gate = GATE.get();
    let mut state = gate.lock();
    state.is_running = false;
    if !state.is_served {
        drop(state);
        super::flush();
        return true;
    }
    state.asked += 1;
    let mine = state.asked;
    gate.changed.notify_all();
    let waited = gate
        .changed
        .wait_timeout_while(state, PATIENCE, |state| state.done < mine);
    let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
    state.done >= mine
}

impl Gate {
    fn serve(&self) {
        loop {
            let state = self.lock();
            let waited = self.changed.wait_while(state, |state| {
                !state.is_running && state.done == state.asked
            });
            let state = waited.unwrap_or_else(PoisonError::into_inner);
            let asked = state.asked;
            drop(state);
            // A closed output is the cell's to notice.
            let _ = std::io::stdout().flush();
            let _ = std::io::stderr().flush();
            let mut state = self.lock();
            state.done = asked;
            self.changed.notify_all();
            if state.is_running && state.asked == asked {
                // Wakes early when the cell ends.
                let waited = self
                    .changed
                    .wait_timeout_while(state, INTERVAL, |state| state.asked == asked);
                drop(waited.unwrap_or_else(PoisonError::into_inner));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
