//! The one error of this crate: what failed, on which value, and the next step.

use std::{cell::RefCell, fmt};

use wire::{Failure, FailureKind};

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a call of this library fails with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Failure);

impl Error {
    /// What sort of failure it is.
    pub fn kind(&self) -> FailureKind {
        self.0.kind
    }

    /// What failed and on which value.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The next step, when there is one.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    pub(crate) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self(Failure::new(kind, message))
    }

    #[must_use]
    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self(self.0.hint(hint))
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        RECORDED.with_borrow_mut(|recorded| {
            if let Recording::On(last) = recorded {
                *last = Some(self.0.clone());
            }
        });
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for Error {}

impl ::display::RichDisplay for Error {
    fn bundle(&self) -> wire::mime::Bundle {
        self.0.bundle()
    }
}

/// Whether errors that write themselves on this thread are kept.
enum Recording {
    Off,
    /// Kept: the last one.
    On(Option<Failure>),
}

thread_local! {
    static RECORDED: RefCell<Recording> = const { RefCell::new(Recording::Off) };
}

/// Writes an error of any type, and gives the failure behind it if it is an [`Error`], also in a
/// box. Its type cannot tell: what a `?` returns may borrow, and then is no `Any`.
pub(crate) fn record(write: impl FnOnce() -> String) -> (String, Option<Failure>) {
    RECORDED.set(Recording::On(None));
    let text = write();
    match RECORDED.replace(Recording::Off) {
        Recording::On(Some(failure)) if failure.to_string() == text => (text, Some(failure)),
        _ => (text, None),
    }
}
