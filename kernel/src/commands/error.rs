//! How a command fails: in three parts, as everything that a user reads.

use jupyter::CellError;
use wire::{Failure, FailureKind, cell::CellFailure};

use super::Command;
use crate::evaluate::errors;

/// A failure of this name, with the next step.
pub fn failed(ename: &str, evalue: impl Into<String>, hint: impl Into<String>) -> CellError {
    shown(ename, evalue.into(), Some(hint.into()))
}

/// Arguments that cannot be right.
pub fn usage(command: &Command, complaint: impl std::fmt::Display) -> CellError {
    failed(
        "UsageError",
        format!("`%{}`: {complaint}", command.name),
        format!("{} · `%{}?` says more", command.usage(), command.name),
    )
}

/// A failure of the model host or of a file.
pub fn from_failure(failure: Failure) -> CellError {
    shown(failure.kind.name(), failure.message, failure.hint)
}

/// The user pressed stop.
pub fn interrupted(what: &str) -> CellError {
    shown(
        FailureKind::Interrupted.name(),
        format!("{what} was interrupted"),
        None,
    )
}

fn shown(ename: &str, evalue: String, hint: Option<String>) -> CellError {
    let failure = CellFailure {
        ename: ename.to_owned(),
        evalue,
        location: None,
        raised: None,
        hint,
    };
    errors::from_failure("", 0, "", &failure)
}
