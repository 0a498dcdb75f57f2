//! Showing values while a cell runs, and asking the user. Without a kernel the text goes to standard
//! output, and questions to the terminal.

use std::{
    fmt,
    io::Write,
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use ::display::Show;
use wire::{
    FailureKind,
    cell::{CellMessage, KernelMessage},
    mime::Bundle,
};

use crate::{Error, Result, cell::kernel};

/// Shows a value now: anything with a rich display, and the standard library's types by their
/// `Debug` form. The macro `display!` takes any `Debug` value.
#[expect(
    clippy::needless_pass_by_value,
    reason = "a cell shows temporaries, and writes no `&` for them"
)]
pub fn display(value: impl Show) {
    show_bundle(value.show());
}

/// Shows a value in place: what is shown can be replaced through the handle.
#[expect(
    clippy::needless_pass_by_value,
    reason = "a cell shows temporaries, and writes no `&` for them"
)]
pub fn display_with_id(value: impl Show) -> DisplayHandle {
    let display_id = new_display_id();
    let bundle = value.show();
    print_unless_sent(CellMessage::Display {
        bundle,
        display_id: Some(display_id.clone()),
    });
    DisplayHandle { display_id }
}

/// Clears what the cell has shown so far. With `wait`, only once something new is shown, which
/// spares the flicker.
pub fn clear_output(wait: bool) {
    if kernel::is_connected() {
        let _ = kernel::send(&CellMessage::ClearOutput { wait });
    }
}

/// Asks the user for a line.
///
/// # Errors
/// The front end takes no input, or the user interrupted.
pub fn input(prompt: &str) -> Result<String> {
    ask(prompt, false)
}

/// Asks the user for a line that is not shown. Without a kernel there is no way to hide it, so it is
/// an error there.
///
/// # Errors
/// As [`input`].
pub fn password(prompt: &str) -> Result<String> {
    ask(prompt, true)
}

/// Shows any `Debug` value, or its rich display where it has one.
#[macro_export]
macro_rules! display {
    ($value:expr) => {{
        use $crate::cell::display_scope::*;
        $crate::cell::show_bundle(($value).__warmcell_ref().warmcell_bundle())
    }};
}

/// A value on the page that can be replaced.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DisplayHandle {
    display_id: String,
}

impl DisplayHandle {
    /// Replaces what is shown, wherever it is shown.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a cell shows temporaries, and writes no `&` for them"
    )]
    pub fn update(&self, value: impl Show) {
        let bundle = value.show();
        print_unless_sent(CellMessage::UpdateDisplay {
            bundle,
            display_id: self.display_id.clone(),
        });
    }

    /// Its name among the notebook's displays.
    pub fn display_id(&self) -> &str {
        &self.display_id
    }
}

impl fmt::Debug for DisplayHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DisplayHandle({})", self.display_id)
    }
}

/// A display of this library's own, whose connection may break without harm.
pub(crate) struct LiveDisplay {
    display_id: String,
}

impl LiveDisplay {
    pub fn start(bundle: Bundle) -> Result<Self> {
        let display_id = new_display_id();
        kernel::send(&CellMessage::Display {
            bundle,
            display_id: Some(display_id.clone()),
        })?;
        Ok(Self { display_id })
    }

    pub fn display_id(&self) -> &str {
        &self.display_id
    }

    pub fn update(&self, bundle: Bundle) -> Result<()> {
        kernel::send(&CellMessage::UpdateDisplay {
            bundle,
            display_id: self.display_id.clone(),
        })
        .map(drop)
    }
}

pub(crate) fn show_bundle(bundle: Bundle) {
    if !bundle.data.is_empty() {
        print_unless_sent(CellMessage::Display {
            bundle,
            display_id: None,
        });
    }
}

/// Sends a rendering to the kernel; where there is none, prints its text.
pub(crate) fn print_unless_sent(message: CellMessage) {
    if kernel::is_connected() {
        if let Err(error) = kernel::send(&message) {
            let _ = writeln!(std::io::stderr(), "{error}");
        }
        return;
    }
    if let CellMessage::Display { bundle, .. }
    | CellMessage::UpdateDisplay { bundle, .. }
    | CellMessage::Result { bundle } = message
    {
        let _ = writeln!(
            std::io::stdout(),
            "{}",
            bundle.get("text/plain").unwrap_or_default()
        );
    }
}

fn ask(prompt: &str, password: bool) -> Result<String> {
    if !kernel::is_connected() {
        return ask_terminal(prompt, password);
    }
    match kernel::send(&CellMessage::Input {
        prompt: prompt.to_owned(),
        password,
    })? {
        KernelMessage::Input(line) => Ok(line),
        KernelMessage::Accepted | KernelMessage::Widget(_) => Err(Error::new(
            FailureKind::Internal,
            "the kernel took a question without an answer",
        )),
        KernelMessage::Refused(reason) => Err(Error::new(
            FailureKind::Io,
            format!("no input for {prompt:?}: {reason}"),
        )),
    }
}

fn ask_terminal(prompt: &str, password: bool) -> Result<String> {
    if password {
        return Err(Error::new(
            FailureKind::Unsupported,
            "a password can only be asked for in a notebook",
        )
        .with_hint("read it from an environment variable instead"));
    }
    let io = |error: std::io::Error| {
        Error::new(FailureKind::Io, format!("no input for {prompt:?}: {error}"))
    };
    let mut out = std::io::stdout();
    write!(out, "{prompt}")
        .and_then(|()| out.flush())
        .map_err(io)?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(io)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// Unique over processes and restarts: displays of an earlier kernel may still be on the page.
fn new_display_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!(
        "warmcell-{:x}-{:x}-{number}",
        std::process::id(),
        now.as_nanos()
    )
}
