//! Evaluating cells: evcxr compiles them and keeps the record of variables, our own runner runs
//! them, and what they show reaches the front end as it is written.

pub mod compile;
mod completeness;
mod content;
mod context;
pub mod control;
mod displays;
mod errors;
mod interrupt;
mod kernel;
mod language;
mod output;
mod rewrite;
pub mod session;
mod sink;
mod template;

pub use kernel::{build_template, run, template_is_built};
