//! Loading a compiled cell and calling it, by the convention that evcxr's generated code has:
//! `extern "C" fn(store) -> store`, the store being the cells' own map of variables.

use std::{
    ffi::{OsStr, c_void},
    io,
    mem::ManuallyDrop,
};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use super::{
    unsafe_fork::{self, Side},
    unsafe_stdin::{self, ReadHook},
};

type CellFunction = unsafe extern "C" fn(*mut c_void) -> *mut c_void;
type BeginHook = unsafe extern "C" fn();
type Report = extern "C" fn(*mut c_void, *const u8, usize);
type EndHook = unsafe extern "C" fn(Report, *mut c_void);
type Fork = extern "C" fn(*mut c_void) -> bool;
type ForkHook = unsafe extern "C" fn(Fork, *mut c_void) -> bool;

/// The cells' variables, opaque here and created by the first cell that has one, and the library that
/// the cells share.
pub struct VariableStore {
    variables: *mut c_void,
    fork: Option<ForkHook>,
}

impl VariableStore {
    pub fn new() -> Self {
        Self {
            variables: std::ptr::null_mut(),
            fork: None,
        }
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
        // SAFETY: this is the signature that generated code has.
        let cell = unsafe { *library.get::<CellFunction>(function.as_bytes())? };
        // SAFETY: these are the signatures that `warmcell::cell` exports.
        let (begin, end, fork, read) = unsafe {
            (
                hook::<BeginHook>(&library, b"warmcell_cell_begin"),
                hook::<EndHook>(&library, b"warmcell_cell_end"),
                hook::<ForkHook>(&library, b"warmcell_fork"),
                hook::<ReadHook>(&library, b"warmcell_read_stdin"),
            )
        };
        self.fork = fork.or(self.fork);
        if let Some(read) = read {
            unsafe_stdin::redirect(read);
        }
        if let Some(begin) = begin {
            // SAFETY: takes nothing and may be called at any time on this thread.
            unsafe { begin() };
        }
        // SAFETY: the store came from an earlier cell of this process or is null, as the generated
        // code expects; it is passed by value and not kept elsewhere.
        self.variables = unsafe { cell(self.variables) };
        let Some(end) = end else { return Ok(None) };
        let mut report = Vec::new();
        // SAFETY: `collect` gets back the pointer to `report`, which outlives the call.
        unsafe { end(collect, (&raw mut report).cast()) };
        Ok(Some(report))
    }

    /// Forks, with what the library holds in order in the new process.
    ///
    /// # Errors
    /// The system refuses, or a thread holds an output.
    pub fn fork(&self) -> io::Result<Side> {
        let Some(hook) = self.fork else {
            return unsafe_fork::fork();
        };
        let mut forked: Option<io::Result<Side>> = None;
        // SAFETY: `fork_into` gets back the pointer to `forked`, which outlives the call.
        unsafe { hook(fork_into, (&raw mut forked).cast()) };
        forked.unwrap_or_else(|| Err(io::Error::other("a thread holds standard output")))
    }
}

/// A function of the library for cells, in the type that its users know it by.
///
/// # Safety
/// `T` is the function's type.
unsafe fn hook<T: Copy>(library: &Library, name: &[u8]) -> Option<T> {
    // SAFETY: the caller's promise.
    unsafe { library.get::<T>(name) }.ok().map(|hook| *hook)
}

extern "C" fn fork_into(context: *mut c_void) -> bool {
    let side = unsafe_fork::fork();
    let is_new = matches!(side, Ok(Side::Child));
    // SAFETY: `context` is the `forked` of `VariableStore::fork`.
    unsafe { *context.cast::<Option<io::Result<Side>>>() = Some(side) };
    is_new
}

extern "C" fn collect(context: *mut c_void, json: *const u8, length: usize) {
    // SAFETY: `context` is the `report` of `run`, `json` points to `length` bytes for this call.
    unsafe {
        let report = &mut *context.cast::<Vec<u8>>();
        report.extend_from_slice(std::slice::from_raw_parts(json, length));
    }
}
