//! The connection to the kernel: one message, one answer, over a Unix socket. Opened at the first
//! message; a process that was forked opens its own.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    sync::{Mutex, PoisonError},
};

use wire::{
    FailureKind, KERNEL_SOCKET_VAR,
    cell::{CellMessage, KernelMessage},
    frame,
};

use super::unsafe_fork::{PerProcess, Socket};
use crate::{Error, Result};

struct Connection {
    stream: Socket,
    decoder: frame::Decoder,
}

static CONNECTION: PerProcess<Mutex<Option<Connection>>> = PerProcess::new();

/// Whether this process runs a kernel's cells.
pub(crate) fn is_connected() -> bool {
    std::env::var_os(KERNEL_SOCKET_VAR).is_some_and(|path| !path.is_empty())
}

/// Sends a message and waits for the answer. What was printed before it goes out before it.
///
/// # Errors
/// The kernel is not reached, or its answer is unreadable.
pub(crate) fn send(message: &CellMessage) -> Result<KernelMessage> {
    super::flush();
    let mut slot = CONNECTION
        .get()
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    exchange(&mut slot, message).map_err(|error| {
        *slot = None;
        Error::new(
            FailureKind::Io,
            format!("the kernel cannot be reached for a display or input: {error}"),
        )
        .with_hint("restart the kernel; loaded models stay")
    })
}

fn exchange(slot: &mut Option<Connection>, message: &CellMessage) -> io::Result<KernelMessage> {
    let connection = match slot {
        Some(connection) => connection,
        None => slot.insert(Connection::open()?),
    };
    let mut stream: &UnixStream = &connection.stream;
    stream.write_all(&frame::encode(message).map_err(io::Error::other)?)?;
    let mut buffer = [0; 4096];
    loop {
        if let Some(answer) = connection.decoder.next().map_err(io::Error::other)? {
            return Ok(answer);
        }
        match stream.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => connection.decoder.push(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl Connection {
    fn open() -> io::Result<Self> {
        let path = std::env::var_os(KERNEL_SOCKET_VAR).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("{KERNEL_SOCKET_VAR} is not set"),
            )
        })?;
        Ok(Self {
            stream: Socket::new(UnixStream::connect(path)?)?,
            decoder: frame::Decoder::default(),
        })
    }
}
