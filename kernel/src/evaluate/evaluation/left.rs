//! Failures in functions that earlier cells have left, such as those of widgets and in boxes: the place is one of
//! the cell that the function is from.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use jupyter::CellError;
use wire::cell::CellFailure;

use super::{
    super::{
        direct::{Generated, Ready},
        errors,
    },
    Evaluation, This,
};

/// A cell that was loaded, as its places are found.
pub(super) struct Loaded {
    code: String,
    count: u32,
    source: Arc<Generated>,
}

impl Evaluation {
    /// Takes note of a cell before it runs: it may leave functions, also when it fails.
    pub(super) fn note_loaded(&mut self, library: &Path, ready: &Ready, this: &This<'_>) {
        let loaded = Loaded {
            code: this.code.to_owned(),
            count: this.count,
            source: Arc::clone(&ready.source),
        };
        self.loaded.insert(real(library), loaded);
    }

    /// The failure of what was run, which a library may have raised that was loaded before.
    pub(super) fn failure(
        &self,
        ready: &Ready,
        this: &This<'_>,
        raised_in: Option<&str>,
        failure: &CellFailure,
    ) -> CellError {
        let own = ready.library.as_deref().map(real);
        let other = raised_in.map(PathBuf::from).filter(|_| own.is_some());
        let Some(other) = other.filter(|library| own.as_ref() != Some(library)) else {
            return errors::from_run(this.code, this.count, &ready.source, failure);
        };
        if let Some(from) = self.loaded.get(&other) {
            return errors::from_run(&from.code, from.count, &from.source, failure);
        }
        // A place in a source that nobody has any more would be taken for one of this.
        let unplaced = CellFailure {
            location: None,
            ..failure.clone()
        };
        errors::from_run(this.code, this.count, &ready.source, &unplaced)
    }
}

/// As the system names it, whatever links lead there.
fn real(library: &Path) -> PathBuf {
    fs::canonicalize(library).unwrap_or_else(|_| library.to_owned())
}
