//! How values look in a notebook: each renders once into a bundle of text and HTML. No I/O happens
//! here; what shows a bundle, and where, is decided by the callers.
//!
//! The HTML keeps to what survives a notebook's sanitiser: inline styles, translucent backgrounds,
//! no text colours, no script. Everything reads without its styles too.

mod array;
mod base64;
mod batch;
mod cards;
mod chart;
mod chat;
mod compare;
mod compare_answers;
mod failure;
mod generation;
pub mod html;
pub mod limited;
mod live;
mod logprobs;
mod markdown;
mod media;
mod model;
mod pending;
mod pipelines;
mod progress;
mod quantization;
mod show;
mod status;
mod table;
mod text2text;
mod text_generation;
mod tokens;
pub mod units;
mod vectors;
pub mod widgets;

use wire::mime::Bundle;

pub use batch::EncodedBatch;
pub use chart::Chart;
pub use compare::{TemplateComparison, TokenizerComparison};
pub use compare_answers::{ComparedAnswer, GenerationComparison};
pub use generation::Sequences;
pub use live::{LiveText, end_unfinished};
pub use logprobs::probability_plot;
pub use markdown::{block as markdown_block, markdown};
pub use media::{Audio, Html, Image, Json, Markdown, MediaError, Vega};
pub use pending::Pending;
pub use pipelines::PipelineResults;
pub use progress::{LoadProgress, Loaded, LoadedOnTheWay, Pace, activity};
pub use quantization::weight_histogram;
pub use show::Show;
pub use status::{Freed, MODELS_LEGEND, model_bytes, resident_line, summary as host_summary};
pub use table::Table;
pub use text_generation::{generated_answer, generated_text};

/// A value that has a rich rendering in a notebook.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no rich display",
    note = "implement `RichDisplay` for it, or show its `Debug` form with `display!(value)`"
)]
pub trait RichDisplay {
    /// The rendering: `text/plain` always, `text/html` where it helps, and the native type where
    /// there is one. An empty bundle shows nothing.
    fn bundle(&self) -> Bundle;
}

impl<T: RichDisplay + ?Sized> RichDisplay for &T {
    fn bundle(&self) -> Bundle {
        (**self).bundle()
    }
}

impl<T: RichDisplay + ?Sized> RichDisplay for Box<T> {
    fn bundle(&self) -> Bundle {
        (**self).bundle()
    }
}

impl RichDisplay for Bundle {
    fn bundle(&self) -> Bundle {
        self.clone()
    }
}

/// Nothing: what a cell that ends in a statement has as its value.
impl RichDisplay for () {
    fn bundle(&self) -> Bundle {
        Bundle::default()
    }
}

impl<T: RichDisplay> RichDisplay for Option<T> {
    fn bundle(&self) -> Bundle {
        match self {
            Some(value) => value.bundle(),
            None => Bundle::text("None"),
        }
    }
}

/// A value shows as itself, an error as its message.
impl<T: RichDisplay, E: std::fmt::Display> RichDisplay for Result<T, E> {
    fn bundle(&self) -> Bundle {
        match self {
            Ok(value) => value.bundle(),
            Err(error) => Bundle::text(format!("Err: {error}")),
        }
    }
}

fn rendered(text: String, html: String) -> Bundle {
    Bundle::text(text).with("text/html", html)
}
