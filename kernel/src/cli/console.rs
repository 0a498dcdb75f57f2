//! What a person sees in the terminal: lines, and a spinner or a bar while they wait. Where standard
//! error is no terminal, each piece of work is one plain line, so that logs stay readable.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    time::Duration,
};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};

/// Writes a line to standard output. A reader that closed the pipe early is no failure.
pub fn say(line: impl fmt::Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Writes what a command is for to standard output. A reader that closed the pipe early is no failure.
///
/// # Errors
/// There is no room for it, or standard output is closed.
pub fn write(text: &[u8]) -> Result<()> {
    let mut out = io::stdout();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// Writes a line to standard error.
pub fn warn(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// A piece of work that is going on.
pub struct Work {
    bar: Option<ProgressBar>,
}

impl Work {
    /// Announces work of unknown length.
    pub fn begin(what: &str) -> Self {
        if !io::stderr().is_terminal() {
            warn(what);
            return Self { bar: None };
        }
        let bar = ProgressBar::new_spinner().with_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar: Some(bar) }
    }

    /// Shows how many bytes are done; turns the spinner into a bar.
    pub fn bytes(&self, done: u64, total: u64) {
        let Some(bar) = &self.bar else { return };
        if bar.length().is_none() {
            let style = ProgressStyle::with_template(
                "{msg} {wide_bar} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}",
            );
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_length(total);
        }
        bar.set_position(done);
    }

    /// Replaces what is said to go on.
    pub fn now(&self, what: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(what.to_owned()),
            None => warn(what),
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A number of seconds as people read it.
pub fn human_seconds(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min", whole / 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        assert_eq!(human_seconds(59.9), "59 s");
        assert_eq!(human_seconds(3_700.0), "1 h 1 min");
    }
}
