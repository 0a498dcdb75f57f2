//! Making the worker and its snapshots: `fork`, and what has to be set in a child.
//!
//! The supervisor has one thread. The worker may have more: those of the library, which rests while
//! no cell runs, and those of the user. A snapshot has only the thread that forked; a lock that
//! another thread held at that moment stays locked in it.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use rustix::process::{Pid, Signal};

/// Which side of a fork this is.
pub enum Side {
    /// The new process.
    Child,
    /// The old one, with the new one's id.
    Parent(Pid),
}

/// Forks. The child goes on with the calling thread alone.
pub fn fork() -> io::Result<Side> {
    // SAFETY: glibc makes its own locks, the allocator's included, usable in the child. Locks of user
    // code that other threads hold are a risk of a hang there, not of unsoundness.
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

/// Has interrupts end what cells start. A shell starts a background job with them ignored, which every
/// process inherits: a program that a cell waits for could not be stopped.
pub fn heed_interrupts() {
    for signal in [libc::SIGINT, libc::SIGQUIT] {
        // SAFETY: sets the disposition that every process has at first.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Lets the death of a child end a wait of this process: orphans that it inherits are buried at once.
pub fn notice_children() {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: the handler does nothing, so that it may run at any time; no flag asks for restarts.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        libc::sigaction(libc::SIGCHLD, &raw const action, std::ptr::null_mut());
    }
}

/// Undoes [`notice_children`], in a child.
pub fn ignore_children() {
    // SAFETY: sets the disposition that every process has at first.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Closes what a new process has inherited, but for one descriptor and the standard three: sockets of
/// the process it was forked from would stay open for as long as it lives. Their owners in this
/// process must never be dropped: it has to end by `exit`.
pub fn close_all_but(kept: BorrowedFd<'_>) {
    let kept = kept.as_raw_fd().unsigned_abs();
    for (first, last) in [(3, kept.saturating_sub(1)), (kept.max(2) + 1, u32::MAX)] {
        if first <= last {
            // SAFETY: the values that own the descriptors are not used or dropped in this process.
            unsafe { libc::close_range(first, last, 0) };
        }
    }
}

/// Ends this process at once: without destructors, exit handlers or flushing, which belong to the
/// process it was forked from.
pub fn vanish() -> ! {
    // SAFETY: takes a number and does not return.
    unsafe { libc::_exit(0) }
}
