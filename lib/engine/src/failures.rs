//! How the errors of libraries become the failures a user reads. Which failure a condition is, is
//! decided where it is found; here are only the conversions that many places share.

use std::{any::Any, path::Path};

use wire::{Failure, FailureKind};

/// A file that could not be read.
pub fn io(path: &Path, error: &std::io::Error) -> Failure {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => FailureKind::NotFound,
        std::io::ErrorKind::UnexpectedEof => FailureKind::Corrupt,
        _ => FailureKind::Io,
    };
    Failure::new(kind, format!("cannot read `{}`: {error}", path.display()))
}

/// A file or folder that could not be written.
pub fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    let failure = Failure::new(
        FailureKind::Io,
        format!("cannot write `{}`: {error}", path.display()),
    );
    failure.hint(match error.kind() {
        std::io::ErrorKind::StorageFull => "make room on the disk, or choose another folder",
        _ => "choose a folder that you may write to",
    })
}

/// A file that is not what it says.
pub fn corrupt(path: &Path, what: impl std::fmt::Display) -> Failure {
    Failure::new(
        FailureKind::Corrupt,
        format!("`{}` is damaged: {what}", path.display()),
    )
    .hint("delete the file and fetch it again")
}

/// What a panic said.
pub fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}

/// A tensor operation that failed on shapes this program chose.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that `map_err` takes"
)]
pub fn internal(error: candle_core::Error) -> Failure {
    Failure::new(
        FailureKind::Internal,
        format!("tensor operation failed: {error}"),
    )
}

/// An argument that cannot be right.
pub fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::InvalidArgument, message)
}

/// Something that this program does not do.
pub fn unsupported(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Unsupported, message)
}
