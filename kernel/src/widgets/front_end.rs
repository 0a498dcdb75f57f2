//! What front ends say about widgets: that they show them, what the user changed or clicked, and that a
//! page was reloaded and has lost them all.

use std::sync::atomic::Ordering;

use jupyter::{Afterwards, Comm, Publisher};
use serde_json::{Map, Value, json};
use wire::widget::{WidgetAction, WidgetState};

use super::{
    registry::{TARGET, Widgets, content, message},
    saved::is_typed_into,
};

/// The comm over which a front end asks for all widgets.
const CONTROL: &str = "jupyter.widget.control";

impl Widgets {
    /// A front end lists comms: it does so for widgets when it has code for them.
    pub fn comms_listed(&self, target: Option<&str>) {
        if target == Some(TARGET) {
            self.has_front_end.store(true, Ordering::SeqCst);
        }
    }

    /// A front end opens a comm; `false` refuses it. Widgets are made by cells alone.
    pub fn comm_open(&self, target: &str) -> bool {
        let accepted = target == CONTROL;
        if accepted {
            self.has_front_end.store(true, Ordering::SeqCst);
        }
        accepted
    }

    /// A front end says something over a comm.
    pub fn comm_msg(&self, comm: &Comm, out: &Publisher) -> Afterwards {
        // One that has asked for nothing shows them all the same when its user changes one.
        self.has_front_end.store(true, Ordering::SeqCst);
        let is_event = match comm.data.get("method").and_then(Value::as_str) {
            Some("request_states") => {
                out.comm_msg(message(&comm.id, self.all()));
                false
            }
            Some("request_state") => {
                if let Some(widget) = self.lock().widgets.get_mut(&comm.id) {
                    out.comm_msg(message(&comm.id, content(widget.now(), Some("update"))));
                }
                false
            }
            Some("update") => match comm.data.get("state") {
                Some(Value::Object(changes)) => self.changed(&comm.id, changes, out),
                _ => false,
            },
            Some("custom") => {
                comm.data.get("content").and_then(|said| said.get("event")) == Some(&json!("click"))
                    && self.clicked(&comm.id)
            }
            _ => false,
        };
        if is_event {
            Afterwards::Attend
        } else {
            Afterwards::Nothing
        }
    }

    /// A front end closes a widget.
    pub fn comm_close(&self, comm: &Comm) {
        let mut state = self.lock();
        state.widgets.remove(&comm.id);
        state.handlers.remove(&comm.id);
    }

    fn changed(&self, id: &str, changes: &WidgetState, out: &Publisher) -> bool {
        let mut state = self.lock();
        let Some(widget) = state.widgets.get_mut(id) else {
            return false;
        };
        widget.state.extend(changes.clone());
        // What a cell set and nobody saw yet is older than what the user did.
        widget.unsent.retain(|name, _| !changes.contains_key(name));
        if !is_typed_into(widget.state.get("_model_name")) {
            state.words_are_old();
        }
        // Other pages with this notebook follow.
        out.comm_msg(message(id, content(changes, Some("echo_update"))));
        state.note(id, WidgetAction::Changed(changes.clone()))
    }

    fn clicked(&self, id: &str) -> bool {
        let mut state = self.lock();
        let Some(widget) = state.widgets.get_mut(id) else {
            return false;
        };
        widget.clicks += 1;
        state.words_are_old();
        let is_event = state.note(id, WidgetAction::Clicked);
        let handler = state.handlers.get(id).cloned();
        drop(state);
        if let Some(handler) = handler {
            handler();
        }
        is_event
    }

    /// All widgets, as a page that has lost them wants them.
    fn all(&self) -> Map<String, Value> {
        let mut state = self.lock();
        state.texts.page_loaded();
        let states: Map<String, Value> = state
            .widgets
            .iter_mut()
            .map(|(id, widget)| {
                widget.now();
                let attribute = |name: &str| widget.state.get(name).cloned().unwrap_or_default();
                let described = json!({
                    "model_name": attribute("_model_name"),
                    "model_module": attribute("_model_module"),
                    "model_module_version": attribute("_model_module_version"),
                    "state": widget.state,
                });
                (id.clone(), described)
            })
            .collect();
        let mut all = Map::new();
        all.insert("method".to_owned(), "update_states".into());
        all.insert("states".to_owned(), Value::Object(states));
        all.insert("buffer_paths".to_owned(), json!([]));
        all
    }
}
