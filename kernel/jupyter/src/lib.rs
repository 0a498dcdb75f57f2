//! The kernel side of the Jupyter messaging protocol, for any language: sockets, signatures, the
//! order of messages, history, input, comms, interrupt and shutdown. A language implements
//! [`Language`] and [`Control`] and calls [`run`]; what a cell means is left to it.
//!
//! Sockets are `zeromq`'s and signatures `jupyter-zmq-client`'s, with one exception: `xpub.rs` is a
//! publishing socket of our own, for reasons given there.

mod assistance;
mod channel;
mod comm;
mod connection;
mod error;
mod execution;
mod frames;
mod glob;
mod history;
mod iopub;
mod kernel;
mod language;
mod lifetime;
mod message;
mod publisher;
mod queue;
mod session;
mod text;
mod xpub;
mod zmtp;

pub use comm::Comm;
pub use error::Error;
pub use kernel::{ExitReason, Settings, run};
pub use language::{
    Afterwards, Cell, CellError, Completeness, Completion, Completions, Control, KernelInfo,
    Language, LanguageInfo, Outcome,
};
pub use publisher::{InputError, Publisher, Stream};

/// The version of the messaging protocol that this crate speaks. 5.4 brought `iopub_welcome`.
pub const PROTOCOL_VERSION: &str = "5.4";
