//! How a cell shows something and asks for input. Usable from any thread, also after the cell:
//! what is then published belongs to the last cell.

use std::sync::Arc;

use jupyter_protocol::messaging::{ClearOutput, ErrorOutput, Stdio};
use serde_json::{Value, json};
use wire::mime::Bundle;

use crate::comm::Comm;
use crate::language::CellError;
use crate::message::{Parent, child, json_content};
use crate::session::Session;

/// The way from a cell to the front ends.
#[derive(Clone)]
pub struct Publisher {
    session: Arc<Session>,
    /// The request to publish for; without one, the current cell.
    parent: Option<Parent>,
}

/// Where printed text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Why there is no input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// No cell runs, or who runs it cannot be asked.
    #[error("this front end cannot be asked for input")]
    NotAllowed,
    /// The cell was interrupted, or the kernel ends.
    #[error("interrupted while waiting for input")]
    Interrupted,
    /// The front end has gone.
    #[error("the front end that runs this cell cannot be reached")]
    Unreachable,
}

impl Publisher {
    pub(crate) fn new(session: Arc<Session>, parent: Option<Parent>) -> Self {
        Self { session, parent }
    }

    /// Prints. Text that comes in quick succession is sent together, some 10 ms later.
    pub fn stream(&self, stream: Stream, text: &str) {
        let Some(parent) = self.audience() else {
            return;
        };
        let name = match stream {
            Stream::Stdout => Stdio::Stdout,
            Stream::Stderr => Stdio::Stderr,
        };
        self.session.count_output();
        self.session.iopub.stream(parent, name, text);
    }

    /// Shows a value; one with an id can be replaced by [`Publisher::update_display`].
    pub fn display(&self, bundle: Bundle, display_id: Option<&str>) {
        let transient = display_id.map_or_else(|| json!({}), |id| json!({ "display_id": id }));
        self.session.count_output();
        let content = bundle_content(bundle, transient);
        match display_id {
            Some(id) => self.publish_display(id, "display_data", content),
            None => self.publish_json("display_data", content),
        }
    }

    /// Replaces all that was shown with this id. Of many updates in quick succession the newest is sent,
    /// and the last before the cell's end always.
    pub fn update_display(&self, bundle: Bundle, display_id: &str) {
        let transient = json!({ "display_id": display_id });
        let content = bundle_content(bundle, transient);
        self.publish_display(display_id, "update_display_data", content);
    }

    /// Shows the value of the cell, `Out[n]`.
    pub fn result(&self, bundle: Bundle) {
        self.session.count_output();
        let count = self.session.current().count;
        let mut content = bundle_content(bundle, json!({}));
        content["execution_count"] = count.into();
        self.publish_json("execute_result", content);
    }

    /// How many outputs the current cell has shown: prints, displays, its value. Updates of what is
    /// shown do not count.
    pub fn outputs(&self) -> u64 {
        self.session.outputs()
    }

    /// Clears what the cell has shown; with `wait`, only when it shows something new.
    pub fn clear_output(&self, wait: bool) {
        let Some(parent) = self.audience() else {
            return;
        };
        self.session
            .iopub
            .publish_for(ClearOutput { wait }, parent.as_ref());
    }

    /// Shows an error. One that ends the cell is returned from it instead, and shown then.
    pub fn error(&self, error: &CellError) {
        let Some(parent) = self.audience() else {
            return;
        };
        let CellError {
            ename,
            evalue,
            traceback,
        } = error.clone();
        self.session.count_output();
        self.session.iopub.publish_for(
            ErrorOutput {
                ename,
                evalue,
                traceback,
            },
            parent.as_ref(),
        );
    }

    /// Asks the user of the running cell for a line of text, and waits for it. `password` hides
    /// what is typed.
    pub fn input(&self, prompt: &str, password: bool) -> Result<String, InputError> {
        let parent = self
            .session
            .current()
            .parent
            .ok_or(InputError::NotAllowed)?;
        self.session.stdin.ask(&parent, prompt, password)
    }

    /// Opens a comm to the front ends.
    pub fn comm_open(&self, comm: Comm, target: &str) {
        self.session.comms.open(&comm.id, target);
        self.publish_comm("comm_open", comm, json!({ "target_name": target }));
    }

    /// Says something over a comm.
    pub fn comm_msg(&self, comm: Comm) {
        self.publish_comm("comm_msg", comm, json!({}));
    }

    /// Closes a comm.
    pub fn comm_close(&self, comm: Comm) {
        self.session.comms.close(&comm.id);
        self.publish_comm("comm_close", comm, json!({}));
    }

    fn publish_comm(&self, msg_type: &str, comm: Comm, mut content: Value) {
        content["comm_id"] = comm.id.into();
        content["data"] = comm.data.into();
        let parent = self
            .parent
            .clone()
            .or_else(|| self.session.current().parent);
        let message = child(json_content(msg_type, content), parent.as_deref())
            .with_metadata(comm.metadata.into())
            .with_buffers(comm.buffers.into_iter().map(Into::into).collect());
        self.session.iopub.publish(message);
    }

    fn publish_display(&self, display_id: &str, msg_type: &str, content: Value) {
        let Some(parent) = self.audience() else {
            return;
        };
        let message = child(json_content(msg_type, content), parent.as_deref());
        self.session.iopub.display(display_id, message);
    }

    fn publish_json(&self, msg_type: &str, content: Value) {
        let Some(parent) = self.audience() else {
            return;
        };
        self.session
            .iopub
            .publish_for(json_content(msg_type, content), parent.as_ref());
    }

    /// The request to publish for, if there is one; `None` when nothing shall be shown.
    #[expect(
        clippy::option_option,
        reason = "the outer one is a decision, the inner one a fact"
    )]
    fn audience(&self) -> Option<Option<Parent>> {
        if self.parent.is_some() {
            return Some(self.parent.clone());
        }
        let current = self.session.current();
        (!current.silent).then_some(current.parent)
    }
}

fn bundle_content(Bundle { data, metadata }: Bundle, transient: Value) -> Value {
    // Moved and not `json!`, which would copy: an image is megabytes.
    let parts = [
        ("data", data.into()),
        ("metadata", metadata.into()),
        ("transient", transient),
    ];
    parts
        .into_iter()
        .map(|(name, part): (&str, Value)| (name.to_owned(), part))
        .collect()
}
