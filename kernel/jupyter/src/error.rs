//! Why a kernel could not start. Once it runs, nothing that a client sends ends it.

use std::path::PathBuf;

/// A failure to start the kernel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection file is missing or unreadable.
    #[error("cannot read the connection file {}: {source}", path.display())]
    ConnectionFile {
        /// The file that was asked for.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The connection file is not one.
    #[error("cannot understand the connection file {}: {source}", path.display())]
    ConnectionFormat {
        /// The file that was asked for.
        path: PathBuf,
        /// Where its JSON is not as the protocol says.
        source: serde_json::Error,
    },
    /// The messages would have to be signed in a way that is not known here.
    #[error("cannot sign messages with `{0}`: expected `hmac-sha256`")]
    SignatureScheme(String),
    /// Other users can read the key.
    #[error(
        "refused the connection file {path}: other users of this machine can read the key in it, and \
         whoever has it can run code\nhint: chmod 600 {path}; JUPYTER_ALLOW_INSECURE_WRITES=1 \
         accepts it where the file system knows no owners",
        path = .0.display()
    )]
    OpenConnectionFile(PathBuf),
    /// Messages could not be told from those of others.
    #[error(
        "refused the connection file {}: it has no key, and any user of this machine could run code \
         by its ports\nhint: set a key (Session.key), or use the ipc transport",
        .0.display()
    )]
    NoKey(PathBuf),
    /// The address can be reached from other machines.
    #[error(
        "refused to listen on {0}: whoever reaches this address can try to run code\nhint: use an \
         address of this machine only (127.0.0.1), or the ipc transport"
    )]
    RemoteAddress(String),
    /// A socket could not be opened.
    #[error("cannot open the {channel} socket at {endpoint}: {message}")]
    Bind {
        /// The channel's name in the protocol: `shell`, `iopub`, …
        channel: &'static str,
        /// The endpoint as in the connection file.
        endpoint: String,
        /// What the system said.
        message: String,
    },
    /// The asynchronous runtime or a thread could not be started.
    #[error("cannot start the kernel's threads: {0}")]
    Threads(#[source] std::io::Error),
}
