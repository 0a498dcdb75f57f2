//! Where the outputs of cells go: to the front end that asked for the last one.

use std::sync::{Mutex, PoisonError};

use jupyter::Publisher;
use wire::mime::Bundle;

use super::sink::{Sink, Stream};

/// The front end of the last cell, and nowhere before the first.
#[derive(Default)]
pub struct Outlet {
    publisher: Mutex<Option<Publisher>>,
}

impl Outlet {
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
        let stream = match stream {
            Stream::Stdout => jupyter::Stream::Stdout,
            Stream::Stderr => jupyter::Stream::Stderr,
        };
        if let Some(out) = self.publisher() {
            out.stream(stream, text);
        }
    }

    fn display(&self, bundle: Bundle, display_id: Option<&str>) {
        if let Some(out) = self.publisher() {
            out.display(bundle, display_id);
        }
    }

    fn update_display(&self, bundle: Bundle, display_id: &str) {
        if let Some(out) = self.publisher() {
            out.update_display(bundle, display_id);
        }
    }

    fn result(&self, bundle: Bundle) {
        if let Some(out) = self.publisher() {
            out.result(bundle);
        }
    }

    fn clear_output(&self, wait: bool) {
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
