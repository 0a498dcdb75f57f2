//! The notebook's widgets. Their state is kept here, between the cells that make them and the front ends
//! that show them: a cell reads what the user last chose, a page that was reloaded finds all as it was.
//!
//! [`registry`] holds the widgets and speaks to the cells, [`front_end`] takes what the front ends say,
//! [`outputs`] is what an output widget shows, [`saved`] what a saved notebook has beside widgets, and
//! [`texts`] knows the texts that are being written.

mod front_end;
mod outputs;
mod registry;
mod saved;
mod texts;

pub use registry::Widgets;
