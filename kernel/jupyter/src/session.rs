//! What the channels, the execution thread and publishers share: the ways out, the queue, and
//! which cell is the current one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jupyter_protocol::messaging::ExecuteRequest;
use serde_json::{Value, json};

use crate::channel::stdin::Stdin;
use crate::comm::Comms;
use crate::history::History;
use crate::iopub::IoPub;
use crate::language::{Cell, Control};
use crate::message::{Parent, Replies, json_content};
use crate::queue::Queue;

/// One kernel.
pub(crate) struct Session {
    pub(crate) control: Arc<dyn Control>,
    pub(crate) iopub: IoPub,
    pub(crate) shell: Replies,
    pub(crate) stdin: Stdin,
    pub(crate) queue: Queue,
    pub(crate) history: History,
    pub(crate) comms: Comms,
    /// The content of a `connect_reply`.
    pub(crate) ports: Value,
    current: Mutex<Current>,
    /// How many outputs the current cell has shown.
    outputs: AtomicU64,
}

/// The cell that runs, or the last one that ran.
#[derive(Clone, Default)]
pub(crate) struct Current {
    pub(crate) parent: Option<Parent>,
    /// The number of the cell; that of the last stored one between cells.
    pub(crate) count: u32,
    pub(crate) silent: bool,
    /// The number of the last cell that was stored.
    stored: u32,
}

impl Session {
    pub(crate) fn new(
        control: Arc<dyn Control>,
        history: History,
        iopub: IoPub,
        shell: Replies,
        stdin: Stdin,
        ports: Value,
    ) -> Self {
        Self {
            control,
            iopub,
            shell,
            stdin,
            queue: Queue::default(),
            history,
            comms: Comms::default(),
            ports,
            current: Mutex::default(),
            outputs: AtomicU64::new(0),
        }
    }

    pub(crate) fn current(&self) -> Current {
        self.lock().clone()
    }

    /// Makes a cell the current one and gives it its number.
    pub(crate) fn begin_cell(&self, parent: &Parent, request: &ExecuteRequest) -> Cell {
        let store_history = request.store_history && !request.silent;
        let mut current = self.lock();
        current.count = current.stored + 1;
        if store_history {
            current.stored = current.count;
        }
        current.parent = Some(Arc::clone(parent));
        self.outputs.store(0, Ordering::SeqCst);
        current.silent = request.silent;
        Cell {
            code: request.code.clone(),
            count: current.count,
            silent: request.silent,
            store_history,
            allow_stdin: request.allow_stdin,
        }
    }

    pub(crate) fn count_output(&self) {
        self.outputs.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn outputs(&self) -> u64 {
        self.outputs.load(Ordering::SeqCst)
    }

    /// Answers the cells that wait now as aborted.
    pub(crate) async fn abort_queued(&self) {
        for parent in self.queue.take_cells() {
            self.abort(&parent).await;
        }
    }

    /// Answers a cell as aborted. It has no count: a front end would show it as the number of a cell
    /// that has run.
    pub(crate) async fn abort(&self, parent: &Parent) {
        self.iopub.busy(parent);
        let content = json!({ "status": "aborted" });
        self.shell
            .send(json_content("execute_reply", content), parent)
            .await;
        self.iopub.idle(parent);
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
