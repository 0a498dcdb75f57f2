//! The messages between a cell, the kernel and the model host: plain serde types and the
//! framing they travel in. No I/O happens here; who opens a socket and who reads it is decided by
//! the callers, so that both ends, and the library's in-process engine, share one vocabulary.

pub mod cell;
pub mod failure;
pub mod frame;
pub mod generate;
pub mod host;
pub mod mime;
pub mod model;
pub mod place;
pub mod text;

pub use failure::{Failure, FailureKind};

/// Version of the protocol between client and model host. A host of another version is replaced.
pub const PROTOCOL_VERSION: u32 = 1;

/// The cell's environment variable with the path of the kernel's socket for displays and input.
pub const KERNEL_SOCKET_VAR: &str = "WARMCELL_KERNEL_SOCKET";

/// The environment variable with the path of the model host's socket.
pub const HOST_SOCKET_VAR: &str = "WARMCELL_HOST_SOCKET";

/// The environment variable with the path of the `warmcell` binary that a client starts as host.
pub const BINARY_VAR: &str = "WARMCELL_BIN";

/// The environment variable that names the kernel a cell belongs to, by which its requests can be
/// cancelled together.
pub const SESSION_VAR: &str = "WARMCELL_SESSION";
