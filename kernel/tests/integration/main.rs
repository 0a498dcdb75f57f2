//! The parts of the binary that can be tried without a front end.

mod deaths;
mod runner;
mod supervisor;
