//! The protocol over real sockets, with a toy language and a fake front end.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cells;
mod channels;
mod echo;
mod front_end;
mod hostile;
mod interrupts;
mod output;
