//! Where in the cell a panic came from that a crate raised: the innermost frame of the cell's own code, with
//! the others counted. The kernel compiles cells with the lines that this needs.

use std::{backtrace::Backtrace, panic::Location};

use super::CELL_FILES;

/// A place that a panic passed on its way.
pub(super) struct Traced {
    /// Line and column of the cell.
    pub location: (u32, u32),
    /// Where it was raised, and how far from here.
    pub raised: String,
}

/// Finds the cell in a backtrace.
pub(super) fn find_cell(trace: &Backtrace, raised: &Raised) -> Option<Traced> {
    let text = trace.to_string();
    let mut frames = 0;
    let mut is_counted = false;
    for line in text.lines().map(str::trim_start) {
        if let Some(place) = line.strip_prefix("at ") {
            let Some(location) = cell_place(place) else {
                continue;
            };
            // The cell's own frame was counted too.
            let between = frames - usize::from(is_counted);
            return Some(Traced {
                location,
                raised: raised.told(between),
            });
        }
        if let Some((_, name)) = line.split_once(": ") {
            is_counted = !is_machinery(name);
            frames += usize::from(is_counted);
        }
    }
    None
}

/// Where a panic was raised.
pub(super) struct Raised(String);

impl Raised {
    pub(super) fn at(location: &Location<'_>) -> Self {
        let (file, line) = (short_path(location.file()), location.line());
        Self(format!("raised at {file}:{line}"))
    }

    fn told(&self, frames: usize) -> String {
        match frames {
            0 => self.0.clone(),
            1 => format!("{}, … 1 frame further in", self.0),
            many => format!("{}, … {many} frames further in", self.0),
        }
    }
}

/// `/…/<anon>:7:13` → line 7, column 13.
fn cell_place(place: &str) -> Option<(u32, u32)> {
    let mut parts = place.rsplitn(3, ':');
    let (column, line, file) = (parts.next()?, parts.next()?, parts.next()?);
    let is_cell = CELL_FILES[1..]
        .iter()
        .any(|name| file.rsplit('/').next() == Some(name));
    is_cell.then_some((line.parse().ok()?, column.parse().ok()?))
}

/// Whether a frame only raises and reports panics.
fn is_machinery(name: &str) -> bool {
    let heads = [
        "std::backtrace",
        "std::panicking",
        "std::sys::backtrace",
        "core::panicking",
        "__rustc",
        "rust_begin_unwind",
        "warmcell::cell::panic_hook",
    ];
    heads.iter().any(|head| name.contains(head)) || name.contains("as core::ops::function::Fn")
}

/// From the crate's name on, or from `library/` for the standard library.
fn short_path(path: &str) -> &str {
    if let Some((_, rest)) = path.split_once("/registry/src/") {
        return rest.split_once('/').map_or(rest, |(_, rest)| rest);
    }
    path.find("/library/")
        .filter(|_| path.contains("rust"))
        .map_or(path, |at| &path[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_begin_with_the_crate() {
        let crates = "/root/.cargo/registry/src/index.crates.io-1949/ndarray-0.16.1/src/lib.rs";
        assert_eq!(short_path(crates), "ndarray-0.16.1/src/lib.rs");
        let library = "/rustc/59807616e1fa2540/library/core/src/str/mod.rs";
        assert_eq!(short_path(library), "library/core/src/str/mod.rs");
        assert_eq!(short_path("src/main.rs"), "src/main.rs");
    }

    #[test]
    fn the_cells_places_are_known() {
        assert_eq!(cell_place("/tmp/a b/<anon>:7:13"), Some((7, 13)));
        assert_eq!(cell_place("./<anon>:7:13"), Some((7, 13)));
        assert_eq!(cell_place("/crate/src/lib.rs:7:13"), None);
    }
}
