//! Making the worker: `fork`, and what has to be set in a child. The supervisor has one thread, so
//! that the child may go on as an ordinary process.

use std::io;

use rustix::process::{Pid, Signal};

/// Which side of a fork this is.
pub enum Side {
    /// The new process.
    Child,
    /// The old one, with the new one's id.
    Parent(Pid),
}

/// Forks. Must be called while this process has only one thread.
pub fn fork() -> io::Result<Side> {
    // SAFETY: the supervisor never starts a thread, so no lock can be held by another thread at
    // this moment, and the child may allocate and run ordinary code.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Side::Child),
        id => Ok(Side::Parent(
            Pid::from_raw(id).expect("fork returns a positive id"),
        )),
    }
}

/// Asks to be killed when the parent dies, so that no runner outlives its kernel.
pub fn die_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(
        Signal::KILL,
    ))?)
}

/// Removes evcxr's own variables, which must not reach the user's code and its children.
pub fn clean_environment() {
    // SAFETY: no other thread exists that could read the environment meanwhile.
    unsafe {
        std::env::remove_var("EVCXR_IS_RUNTIME");
        std::env::remove_var("RUST_BACKTRACE");
    }
}
