//! What commands ask of the notebook of Rust, and the names it knows.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jupyter::{CellError, Language};

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
}

/// Where a cell's time went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Analysing and compiling.
    pub compile: Duration,
    /// Running what was compiled.
    pub run: Duration,
}

/// The names of the notebook's variables and items, for whoever reads a cell: also while another runs.
#[derive(Clone, Default)]
pub struct Names(Arc<Mutex<HashSet<String>>>);

impl Names {
    /// Whether the notebook has defined this name.
    pub fn contains(&self, name: &str) -> bool {
        self.lock().contains(name)
    }

    /// Takes over what is defined now.
    pub fn update(&self, notebook: &dyn Notebook) {
        let variables = notebook
            .variables()
            .into_iter()
            .map(|variable| variable.name);
        *self.lock() = variables.chain(notebook.items()).collect();
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
