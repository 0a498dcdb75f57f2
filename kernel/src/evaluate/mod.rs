//! Evaluating cells: evcxr compiles them and keeps the record of variables, our own runner runs
//! them, and what they show reaches the front end as it is written.

mod analyst;
pub mod busy;
pub mod compile;
mod completeness;
mod content;
mod context;
pub mod control;
mod direct;
mod displays;
mod documentation;
pub mod errors;
mod evaluation;
mod inspection;
pub mod interrupt;
mod kernel;
mod language;
mod last_words;
mod members;
mod outlet;
mod output;
mod rewrite;
pub mod session;
mod sink;
mod suggestions;
mod syntax;
mod template;
mod unsafe_folder;
mod versions;

pub use direct::prelude_names;
pub use kernel::{build_template, run, template_is_built};
pub use sink::Stream;
