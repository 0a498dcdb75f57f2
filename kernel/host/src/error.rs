//! Why a host could not be served or reached.

use std::{io, path::PathBuf};

use wire::Failure;

/// Result with [`HostError`].
pub type Result<T> = std::result::Result<T, HostError>;

/// Why a host could not be served or reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// Another host of this user listens, or is about to.
    #[error("a model host already serves `{0}`")]
    AlreadyRunning(PathBuf),
    /// The folder is open to others, or is not the user's own.
    #[error("the folder `{folder}` cannot hold the model host's socket: {reason}")]
    UnsafeFolder {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A call of the system failed.
    #[error("cannot {action} `{path}`: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The host hung up before it answered.
    #[error("the model host ended while a request ran")]
    Ended,
    /// The host answered with a failure.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The host is of another version.
    #[error("the model host speaks protocol {theirs}, this program {ours}")]
    Protocol {
        /// This program's version of the protocol.
        ours: u32,
        /// The host's.
        theirs: u32,
    },
}

impl HostError {
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
