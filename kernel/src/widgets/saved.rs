//! What a saved notebook has beside its widgets: their values in words. It follows the widgets, but not at
//! once: a page draws a widget anew when what is beside it changes, and a slider would slip from the hand
//! that moves it.

use std::time::{Duration, Instant};

use display::widgets::{VIEW, instead};
use serde_json::Value;
use wire::mime::Bundle;

use super::registry::{State, Widgets};

/// So long after a user's last doing the words follow, where no cell runs meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);

/// So many displays are followed: those of a loop without end are not.
const MOST: usize = 200;

/// A widget that stands on the page.
pub(super) struct Shown {
    widget: String,
    display_id: String,
    /// What was last beside it.
    bundle: Bundle,
}

impl Widgets {
    /// A cell shows something. When it is a widget, gives the name by which it can be updated.
    pub fn shows(&self, bundle: &Bundle, display_id: Option<&str>) -> Option<String> {
        let mut state = self.lock();
        if let Some(name) = display_id {
            state.shown.retain(|shown| shown.display_id != name);
        }
        let widget = bundle.data.get(VIEW)?.get("model_id")?.as_str()?.to_owned();
        if !state.widgets.contains_key(&widget) || state.texts.has(&widget) {
            return None;
        }
        if state.shown.len() >= MOST {
            state.shown.remove(0);
        }
        let new = || format!("warmcell-widget-{}", uuid::Uuid::new_v4());
        let display_id = display_id.map_or_else(new, str::to_owned);
        state.shown.push(Shown {
            widget,
            display_id: display_id.clone(),
            bundle: bundle.clone(),
        });
        Some(display_id)
    }

    /// Has the words follow the widgets: a cell has ended.
    pub fn renew_words(&self) {
        self.lock().renew_words();
    }
}

impl State {
    /// What was done to a widget is to be in its words some time.
    pub(super) fn words_are_old(&mut self) {
        self.words_due = Some(Instant::now() + PATIENCE);
    }

    /// Renews the words when they are due.
    pub(super) fn renew_due_words(&mut self) {
        if self.words_due.is_some_and(|due| due <= Instant::now()) && !self.cell_runs {
            self.renew_words();
        }
    }

    fn renew_words(&mut self) {
        self.words_due = None;
        for widget in self.widgets.values_mut() {
            widget.now();
        }
        let widgets = &self.widgets;
        let read = |id: &str| widgets.get(id).map(|widget| &widget.state);
        self.shown
            .retain(|shown| widgets.contains_key(&shown.widget));
        for shown in &mut self.shown {
            let bundle = instead(&shown.widget, &read);
            if bundle.data == shown.bundle.data {
                continue;
            }
            if let Some(out) = &self.out {
                out.update_display(bundle.clone(), &shown.display_id);
            }
            shown.bundle = bundle;
        }
    }

    /// A text is written there, which has words of its own.
    pub(super) fn has_own_words(&mut self, widget: &str) {
        self.shown.retain(|shown| shown.widget != widget);
    }
}

/// Whether a widget is one that is typed into: it is not to be drawn anew while somebody thinks.
pub(super) fn is_typed_into(model: Option<&Value>) -> bool {
    let names = ["TextModel", "TextareaModel"];
    model
        .and_then(Value::as_str)
        .is_some_and(|name| names.contains(&name))
}
