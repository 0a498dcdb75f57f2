//! What generated code calls around a cell: how it began, how it ended, what its last expression
//! shows. Not for users; the runner and the compiler step of the kernel agree with it.

mod flusher;
pub(crate) mod kernel;
mod mapped;
mod own;
mod panic_hook;
mod scope;
mod stdin;
mod trace;
pub(crate) mod unsafe_fork;
mod unsafe_hooks;
pub mod values;
pub mod variables;

use std::{
    any::Any,
    backtrace::Backtrace,
    fmt::Display,
    io::Write,
    panic::{AssertUnwindSafe, Location, catch_unwind},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::ThreadId,
};

use serde::Serialize;
use trace::Raised;
use variables::VariableStore;
use wire::{
    cell::{CellFailure, VariableValue},
    mime::Bundle,
};

pub use crate::measure::timeit;
use unsafe_fork::PerProcess;
pub use unsafe_hooks::{
    warmcell_cell_begin, warmcell_cell_end, warmcell_fork, warmcell_read_stdin,
};

/// In scope of every cell, for the call that shows its last expression.
pub mod display_scope {
    pub use super::scope::{ByRef, DebugDisplay};
    pub use super::values::scope::*;
}

/// How a cell ended, in the words the runner reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    #[default]
    Ok,
    Panic,
    Error,
}

/// What is reported of a cell when it has ended.
#[derive(Debug, Default, Serialize)]
struct Report {
    status: Status,
    failure: Option<CellFailure>,
    /// The file of the library whose code has panicked, where the failure has a place.
    #[serde(skip_serializing_if = "Option::is_none")]
    raised_in: Option<String>,
    lost_variables: Vec<String>,
    values: Vec<VariableValue>,
}

#[derive(Default)]
struct Cell {
    /// How the last panic came that no code of the cell raised, and where.
    trace: Option<(Backtrace, Raised)>,
    /// The thread the cell runs on, while one runs.
    thread: Option<ThreadId>,
    report: Report,
}

/// Where the user's code stands: in the crate that evcxr generates, or in what the compiler read from
/// its standard input.
const CELL_FILES: [&str; 2] = ["src/lib.rs", "<anon>"];

/// A fork has its own: a panic on another thread may hold this one while a snapshot is made.
static CELL: PerProcess<Mutex<Cell>> = PerProcess::new();

/// Whether no thread held an output when the last cell ended.
static OUTPUT_IS_FREE: AtomicBool = AtomicBool::new(true);

fn cell() -> MutexGuard<'static, Cell> {
    CELL.get().lock().unwrap_or_else(PoisonError::into_inner)
}

/// A cell starts on this thread.
fn begin() {
    panic_hook::install();
    *cell() = Cell {
        thread: Some(std::thread::current().id()),
        report: Report::default(),
        trace: None,
    };
    flusher::start();
}

/// The cell has ended: everything it printed is on its way, and this is how it ended.
fn end() -> Vec<u8> {
    OUTPUT_IS_FREE.store(flusher::finish(), Ordering::Relaxed);
    let mut cell = cell();
    cell.thread = None;
    if cell.report.status == Status::Ok {
        // A panic that the cell caught itself is no failure.
        cell.report.failure = None;
        cell.report.raised_in = None;
    }
    // A report is plain strings: serialising it cannot fail, and an empty one reads as unreadable.
    serde_json::to_vec(&std::mem::take(&mut cell.report)).unwrap_or_default()
}

/// Forks while this thread alone holds what a fork would inherit locked.
fn fork_quietly(fork: impl FnOnce() -> bool) -> bool {
    if !OUTPUT_IS_FREE.load(Ordering::Relaxed) {
        return false;
    }
    let _outputs = (std::io::stdout().lock(), std::io::stderr().lock());
    if fork() {
        unsafe_fork::silence_inherited();
    }
    true
}

/// The cell panicked; the panic hook has recorded with what.
pub fn panicked() {
    panicked_with(None);
}

/// The cell panicked with this payload, of which the hook may not have heard: it may be the user's own, and
/// what `resume_unwind` raises goes by any.
fn panicked_with(payload: Option<&(dyn Any + Send)>) {
    let said = payload.and_then(panic_hook::text);
    let mut cell = cell();
    cell.report.status = Status::Panic;
    let is_another = |failure: &CellFailure| said.is_some_and(|said| said != failure.evalue);
    if cell.report.failure.as_ref().is_none_or(is_another) {
        cell.trace = None;
        cell.report.raised_in = None;
        cell.report.failure = Some(panic(said.unwrap_or("the cell panicked"), None));
    }
    let trace = cell.trace.take();
    let traced = trace.and_then(|(trace, raised)| trace::find_cell(&trace, &raised));
    if let (Some(traced), Some(failure)) = (traced, &mut cell.report.failure) {
        failure.location = Some(traced.location);
        failure.raised = Some(traced.raised);
    }
}

/// A panic as it is told.
fn panic(message: &str, location: Option<(u32, u32)>) -> CellFailure {
    CellFailure {
        ename: "panic".to_owned(),
        evalue: message.to_owned(),
        location,
        raised: None,
        hint: None,
    }
}

/// A `?` returned an error from a cell that evcxr runs.
pub fn question_mark<E: Display>(error: &E) {
    returned(error, None);
}

fn returned<E: Display>(error: &E, place: Option<&Location<'_>>) {
    let place = place.filter(|place| CELL_FILES.contains(&place.file()));
    let location = place.map(|place| (place.line(), place.column()));
    let (text, failure) = crate::error::record(|| error.to_string());
    let failure = match failure {
        Some(failure) => CellFailure {
            ename: failure.kind.name().to_owned(),
            evalue: failure.message,
            location,
            raised: None,
            hint: failure.hint,
        },
        None => CellFailure {
            ename: short_type_name(std::any::type_name::<E>()),
            evalue: text,
            location,
            raised: None,
            hint: None,
        },
    };
    let mut cell = cell();
    cell.report.status = Status::Error;
    cell.report.raised_in = None;
    cell.report.failure = Some(failure);
}

/// What a `?` in a cell returns. Any error that can be shown becomes one, and is recorded on the way.
#[derive(Debug)]
pub struct CellError(());

impl<E: Display> From<E> for CellError {
    // What `?` calls says where that `?` stands.
    #[track_caller]
    fn from(error: E) -> Self {
        returned(&error, Some(Location::caller()));
        Self(())
    }
}

/// Runs a cell's statements, which may panic.
pub fn run<F>(store: &mut VariableStore, statements: F)
where
    F: FnOnce(&mut VariableStore) -> Result<(), CellError>,
{
    let mut statements = Some(statements);
    // Everything but this call is compiled once, here, and not in every cell.
    run_caught(&mut || match statements.take() {
        Some(statements) => statements(store),
        None => Ok(()),
    });
}

fn run_caught(statements: &mut dyn FnMut() -> Result<(), CellError>) {
    // An error has been recorded where it was converted.
    if let Err(payload) = catch_unwind(AssertUnwindSafe(statements)) {
        panicked_with(Some(&*payload));
    }
}

/// A variable's type was redefined, so that its value could not be read any more.
pub fn variable_lost(name: impl Display) {
    cell().report.lost_variables.push(name.to_string());
}

/// A value was put into a variable.
fn variable_put(value: VariableValue) {
    cell().report.values.push(value);
}

/// What panicked was not the cell.
fn forget_panic() {
    cell().report.failure = None;
}

/// A value panicked as its variable was let go: told, and not the cell's failure.
fn panicked_at_its_end(name: &str) {
    let failure = cell().report.failure.take();
    let message = failure.map_or_else(String::new, |failure| failure.evalue);
    let line = format!("the variable `{name}` panicked as it was let go: {message}\n");
    // Without standard error there is nobody to tell.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Shows a rendering; what the macro `display!` calls.
pub fn show_bundle(bundle: Bundle) {
    crate::show::show_bundle(bundle);
}

/// `alloc::boxed::Box<dyn core::error::Error>` → `Box<dyn Error>`: paths go, structure stays.
fn short_type_name(name: &str) -> String {
    let mut short = String::new();
    let mut segment = String::new();
    for character in name.chars() {
        match character {
            ':' => segment.clear(),
            _ if character.is_alphanumeric() || character == '_' => segment.push(character),
            _ => {
                short.push_str(&std::mem::take(&mut segment));
                short.push(character);
            }
        }
    }
    short.push_str(&segment);
    short
}

fn flush() {
    // A pipe that nobody reads any more is no reason to fail a cell.
    let _ = std::io::stdout().flush();
    let _ = std::io::stderr().flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_names_lose_their_paths() {
        assert_eq!(
            short_type_name("std::num::error::ParseIntError"),
            "ParseIntError"
        );
        assert_eq!(
            short_type_name("alloc::boxed::Box<dyn core::error::Error>"),
            "Box<dyn Error>"
        );
        assert_eq!(short_type_name("&str"), "&str");
    }
}
