//! What supervisor, worker and snapshot say to each other, and the stream they say it on.

use std::{
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd},
    os::unix::net::UnixStream,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use wire::{
    cell::{CellFailure, VariableValue},
    frame,
};

use super::memory::Usage;

/// Kernel to supervisor, on the control socket. Each is answered by one [`ControlReply`].
#[derive(Debug, Serialize, Deserialize)]
pub enum ControlOrder {
    /// Run this function of this library: `Ended`, when it has.
    Run {
        library: String,
        function: String,
        #[serde(default)]
        roll_back: RollBack,
    },
    /// Interrupt the programs that the running cell has started: `Done`.
    Interrupt,
    /// End the running cell, whatever it does; nothing when none runs: `Done`.
    EndCell,
    /// Forget all variables, and what runs: `Done`.
    Forget,
    /// Bytes of memory that the cells may take, `None` for no limit: `Memory`. A limit below what
    /// they take already is not set.
    Limit { bytes: Option<u64> },
    /// The folder in which the cells are now: `Folder`.
    Folder,
}

/// Supervisor to kernel.
#[derive(Debug, Serialize, Deserialize)]
pub enum ControlReply {
    /// The cell has ended.
    Ended(RunEnd),
    /// The order has been carried out.
    Done,
    /// What the cells take now.
    Memory(Usage),
    /// Where the cells are; `None` when that cannot be said.
    Folder(Option<String>),
}

/// When a failed cell's variables go back to what they were before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RollBack {
    /// Only when the cell has taken its process along.
    #[default]
    Never,
    /// When it has panicked: what it was changing may be half changed.
    AfterPanic,
    /// When it has failed in any way: it has taken over variables, which are gone without this.
    AfterFailure,
}

impl RollBack {
    /// Whether a cell that ended like this is rolled back.
    pub fn applies(self, status: CellStatus) -> bool {
        match status {
            CellStatus::Panic => self != Self::Never,
            CellStatus::Error => self == Self::AfterFailure,
            CellStatus::Ok | CellStatus::NotRun | CellStatus::Died => false,
        }
    }
}

/// How a cell ended, and what became of the variables.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunEnd {
    /// How it ended. A cell that took its process along has a failure.
    pub end: CellEnd,
    /// The snapshot took over, since the worker died or its cell was to be rolled back: all is as it
    /// was before the cell.
    pub restored: bool,
    /// The worker died without a snapshot: all variables are gone, and an empty worker waits.
    pub lost_all: bool,
}

/// Supervisor to worker, or to the snapshot that is to become it.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// Run this function of this library.
    Run {
        library: String,
        function: String,
        roll_back: RollBack,
    },
    /// The worker has died: take its place.
    Wake,
    /// The snapshot has died: make another.
    Snapshot,
}

/// Worker to supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    /// The cell has returned, and this snapshot has been made since.
    Ended {
        end: CellEnd,
        snapshot: SnapshotInfo,
    },
    /// The cell has failed, and the snapshot from before it is to take this worker's place.
    Failed { end: CellEnd },
    /// The snapshot is the worker now, and has made one of its own.
    Awake { snapshot: SnapshotInfo },
    /// Another snapshot has been made.
    Renewed { snapshot: SnapshotInfo },
}

/// A snapshot, as the worker that made it knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotInfo {
    /// Its process; `None` when it could not be made.
    pub process: Option<u32>,
    /// Why it could not be made.
    pub error: Option<String>,
    /// Names of the user's threads, which it does not have.
    pub threads: Vec<String>,
}

/// How a cell ended.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CellEnd {
    pub status: CellStatus,
    #[serde(default)]
    pub failure: Option<CellFailure>,
    /// The file of the library in whose source the failure's place is, where that is known.
    #[serde(default)]
    pub raised_in: Option<String>,
    /// Variables whose type was redefined, so that they could not be read.
    #[serde(default)]
    pub lost_variables: Vec<String>,
    /// What it has put into variables; of one that was put twice, the last.
    #[serde(default)]
    pub values: Vec<VariableValue>,
}

/// The sorts of end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CellStatus {
    /// It returned.
    #[default]
    Ok,
    /// It panicked: the variables it would have defined are not there.
    Panic,
    /// A `?` returned an error: likewise.
    Error,
    /// Its library could not be loaded.
    NotRun,
    /// Its process ended before it did.
    Died,
}

/// What has arrived on a channel.
pub enum Arrived<T> {
    /// A message.
    Message(T),
    /// Nothing yet.
    Nothing,
    /// The end.
    Closed,
}

/// A stream of framed messages.
pub struct Channel {
    stream: UnixStream,
    decoder: frame::Decoder,
}

impl Channel {
    pub fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            decoder: frame::Decoder::default(),
        }
    }

    pub fn send<T: Serialize>(&mut self, message: &T) -> io::Result<()> {
        self.stream
            .write_all(&frame::encode(message).map_err(io::Error::other)?)
    }

    /// The next message; `None` when the other side has closed.
    pub fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        loop {
            if let Some(message) = self.decoder.next().map_err(io::Error::other)? {
                return Ok(Some(message));
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(length) => self.decoder.push(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// What has arrived without waiting for more.
    pub fn receive_arrived<T: DeserializeOwned>(&mut self) -> io::Result<Arrived<T>> {
        self.stream.set_nonblocking(true)?;
        let message = match self.receive() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Arrived::Nothing),
            Ok(Some(message)) => Ok(Arrived::Message(message)),
            Ok(None) => Ok(Arrived::Closed),
            Err(error) => Err(error),
        };
        self.stream.set_nonblocking(false)?;
        message
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
