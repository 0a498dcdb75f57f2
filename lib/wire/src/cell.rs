//! Between a cell's process and its kernel: rich output, input, and how a cell ended. Plain output
//! is not here; it is read as bytes from the process's own standard output and error.

use serde::{Deserialize, Serialize};

use crate::{
    mime::Bundle,
    widget::{WidgetAnswer, WidgetCall},
};

/// What a cell's process sends. Each is answered by one [`KernelMessage`], which keeps rich output
/// in order with the plain output before and after it, and holds back a cell that floods.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CellMessage {
    /// Show a value.
    Display {
        /// The rendered value.
        bundle: Bundle,
        /// Name by which it can be updated.
        display_id: Option<String>,
    },
    /// Replace what was shown under a name.
    UpdateDisplay {
        /// The rendered value.
        bundle: Bundle,
        /// The name.
        display_id: String,
    },
    /// The value of the cell's last expression.
    Result {
        /// The rendered value.
        bundle: Bundle,
    },
    /// Clear the cell's outputs.
    ClearOutput {
        /// Wait for the next output before clearing.
        wait: bool,
    },
    /// Ask the user for a line.
    Input {
        /// What to ask.
        prompt: String,
        /// Do not show what is typed.
        password: bool,
    },
    /// About widgets.
    Widget(WidgetCall),
    /// Whether a front end can show widgets; answered by `Accepted` or `Refused`.
    HasWidgets,
    /// The cell failed: by a panic or by an error from `?`.
    Failed(CellFailure),
}

/// How a cell failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellFailure {
    /// Name of the error: `panic`, a failure's kind, or the error's type.
    pub ename: String,
    /// What it says.
    pub evalue: String,
    /// Where it happened in the cell, when known: line and column from 1.
    pub location: Option<(u32, u32)>,
    /// Where it came from, when that was not in the cell.
    #[serde(default)]
    pub raised: Option<String>,
    /// The next step.
    pub hint: Option<String>,
}

/// What a cell has left in a variable, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariableValue {
    /// The variable's name.
    pub name: String,
    /// Its `Debug` form, cut to some eighty letters; `None` when its type has none.
    pub value: Option<String>,
    /// How much it holds; `None` when that is not known.
    pub extent: Option<Extent>,
}

/// How much a value holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Extent {
    /// Elements of a collection.
    Items(u64),
    /// Bytes of a text, or of a value without what it points to.
    Bytes(u64),
}

/// What the kernel answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum KernelMessage {
    /// The message is under way.
    Accepted,
    /// What the user typed.
    Input(String),
    /// What was asked of a widget.
    Widget(WidgetAnswer),
    /// It cannot be done: no cell runs, or the front end takes no input.
    Refused(String),
}
