//! The texts that cells are writing: should the process of a cell die, the kernel ends them; and a page
//! that was loaded again while one was written has it by its widgets alone, so that they stay.

use display::end_unfinished;
use wire::mime::Bundle;

use super::registry::Widgets;

/// What is known of them.
#[derive(Default)]
pub(super) struct Texts {
    open: Vec<Open>,
    /// Those that a page was loaded in the middle of.
    kept: Vec<String>,
}

struct Open {
    id: String,
    display_id: String,
}

impl Texts {
    pub(super) fn begin(&mut self, id: String, display_id: String) {
        self.open.push(Open { id, display_id });
    }

    pub(super) fn end(&mut self, id: &str) {
        self.open.retain(|text| text.id != id);
    }

    /// Whether a text is being written in this widget.
    pub(super) fn has(&self, id: &str) -> bool {
        self.open.iter().any(|text| text.id == id)
    }

    /// A page has asked for all widgets.
    pub(super) fn page_loaded(&mut self) {
        let open = self.open.iter().map(|text| text.id.clone());
        self.kept.extend(open);
    }

    /// Whether this widget is a part of a text that a page has no other way to show.
    pub(super) fn are_kept(&self, widget: &str) -> bool {
        self.kept.iter().any(|id| {
            let rest = widget.strip_prefix(id.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
    }
}

impl Widgets {
    /// Ends the texts whose process has died, and gives what their displays show from now on.
    pub fn end_texts(&self) -> Vec<(Bundle, String)> {
        let mut state = self.lock();
        let open = std::mem::take(&mut state.texts.open);
        let mut ended = Vec::new();
        let mut calls = Vec::new();
        for Open { id, display_id } in open {
            let read = |id: &str| state.widgets.get(id).map(|widget| &widget.state);
            let (told, bundle) = end_unfinished(&id, read);
            calls.extend(told);
            ended.push((bundle, display_id));
        }
        drop(state);
        for call in calls {
            self.carry_out(call);
        }
        ended
    }
}
