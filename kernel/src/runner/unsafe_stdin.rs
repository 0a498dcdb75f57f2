//! Standard input of a cell. Rust's standard library, which cells load dynamically, reads through the
//! C function `read`; a program's own definition of it goes before the C library's. This one sends
//! what is read from standard input to the library for cells, which asks the front end, and does
//! what the C library's does for everything else.

use std::{
    ffi::{c_int, c_void},
    sync::OnceLock,
};

/// What the library for cells exports: reads into the buffer, and gives the number of bytes or -1.
pub type ReadHook = unsafe extern "C" fn(buffer: *mut u8, length: usize) -> isize;

static HOOK: OnceLock<ReadHook> = OnceLock::new();

/// From now on, reads of standard input go to `hook`.
pub fn redirect(hook: ReadHook) {
    // The library is loaded once a process: another hook would be the same one.
    let _ = HOOK.set(hook);
}

/// `read(2)`.
// SAFETY: the name is the C library's, and this does what it documents.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn read(descriptor: c_int, buffer: *mut c_void, length: usize) -> isize {
    if descriptor == libc::STDIN_FILENO
        && let Some(hook) = HOOK.get()
    {
        // SAFETY: the buffer has room for `length` bytes, as for the function it stands in for.
        let read = unsafe { hook(buffer.cast(), length) };
        if read < 0 {
            // What a process gets that reads a terminal which is not its own.
            // SAFETY: the C library gives this thread's own `errno`.
            unsafe { *libc::__errno_location() = libc::EIO };
        }
        return read;
    }
    // SAFETY: the caller's arguments, as they are.
    unsafe { libc::syscall(libc::SYS_read, descriptor, buffer, length) as isize }
}
