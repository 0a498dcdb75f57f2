//! Loading a compiled cell and calling it, by the convention that evcxr's generated code has:
//! `extern "C" fn(store) -> store`, the store being the cells' own map of variables.

use std::{
    ffi::{OsStr, c_void},
    mem::ManuallyDrop,
};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

type CellFunction = unsafe extern "C" fn(*mut c_void) -> *mut c_void;
type BeginHook = unsafe extern "C" fn();
type Report = extern "C" fn(*mut c_void, *const u8, usize);
type EndHook = unsafe extern "C" fn(Report, *mut c_void);

/// The cells' variables: opaque here, created by the first cell that has one.
pub struct VariableStore(*mut c_void);

impl VariableStore {
    pub fn new() -> Self {
        Self(std::ptr::null_mut())
    }

    /// Runs a cell to its end, and gives what the library's end hook reports of it as JSON; `None`
    /// for a cell that does not link the library.
    ///
    /// # Errors
    /// The library cannot be loaded or lacks the function.
    pub fn run(
        &mut self,
        library: &str,
        function: &str,
    ) -> Result<Option<Vec<u8>>, libloading::Error> {
        // SAFETY: the library is a cell that rustc has just built for this process. It is never
        // unloaded: variables hold pointers to its code, and its thread-local destructors run late.
        let library = unsafe { Library::open(Some(OsStr::new(library)), RTLD_NOW | RTLD_LOCAL) }?;
        let library = ManuallyDrop::new(library);
        // SAFETY: these are the signatures that evcxr's generated code and `warmcell::cell` export.
        let (cell, begin, end) = unsafe {
            (
                *library.get::<CellFunction>(function.as_bytes())?,
                library
                    .get::<BeginHook>(b"warmcell_cell_begin")
                    .ok()
                    .map(|hook| *hook),
                library
                    .get::<EndHook>(b"warmcell_cell_end")
                    .ok()
                    .map(|hook| *hook),
            )
        };
        if let Some(begin) = begin {
            // SAFETY: takes nothing and may be called at any time on this thread.
            unsafe { begin() };
        }
        // SAFETY: the store came from an earlier cell of this process or is null, as the generated
        // code expects; it is passed by value and not kept elsewhere.
        self.0 = unsafe { cell(self.0) };
        let Some(end) = end else { return Ok(None) };
        let mut report = Vec::new();
        // SAFETY: `collect` gets back the pointer to `report`, which outlives the call.
        unsafe { end(collect, (&raw mut report).cast()) };
        Ok(Some(report))
    }
}

extern "C" fn collect(context: *mut c_void, json: *const u8, length: usize) {
    // SAFETY: `context` is the `report` of `run`, `json` points to `length` bytes for this call.
    unsafe {
        let report = &mut *context.cast::<Vec<u8>>();
        report.extend_from_slice(std::slice::from_raw_parts(json, length));
    }
}
