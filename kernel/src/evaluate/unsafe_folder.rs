//! A current folder for one thread alone. evcxr looks for its options in the current folder, which
//! otherwise belongs to the whole process and with it to everything that runs beside.

use std::io;

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// From here on, this thread and those it starts have a current folder of their own.
pub fn separate() -> io::Result<()> {
    // SAFETY: only the table of file descriptors is dangerous to part with, and it stays shared.
    unsafe { unshare_unsafe(UnshareFlags::FS) }?;
    Ok(())
}
