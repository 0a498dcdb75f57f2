//! Widgets for a notebook: `ipywidgets`' controls, under their names. A control shows as a cell's last
//! expression, its value is read at any time, also in a loop while the user moves it, and a function can
//! be run when it changes.
//!
//! ```no_run
//! use warmcell::prelude::*;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let model = AutoModelForCausalLM::from_pretrained("x").load()?;
//!
//! let temperature = widgets::FloatSlider::new(0.7).min(0.0).max(2.0).description("temperature");
//! interact(&temperature, move |t| {
//!     model.generate("Once upon a time").do_sample(true).temperature(t).max_new_tokens(30).run()
//! });
//! # Ok(())
//! # }
//! ```
//!
//! The state of a widget lies with the kernel: it outlives a crash of the cells' process, and a page that
//! is loaded again shows it. Without a kernel a widget is a value like another. A function that a widget
//! calls runs when no cell does; what it prints is shown where an [`Output`] takes it, which
//! [`interact`] brings along.

mod callbacks;
mod controls;
mod handle;
mod instead;
mod interact;
mod layout;

#[doc(hidden)]
pub use callbacks::run_callbacks;
pub use controls::{
    Button, Checkbox, Dropdown, FloatProgress, FloatSlider, Html, IntProgress, IntSlider, Text,
    Textarea,
};
pub use handle::Widget;
pub(crate) use handle::{are_shown, new_id, send};
pub use interact::{Controls, interact};
pub use layout::{HBox, Output, VBox};
