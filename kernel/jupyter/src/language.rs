//! What a language brings to a kernel, as two traits: [`Language`] runs cells one after the other
//! on a thread of its own, [`Control`] answers what can be asked at any time. Nothing here knows
//! sockets; positions are bytes, not the protocol's code points.

use wire::mime::Bundle;

use crate::comm::Comm;
use crate::publisher::Publisher;

/// Runs cells. Made and called on one thread, where blocking is fine.
pub trait Language {
    /// Prepares what the first cells will need. Called once, before the first cell and only when
    /// none waits: the user is still reading.
    fn warm_up(&mut self) {}

    /// Runs a cell; its output goes to `out`.
    fn execute(&mut self, cell: &Cell, out: &Publisher) -> Outcome;

    /// The value of one of the request's `user_expressions`, evaluated after the cell.
    fn evaluate(&mut self, expression: &str) -> Result<Bundle, CellError>;

    /// Sees to what came over comms, when [`Control::comm_msg`] has asked for it. What is published
    /// through `out` has the comm's message as its parent.
    fn attend(&mut self, out: &Publisher) {
        let _ = out;
    }
}

/// Answers what is asked while a cell may be running. Every method is called from any thread and
/// must return promptly: all but `complete`, `inspect`, `interrupt` and `shutdown` within some
/// 20 ms, since other immediate requests wait behind them.
pub trait Control: Send + Sync + 'static {
    /// What the kernel is.
    fn info(&self) -> KernelInfo;

    /// Whether `code` could be run as it is.
    fn is_complete(&self, code: &str) -> Completeness;

    /// What could stand at `cursor`, a byte offset on a character boundary of `code`. Called on one
    /// thread, which it may keep waiting; what is asked meanwhile is answered with nothing.
    fn complete(&self, code: &str, cursor: usize) -> Completions {
        let _ = code;
        Completions::none(cursor)
    }

    /// What is known about the thing at `cursor`, a byte offset on a character boundary of `code`;
    /// called as [`Self::complete`] is. `detail` is 0 or 1 (Shift-Tab once or twice).
    fn inspect(&self, code: &str, cursor: usize, detail: u8) -> Option<Bundle> {
        let _ = (code, cursor, detail);
        None
    }

    /// A cell is about to be given to [`Language::execute`]: an interrupt from now on is meant for it.
    fn cell_begins(&self) {}

    /// It has come back.
    fn cell_ended(&self) {}

    /// Asks the running cell to end. Also called when no cell runs.
    fn interrupt(&self);

    /// Asks the language to end for good, or to be started anew in another process. The execution
    /// thread gets two seconds afterwards to return from its cell and drop the language.
    fn shutdown(&self, restart: bool);

    /// A front end opened a comm. `false`, the default, refuses it: it is then closed at once.
    fn comm_open(&self, comm: &Comm, target: &str, out: &Publisher) -> bool {
        let _ = (comm, target, out);
        false
    }

    /// A front end asks which comms are open, of this target where one is named.
    fn comms_listed(&self, target: Option<&str>) {
        let _ = target;
    }

    /// A front end sent a message over an open comm. What is published through `out` has that
    /// message as its parent.
    fn comm_msg(&self, comm: &Comm, out: &Publisher) -> Afterwards {
        let _ = (comm, out);
        Afterwards::Nothing
    }

    /// A front end closed a comm.
    fn comm_close(&self, comm: &Comm, out: &Publisher) {
        let _ = (comm, out);
    }
}

/// What a message over a comm leaves to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afterwards {
    /// It is dealt with.
    Nothing,
    /// [`Language::attend`] is to be called once no cell runs.
    Attend,
}

/// A cell to run.
#[derive(Clone, Debug)]
pub struct Cell {
    /// The text of the cell.
    pub code: String,
    /// Its number, `In [count]`; from 1. A cell that is not stored shares the number of the next.
    pub count: u32,
    /// Whether nothing of it shall be shown. What is published is then dropped.
    pub silent: bool,
    /// Whether it is part of the history.
    pub store_history: bool,
    /// Whether the front end can be asked for input.
    pub allow_stdin: bool,
}

/// How a cell ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// As it should.
    Ok,
    /// With an error, which is published and is in the reply.
    Error(CellError),
}

/// An error of the user's code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellError {
    /// The name of the error: `panic`, `E0382`.
    pub ename: String,
    /// Its message.
    pub evalue: String,
    /// What is shown, line by line; ANSI colours allowed.
    pub traceback: Vec<String>,
}

/// What could be put at the cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completions {
    /// The candidates, best first.
    pub matches: Vec<Completion>,
    /// The byte at which the text starts that a candidate replaces.
    pub start: usize,
    /// The byte at which that text ends.
    pub end: usize,
}

impl Completions {
    /// Nothing that could stand at this byte.
    #[must_use]
    pub fn none(cursor: usize) -> Self {
        Self {
            matches: Vec::new(),
            start: cursor,
            end: cursor,
        }
    }
}

/// One candidate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    /// What is put in.
    pub text: String,
    /// What it is: `function`, `struct`, `keyword`; shown beside it by `JupyterLab`.
    pub kind: Option<String>,
    /// Its signature, shown beside it by `JupyterLab`.
    pub signature: Option<String>,
}

/// Whether code could be run as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// It could.
    Complete,
    /// More is needed; the next line starts with `indent`.
    Incomplete {
        /// White space for the next line.
        indent: String,
    },
    /// More would not help.
    Invalid,
    /// Not known.
    Unknown,
}

/// What the kernel tells about itself.
#[derive(Clone, Debug)]
pub struct KernelInfo {
    /// The kernel's name.
    pub implementation: String,
    /// The kernel's version.
    pub implementation_version: String,
    /// The language of its cells.
    pub language: LanguageInfo,
    /// Shown when a console starts.
    pub banner: String,
    /// Title and address of pages for the help menu.
    pub help_links: Vec<(String, String)>,
}

/// The language of the cells.
#[derive(Clone, Debug)]
pub struct LanguageInfo {
    /// Its name: `rust`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The MIME type of its sources: `text/rust`.
    pub mimetype: String,
    /// The extension of its files, with the dot: `.rs`.
    pub file_extension: String,
    /// The Pygments lexer, where it is not the name.
    pub pygments_lexer: Option<String>,
    /// The `CodeMirror` mode, where it is not the name.
    pub codemirror_mode: Option<String>,
}
