//! The C functions that the runner looks up in a compiled cell and calls around it. A runner and a
//! cell may be built by different compilers, so nothing but C types crosses here.

use std::ffi::c_void;

use super::{begin, end, fork_quietly, stdin};

/// Takes the report: the context it was given for, JSON, and its length in bytes.
pub type ReportFn = extern "C" fn(context: *mut c_void, json: *const u8, length: usize);

/// A cell begins on the calling thread.
// SAFETY: the name is ours alone; a second definition would be a second copy of this library in one
// cell, which the linker refuses.
#[unsafe(no_mangle)]
pub extern "C" fn warmcell_cell_begin() {
    begin();
}

/// The cell has ended. Flushes its output and calls `report` once, with JSON that is valid during
/// the call: `{"status": "ok" | "panic" | "error", "failure": …, "lost_variables": […]}`.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub extern "C" fn warmcell_cell_end(report: ReportFn, context: *mut c_void) {
    let json = end();
    report(context, json.as_ptr(), json.len());
}

/// Forks by `fork`, which says whether it has returned in the new process. `false` when a thread
/// holds an output, so that nothing was forked: it would be held in the fork for ever.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub extern "C" fn warmcell_fork(
    fork: extern "C" fn(context: *mut c_void) -> bool,
    context: *mut c_void,
) -> bool {
    fork_quietly(|| fork(context))
}

/// Reads standard input: the number of bytes, or -1 when there is nobody to type.
///
/// # Safety
/// `buffer` has room for `length` bytes.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn warmcell_read_stdin(buffer: *mut u8, length: usize) -> isize {
    if length == 0 {
        return 0;
    }
    // SAFETY: the caller's promise. `u8` has no invalid values, and the room is only written to.
    let buffer = unsafe { std::slice::from_raw_parts_mut(buffer, length) };
    stdin::read(buffer).map_or(-1, usize::cast_signed)
}
