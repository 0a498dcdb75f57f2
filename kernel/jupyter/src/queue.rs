//! What waits for the execution thread, in the order it came.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use jupyter_protocol::messaging::ExecuteRequest;

use crate::message::Parent;

/// A request that needs the language.
pub(crate) enum Work {
    /// Run a cell.
    Execute(Parent, ExecuteRequest),
    /// See to what came over a comm.
    Attend(Parent),
}

/// The queue.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    work: VecDeque<Work>,
    closed: bool,
}

impl Queue {
    pub(crate) fn push(&self, work: Work) {
        self.lock().work.push_back(work);
        self.changed.notify_one();
    }

    /// Waits for work; `None` when the kernel ends.
    pub(crate) fn pop(&self) -> Option<Work> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(work) = state.work.pop_front() {
                return Some(work);
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().work.is_empty()
    }

    /// Takes out the cells that wait now.
    pub(crate) fn take_cells(&self) -> Vec<Parent> {
        let mut state = self.lock();
        let (cells, others) = std::mem::take(&mut state.work)
            .into_iter()
            .partition::<VecDeque<_>, _>(|work| matches!(work, Work::Execute(..)));
        state.work = others;
        let parent = |work| match work {
            Work::Execute(parent, _) | Work::Attend(parent) => parent,
        };
        cells.into_iter().map(parent).collect()
    }

    /// Ends the wait of the execution thread.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
