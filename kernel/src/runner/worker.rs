//! The worker: holds the user's variables and runs one cell after the other on its main thread. Its
//! snapshot is the same process, asleep.

use std::{
    error::Error,
    fs::{self, OpenOptions},
    io,
    os::unix::net::UnixStream,
    path::Path,
};

use rustix::process::{Pid, Signal, WaitOptions};
use wire::cell::CellFailure;

use super::{
    SNAPSHOT_SOCKET,
    messages::{CellEnd, CellStatus, Channel, Order, Report, SnapshotInfo},
    unsafe_environment,
    unsafe_fork::{self, Side},
    unsafe_load::VariableStore,
};
use crate::evaluate::session::{STDERR_PIPE, STDOUT_PIPE};

/// Serves cells until the supervisor closes its end.
pub fn serve(supervisor: UnixStream, session: &Path) -> io::Result<()> {
    unsafe_fork::die_with_parent()?;
    redirect_output(session)?;
    let mut worker = Worker {
        supervisor: Channel::new(supervisor),
        variables: VariableStore::new(),
        snapshot: None,
    };
    while let Some(order) = worker.supervisor.receive()? {
        match order {
            Order::Run { library, function } => {
                unsafe_environment::take_over(session);
                let end = worker.run(&library, &function);
                let (snapshot, woken) = worker.make_snapshot(session)?;
                let report = if woken {
                    Report::Awake { snapshot }
                } else {
                    Report::Ended { end, snapshot }
                };
                worker.supervisor.send(&report)?;
            }
            // Comes only to a snapshot, which waits for it in `sleep`.
            Order::Wake => {}
        }
    }
    Ok(())
}

struct Worker {
    supervisor: Channel,
    variables: VariableStore,
    snapshot: Option<Pid>,
}

impl Worker {
    fn run(&mut self, library: &str, function: &str) -> CellEnd {
        match self.variables.run(library, function) {
            Ok(None) => CellEnd::default(),
            Ok(Some(report)) => serde_json::from_slice(&report).unwrap_or_else(|error| {
                not_run(
                    "InternalError",
                    format!("a cell's report is unreadable: {error}"),
                )
            }),
            Err(error) => {
                let cause = error
                    .source()
                    .map(|cause| format!(": {cause}"))
                    .unwrap_or_default();
                not_run(
                    "LoadError",
                    format!("the compiled cell could not be loaded: {error}{cause}"),
                )
            }
        }
    }

    /// Replaces the snapshot by one of now. The new process sleeps in here; should it be woken, it
    /// returns as well, with a snapshot of its own, and says so.
    fn make_snapshot(&mut self, session: &Path) -> io::Result<(SnapshotInfo, bool)> {
        let mut woken = false;
        loop {
            let threads = user_threads();
            let before = self.snapshot.take();
            let info = match unsafe_fork::fork() {
                Ok(Side::Child) => {
                    // Closes this copy of the worker's channel, so that its death is seen.
                    match UnixStream::connect(session.join(SNAPSHOT_SOCKET)) {
                        Ok(stream) => self.supervisor = Channel::new(stream),
                        // The supervisor sees it end, and tells the user.
                        Err(_) => unsafe_fork::vanish(),
                    }
                    self.sleep();
                    unsafe_fork::die_with_parent()?;
                    woken = true;
                    continue;
                }
                Ok(Side::Parent(process)) => {
                    self.snapshot = Some(process);
                    SnapshotInfo {
                        process: Some(id(process)),
                        error: None,
                        threads,
                    }
                }
                Err(error) => SnapshotInfo {
                    process: None,
                    error: Some(error.to_string()),
                    threads,
                },
            };
            end(before);
            return Ok((info, woken));
        }
    }

    /// Returns when the worker has died and this process is to take its place; ends with the
    /// supervisor.
    fn sleep(&mut self) {
        if !matches!(self.supervisor.receive(), Ok(Some(Order::Wake))) {
            unsafe_fork::vanish();
        }
    }
}

fn id(process: Pid) -> u32 {
    process.as_raw_nonzero().get().unsigned_abs()
}

/// The snapshot is this process's child: it is this process that buries it.
fn end(snapshot: Option<Pid>) {
    if let Some(process) = snapshot {
        let _ = rustix::process::kill_process(process, Signal::KILL);
        let _ = rustix::process::waitpid(Some(process), WaitOptions::empty());
    }
}

/// Threads beside this one that are not the library's own.
fn user_threads() -> u32 {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else {
        return 0;
    };
    let names = tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    let foreign = names.filter(|name| !name.starts_with("warmcell")).count();
    u32::try_from(foreign).unwrap_or(u32::MAX)
}

fn not_run(ename: &str, evalue: String) -> CellEnd {
    CellEnd {
        status: CellStatus::NotRun,
        failure: Some(CellFailure {
            ename: ename.to_owned(),
            evalue,
            location: None,
            hint: None,
        }),
        lost_variables: Vec::new(),
    }
}

/// Standard output and error become the kernel's pipes, standard input is empty. The pipes are
/// named rather than inherited, so that no compiler started by the kernel holds them open.
fn redirect_output(session: &Path) -> io::Result<()> {
    let open = |name: &str| OpenOptions::new().write(true).open(session.join(name));
    rustix::stdio::dup2_stdin(OpenOptions::new().read(true).open("/dev/null")?)?;
    rustix::stdio::dup2_stdout(open(STDOUT_PIPE)?)?;
    rustix::stdio::dup2_stderr(open(STDERR_PIPE)?)?;
    Ok(())
}
