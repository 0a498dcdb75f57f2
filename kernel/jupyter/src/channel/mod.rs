//! The channels a client talks to, one a file. The fifth, iopub, is [`crate::iopub`].

pub(crate) mod control;
pub(crate) mod heartbeat;
pub(crate) mod shell;
pub(crate) mod stdin;
