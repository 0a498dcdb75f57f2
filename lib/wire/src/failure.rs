//! What went wrong, in the three parts a user reads: what failed, on which value, and the next
//! step. One type for the engine, the host and the library, so that nothing is lost on the way to
//! the cell.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A failure as it is told to the user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What sort of failure it is; the name of the error in a notebook.
    pub kind: FailureKind,
    /// What failed and on which value: "cannot load `x/y`: no such repository".
    pub message: String,
    /// The next step, without the word "hint".
    pub hint: Option<String>,
}

/// The sorts of failure that callers tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FailureKind {
    /// An argument or a combination of arguments that cannot be right.
    InvalidArgument,
    /// A repository, revision or file that does not exist.
    NotFound,
    /// A repository whose licence has to be accepted first.
    Gated,
    /// A token that is missing, wrong or expired.
    Unauthorized,
    /// The hub was not reached, or must not be used, and nothing is cached.
    Offline,
    /// A file that is not what it says: cut short, wrong hash, wrong magic.
    Corrupt,
    /// A model, format or option that is not supported.
    Unsupported,
    /// Not enough memory on a device.
    OutOfMemory,
    /// A device that was asked for and is not there.
    Device,
    /// A chat template that does not parse, or that refused its input.
    Template,
    /// The user interrupted the request.
    Interrupted,
    /// The model host ended, or could not be started or reached.
    Host,
    /// Reading or writing a file failed.
    Io,
    /// A fault of this program.
    Internal,
}

impl FailureKind {
    /// The name that an `error` reply carries as `ename`. An interrupt is named as in Python, which
    /// front ends and tools know.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "InvalidArgument",
            Self::NotFound => "NotFound",
            Self::Gated => "GatedRepository",
            Self::Unauthorized => "Unauthorized",
            Self::Offline => "Offline",
            Self::Corrupt => "CorruptFile",
            Self::Unsupported => "Unsupported",
            Self::OutOfMemory => "OutOfMemory",
            Self::Device => "DeviceError",
            Self::Template => "TemplateError",
            Self::Interrupted => "KeyboardInterrupt",
            Self::Host => "HostError",
            Self::Io => "IoError",
            Self::Internal => "InternalError",
        }
    }
}

impl Failure {
    /// A failure without a hint.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
        }
    }

    /// Adds the next step.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The failure that an interrupted request ends in.
    pub fn interrupted() -> Self {
        Self::new(FailureKind::Interrupted, "interrupted")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}
