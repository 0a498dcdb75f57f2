//! What a fork of this process must not share with it. The runner forks snapshots of a process of
//! cells; a snapshot has only the thread that forked, so that a lock which another thread held stays
//! locked in it for ever, and it has a copy of every socket, which keeps the other side waiting.

use std::{
    ffi::c_int,
    io,
    ops::Deref,
    os::{
        fd::{AsRawFd, FromRawFd},
        unix::net::UnixStream,
    },
    process, ptr,
    sync::atomic::{AtomicI32, AtomicPtr, Ordering},
};

unsafe extern "C" {
    safe fn dup3(old: c_int, new: c_int, flags: c_int) -> c_int;
    fn fcntl(descriptor: c_int, command: c_int, ...) -> c_int;
}

/// Linux's `O_CLOEXEC`.
const CLOSE_ON_EXEC: c_int = 0o2_000_000;
/// Linux's `F_DUPFD_CLOEXEC`.
const DUPLICATE_CLOSE_ON_EXEC: c_int = 1030;
/// Sockets get a number from here on: a cell that closes standard output, as a daemon does, would else print
/// into the next one that is opened.
const LOWEST: c_int = 64;

/// A value that each process has of its own: a fork starts with a new one, whatever its parent's
/// threads were doing with theirs. Never dropped.
pub(crate) struct PerProcess<T: 'static> {
    current: AtomicPtr<Owned<T>>,
}

struct Owned<T> {
    process: u32,
    value: T,
}

impl<T: Default + Send + Sync> PerProcess<T> {
    pub const fn new() -> Self {
        Self {
            current: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// This process's value.
    pub fn get(&self) -> &'static T {
        let process = process::id();
        let current = self.current.load(Ordering::Acquire);
        // SAFETY: null, or a box that was leaked below.
        if let Some(owned) = unsafe { current.as_ref() }
            && owned.process == process
        {
            return &owned.value;
        }
        let value = T::default();
        let new = Box::into_raw(Box::new(Owned { process, value }));
        let placed =
            self.current
                .compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire);
        // SAFETY: both are boxes that are never freed; a second one is leaked, once a process.
        unsafe { &(*placed.map_or_else(|other| other, |_| new)).value }
    }
}

/// Descriptors of this process's sockets; -1 where there is none.
static SOCKETS: [AtomicI32; 32] = [const { AtomicI32::new(-1) }; 32];

/// A connection that a fork does not share.
pub(crate) struct Socket(UnixStream);

impl Socket {
    /// # Errors
    /// There are too many.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        let stream = moved_up(stream)?;
        let descriptor = stream.as_raw_fd();
        let is_free = |slot: &&AtomicI32| {
            slot.compare_exchange(-1, descriptor, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok()
        };
        match SOCKETS.iter().find(is_free) {
            Some(_) => Ok(Self(stream)),
            None => Err(io::Error::other("too many connections")),
        }
    }
}

/// The same connection under a number that is none of a standard stream's.
fn moved_up(stream: UnixStream) -> io::Result<UnixStream> {
    if stream.as_raw_fd() >= LOWEST {
        return Ok(stream);
    }
    // SAFETY: takes numbers, and gives a new descriptor or -1.
    let moved = unsafe { fcntl(stream.as_raw_fd(), DUPLICATE_CLOSE_ON_EXEC, LOWEST) };
    if moved < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is new, so that nobody else owns it.
    Ok(unsafe { UnixStream::from_raw_fd(moved) })
}

impl Drop for Socket {
    fn drop(&mut self) {
        let descriptor = self.0.as_raw_fd();
        for slot in &SOCKETS {
            let _ = slot.compare_exchange(descriptor, -1, Ordering::SeqCst, Ordering::SeqCst);
        }
    }
}

impl Deref for Socket {
    type Target = UnixStream;

    fn deref(&self) -> &UnixStream {
        &self.0
    }
}

/// In a fork: puts a socket that nobody listens to in the place of each that it inherited. What still
/// refers to them gets errors; their numbers stay taken until it is dropped.
pub(super) fn silence_inherited() {
    let dead = UnixStream::pair().map(|(dead, _)| dead);
    for slot in &SOCKETS {
        let inherited = slot.swap(-1, Ordering::SeqCst);
        if let (Ok(dead), 0..) = (&dead, inherited) {
            dup3(dead.as_raw_fd(), inherited, CLOSE_ON_EXEC);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_takes_the_number_of_no_standard_stream() {
        let (stream, _other) = UnixStream::pair().expect("a pair");
        let socket = Socket::new(stream).expect("a socket");
        assert!(socket.as_raw_fd() >= LOWEST);
    }
}
