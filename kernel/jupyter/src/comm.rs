//! Comms: the channels between a widget in the front end and its other half. Here is the message
//! and the list of those that are open; what is said over one is the language's.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jupyter_protocol::messaging::JupyterMessage;
use serde_json::{Map, Value, json};

/// What is said over a comm when it is opened, used or closed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comm {
    /// The name of the comm, unique and chosen by who opened it.
    pub id: String,
    /// What is said.
    pub data: Map<String, Value>,
    /// About the message; the widgets' protocol puts its version here.
    pub metadata: Map<String, Value>,
    /// Binary parts that the data refer to.
    pub buffers: Vec<Vec<u8>>,
}

impl Comm {
    /// The comm message in a Jupyter message.
    pub(crate) fn from_message(
        id: &str,
        data: &Map<String, Value>,
        message: &JupyterMessage,
    ) -> Self {
        Self {
            id: id.to_owned(),
            data: data.clone(),
            metadata: message.metadata.as_object().cloned().unwrap_or_default(),
            buffers: message
                .buffers
                .iter()
                .map(|buffer| buffer.to_vec())
                .collect(),
        }
    }
}

/// The comms that are open: target by id.
#[derive(Default)]
pub(crate) struct Comms(Mutex<HashMap<String, String>>);

impl Comms {
    pub(crate) fn open(&self, id: &str, target: &str) {
        self.lock().insert(id.to_owned(), target.to_owned());
    }

    /// Whether it was open.
    pub(crate) fn close(&self, id: &str) -> bool {
        self.lock().remove(id).is_some()
    }

    pub(crate) fn is_open(&self, id: &str) -> bool {
        self.lock().contains_key(id)
    }

    /// The content of a `comm_info_reply`; those of one target, where one is named.
    pub(crate) fn info(&self, target: Option<&str>) -> Value {
        let open = self.lock();
        let comms: Map<String, Value> = open
            .iter()
            .filter(|(_, t)| target.is_none_or(|target| target == *t))
            .map(|(id, target)| (id.clone(), json!({ "target_name": target })))
            .collect();
        json!({ "status": "ok", "comms": comms })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
