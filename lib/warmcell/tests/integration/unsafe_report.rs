//! Calls the C hooks around a cell as the runner does.

use std::{ffi::c_void, sync::Mutex};

use serde_json::Value;
use warmcell::cell::{warmcell_cell_begin, warmcell_cell_end};

/// There is one cell a process.
static CELL: Mutex<()> = Mutex::new(());

/// Runs a cell between the hooks and gives its report.
pub fn run_cell(cell: impl FnOnce()) -> Value {
    let _one = CELL
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    warmcell_cell_begin();
    cell();
    let mut json: Vec<u8> = Vec::new();
    warmcell_cell_end(collect, (&raw mut json).cast());
    serde_json::from_slice(&json).expect("a report is JSON")
}

extern "C" fn collect(context: *mut c_void, json: *const u8, length: usize) {
    // SAFETY: `context` is the vector of `run_cell`, which lives; `json` is valid for `length` bytes.
    unsafe {
        (*context.cast::<Vec<u8>>()).extend_from_slice(std::slice::from_raw_parts(json, length));
    };
}
