//! The kernel's end of the cell runner: starts the supervisor, starts it again should it be killed, and
//! gives it orders on its control socket.

use std::{
    io,
    os::unix::{net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::{ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use wire::cell::CellFailure;

use crate::runner::{
    CONTROL_SOCKET, Usage,
    messages::{CellEnd, CellStatus, Channel, ControlOrder, ControlReply, RollBack, RunEnd},
};

/// The supervisor binds its socket within milliseconds; a loaded machine may take longer.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);
const RETRY: Duration = Duration::from_millis(2);
/// Before a supervisor that was killed is started again: one that dies at its start must not keep a
/// processor busy.
const PAUSE: Duration = Duration::from_millis(100);

/// Makes the C library's memory consist of huge pages where it can: a fork copies a table of pages,
/// which is 80 ms of a processor for 2 GB of small ones and 2 ms for huge ones.
const HUGE_PAGES: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1");

/// The supervisor's process. It ends with this value, and with the kernel however that ends.
pub struct Runner {
    lifeline: Lifeline,
    watcher: Option<thread::JoinHandle<()>>,
}

/// The pipe whose end tells the supervisor to end; nothing is ever written to it. `None` when it is to
/// end and must not be started again.
type Lifeline = Arc<Mutex<Option<ChildStdin>>>;

impl Runner {
    /// Starts the supervisor by `command`.
    pub fn start(mut command: Command) -> io::Result<Self> {
        let (variable, huge_pages) = HUGE_PAGES;
        let tunables = std::env::var(variable).map_or_else(
            |_| huge_pages.to_owned(),
            |of_the_user| format!("{huge_pages}:{of_the_user}"),
        );
        command
            .env(variable, tunables)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // A Ctrl-C in the kernel's terminal is for the kernel, which interrupts the cell.
            .process_group(0);
        let mut process = command.spawn()?;
        let lifeline: Lifeline = Arc::new(Mutex::new(process.stdin.take()));
        let shared = Arc::clone(&lifeline);
        let watcher = thread::Builder::new()
            .name("runner".to_owned())
            .spawn(move || {
                loop {
                    let status = process.wait();
                    let mut lifeline = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    if lifeline.is_none() {
                        return;
                    }
                    tracing::warn!(?status, "the cell runner has ended and is started again");
                    thread::sleep(PAUSE);
                    match command.spawn() {
                        Ok(next) => process = next,
                        Err(error) => return tracing::error!(%error, "no cell runner"),
                    }
                    *lifeline = process.stdin.take();
                }
            })?;
        Ok(Self {
            lifeline,
            watcher: Some(watcher),
        })
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        drop(
            self.lifeline
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
    }
}

/// A connection to the supervisor.
pub struct Control {
    socket: PathBuf,
    channel: Channel,
}

impl Control {
    /// Connects to the supervisor of the session in this folder, which may just be starting.
    pub fn connect(session: &Path) -> io::Result<Self> {
        let socket = session.join(CONTROL_SOCKET);
        let channel = connect(&socket)?;
        Ok(Self { socket, channel })
    }

    /// Runs a compiled cell to its end. A supervisor that is killed meanwhile takes the variables
    /// along; the next one waits for orders then.
    ///
    /// # Errors
    /// There is no supervisor any more.
    pub fn run(
        &mut self,
        library: &Path,
        function: &str,
        roll_back: RollBack,
    ) -> io::Result<RunEnd> {
        let library = library.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
        let order = ControlOrder::Run {
            library: library.to_owned(),
            function: function.to_owned(),
            roll_back,
        };
        match self.ask(&order) {
            Ok(ControlReply::Ended(end)) => Ok(end),
            Ok(reply) => Err(unexpected(&reply)),
            Err(error) => {
                tracing::warn!(%error, "the cell runner was lost");
                self.channel = connect(&self.socket)?;
                Ok(lost_runner())
            }
        }
    }

    /// Interrupts the programs that the running cell has started.
    pub fn interrupt(&mut self) -> io::Result<()> {
        self.ask(&ControlOrder::Interrupt).map(drop)
    }

    /// Ends the running cell, whatever it does: its variables go back to those from before it. Does
    /// nothing when none runs.
    pub fn end_cell(&mut self) -> io::Result<()> {
        self.ask(&ControlOrder::EndCell).map(drop)
    }

    /// Forgets all variables.
    pub fn forget(&mut self) -> io::Result<()> {
        self.ask(&ControlOrder::Forget).map(drop)
    }

    /// Sets the bytes of memory that the cells may take, their snapshot included, or takes the limit
    /// away; gives what they take now. A limit below that is not set.
    pub fn set_memory_limit(&mut self, bytes: Option<u64>) -> io::Result<Usage> {
        match self.ask(&ControlOrder::Limit { bytes })? {
            ControlReply::Memory(usage) => Ok(usage),
            reply => Err(unexpected(&reply)),
        }
    }

    /// The folder in which the cells are, which they may have changed.
    pub fn folder(&mut self) -> io::Result<Option<PathBuf>> {
        match self.ask(&ControlOrder::Folder)? {
            ControlReply::Folder(folder) => Ok(folder.map(PathBuf::from)),
            reply => Err(unexpected(&reply)),
        }
    }

    fn ask(&mut self, order: &ControlOrder) -> io::Result<ControlReply> {
        self.channel.send(order)?;
        let reply = self.channel.receive()?;
        reply.ok_or_else(|| io::Error::other("the cell runner has ended"))
    }
}

fn connect(socket: &Path) -> io::Result<Channel> {
    let limit = Instant::now() + CONNECT_LIMIT;
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => return Ok(Channel::new(stream)),
            Err(error) if Instant::now() >= limit => return Err(error),
            Err(_) => thread::sleep(RETRY),
        }
    }
}

fn unexpected(reply: &ControlReply) -> io::Error {
    io::Error::other(format!("the cell runner answered with `{reply:?}`"))
}

fn lost_runner() -> RunEnd {
    RunEnd {
        end: CellEnd {
            status: CellStatus::Died,
            failure: Some(CellFailure {
                ename: "RunnerLost".to_owned(),
                evalue: "the process that keeps the snapshots was ended from outside".to_owned(),
                location: None,
                raised: None,
                hint: Some(
                    "variables are gone; loaded models are still in the model host".to_owned(),
                ),
            }),
            raised_in: None,
            lost_variables: Vec::new(),
            values: Vec::new(),
        },
        restored: false,
        lost_all: true,
    }
}
