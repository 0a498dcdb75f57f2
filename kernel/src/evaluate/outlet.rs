//! Where the outputs of cells go: to the front end that asked for the last one.

use std::sync::{Arc, Mutex, PoisonError};

use jupyter::Publisher;
use wire::mime::Bundle;

use super::sink::{Sink, Stream};
use crate::widgets::Widgets;

/// The front end of the last cell, and nowhere before the first; or the output widget that a cell has
/// named.
pub struct Outlet {
    publisher: Mutex<Option<Publisher>>,
    widgets: Arc<Widgets>,
}

impl Outlet {
    /// One that leads nowhere yet.
    pub fn new(widgets: Arc<Widgets>) -> Self {
        Self {
            publisher: Mutex::default(),
            widgets,
        }
    }

    /// Sends what comes to the front end of this cell.
    pub fn attach(&self, publisher: Publisher) {
        *self
            .publisher
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(publisher);
    }

    /// The publisher itself is called without the lock: asking for input takes as long as a user.
    pub fn publisher(&self) -> Option<Publisher> {
        self.publisher
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Sink for Outlet {
    fn stream(&self, stream: Stream, text: &str) {
        if self.widgets.captures_stream(stream, text) {
            return;
        }
        let stream = match stream {
            Stream::Stdout => jupyter::Stream::Stdout,
            Stream::Stderr => jupyter::Stream::Stderr,
        };
        if let Some(out) = self.publisher() {
            out.stream(stream, text);
        }
    }

    fn display(&self, bundle: Bundle, display_id: Option<&str>) {
        let mut bundle = Some(bundle);
        let captured = self.widgets.captures(|outputs| {
            outputs.display(bundle.take().unwrap_or_default(), display_id);
        });
        let Some(bundle) = bundle.filter(|_| !captured) else {
            return;
        };
        let name = self.widgets.shows(&bundle, display_id);
        if let Some(out) = self.publisher() {
            out.display(bundle, name.as_deref().or(display_id));
        }
    }

    fn update_display(&self, bundle: Bundle, display_id: &str) {
        self.widgets.update_display(&bundle, display_id);
        self.widgets.shows(&bundle, Some(display_id));
        if let Some(out) = self.publisher() {
            out.update_display(bundle, display_id);
        }
    }

    fn result(&self, bundle: Bundle) {
        // The value of a cell is the cell's, whoever takes what it prints.
        let Some(out) = self.publisher() else {
            return;
        };
        match self.widgets.shows(&bundle, None) {
            // A result has no name by which front ends would update it.
            Some(name) => out.display(bundle, Some(&name)),
            None => out.result(bundle),
        }
    }

    fn clear_output(&self, wait: bool) {
        if self.widgets.captures(|outputs| outputs.clear(wait)) {
            return;
        }
        if let Some(out) = self.publisher() {
            out.clear_output(wait);
        }
    }

    fn input(&self, prompt: &str, password: bool) -> Result<String, String> {
        let out = self.publisher().ok_or("no cell runs")?;
        out.input(prompt, password)
            .map_err(|error| error.to_string())
    }
}
