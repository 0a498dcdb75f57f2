//! Where a cell's outputs go. The kernel publishes them; a test collects them.

use wire::mime::Bundle;

/// One of the two plain outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A taker of outputs, called from several threads.
pub trait Sink: Send + Sync {
    /// Plain text.
    fn stream(&self, stream: Stream, text: &str);
    /// A rich value, with the name it can be updated by.
    fn display(&self, bundle: Bundle, display_id: Option<&str>);
    /// A new face for what was shown under a name.
    fn update_display(&self, bundle: Bundle, display_id: &str);
    /// The value of the cell's last expression.
    fn result(&self, bundle: Bundle);
    /// Clears the outputs, now or when the next one comes.
    fn clear_output(&self, wait: bool);
    /// Asks the user for a line; an error says why it cannot be had.
    fn input(&self, prompt: &str, password: bool) -> Result<String, String>;
}

/// Takes outputs and shows none: for cells that nobody looks at.
pub struct Nowhere;

impl Sink for Nowhere {
    fn stream(&self, _: Stream, _: &str) {}
    fn display(&self, _: Bundle, _: Option<&str>) {}
    fn update_display(&self, _: Bundle, _: &str) {}
    fn result(&self, _: Bundle) {}
    fn clear_output(&self, _: bool) {}
    fn input(&self, _: &str, _: bool) -> Result<String, String> {
        Err("no front end".to_owned())
    }
}
