//! What commands ask of the notebook of Rust, and of the analysis beside it.

use std::{path::PathBuf, time::Duration};

use jupyter::{CellError, Completions, Language};
use wire::{cell::Extent, mime::Bundle};

/// Rust cells, and what is known of the notebook's state.
pub trait Notebook: Language + Send {
    /// The variables that cells have left, by name.
    fn variables(&self) -> Vec<Variable>;

    /// Names of functions, types and constants that cells have defined.
    fn items(&self) -> Vec<String>;

    /// The crates that `:dep` added: name and what stands behind it in the manifest.
    fn dependencies(&mut self) -> Vec<(String, String)>;

    /// Forgets variables, items and dependencies.
    ///
    /// # Errors
    /// The process of the cells cannot be started again.
    fn reset(&mut self) -> Result<(), CellError>;

    /// Whether the analysis behind `?name` and completion is up.
    fn is_analysed(&self) -> bool;

    /// The folder in which the cells are, which they may have changed; `None` when that cannot be said.
    fn folder(&mut self) -> Option<PathBuf>;

    /// How long the last cell took; `None` when it did not run to its end.
    fn timing(&self) -> Option<Timing>;
}

/// A variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its type, as Rust writes it.
    pub type_name: String,
    /// Its value in some eighty letters, where its type has a `Debug` form.
    pub value: Option<String>,
    /// How much it holds, where that is known.
    pub extent: Option<Extent>,
}

/// Where a cell's time went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Analysing and compiling.
    pub compile: Duration,
    /// Running what was compiled.
    pub run: Duration,
}

/// What is known of Rust code that has not run. Asked on any thread, also while a cell runs.
pub trait Analysis: Send + Sync {
    /// What could stand at the cursor. Nothing, when the analysis is busy with something else.
    fn complete(&self, code: &str, cursor: usize) -> Completions;

    /// What is known about the thing at the cursor, as far as it is found out in so long.
    fn inspect(&self, code: &str, cursor: usize, patience: Patience) -> Option<Bundle>;
}

/// How long an answer of the analysis is waited for, which may compile a crate for minutes.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Until it has begun with the question.
    pub begin: Duration,
    /// From there on.
    pub answer: Duration,
}

impl Patience {
    /// Of somebody who types on. What has begun may read the standard library once.
    pub const TYPING: Self = Self {
        begin: Duration::from_millis(250),
        answer: Duration::from_secs(3),
    };
    /// Of somebody who has an answer already.
    pub const SHORT: Self = Self {
        begin: Duration::from_millis(100),
        answer: Duration::from_millis(200),
    };
}
