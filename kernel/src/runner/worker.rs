//! The worker: holds the user's variables and runs one cell after the other on its main thread. Its
//! snapshot is the same process, asleep.

use std::{error::Error, fs, io, os::unix::net::UnixStream, path::Path};

use rustix::process::{Pid, Signal, WaitOptions};
use wire::cell::CellFailure;

use super::{
    SNAPSHOT_SOCKET,
    messages::{CellEnd, CellStatus, Channel, Order, Report, SnapshotInfo},
    shared_statics,
    standard_streams::{StandardStreams, moved_up_stream},
    unsafe_environment,
    unsafe_fork::{self, Side},
    unsafe_load::VariableStore,
};

/// Serves cells until the supervisor closes its end.
pub fn serve(supervisor: UnixStream, session: &Path) -> io::Result<()> {
    unsafe_fork::ignore_children();
    unsafe_fork::die_with_parent()?;
    prefer_as_victim(RUNNING);
    let mut worker = Worker {
        streams: StandardStreams::open(session)?,
        supervisor: Channel::new(moved_up_stream(supervisor)?),
        variables: VariableStore::new(),
        snapshot: None,
    };
    while let Some(order) = worker.supervisor.receive()? {
        let ended = match order {
            Order::Run {
                library,
                function,
                roll_back,
            } => {
                unsafe_environment::take_over(session);
                worker.streams.restore()?;
                let end = worker.run(&library, &function);
                if roll_back.applies(end.status) {
                    worker.supervisor.send(&Report::Failed { end })?;
                    continue;
                }
                Some(end)
            }
            Order::Snapshot => None,
            // Comes only to a snapshot, which waits for it in `sleep`.
            Order::Wake => continue,
        };
        let before = worker.snapshot.take();
        let (snapshot, woken) = worker.make_snapshot(session)?;
        let report = match ended {
            _ if woken => Report::Awake { snapshot },
            Some(end) => Report::Ended { end, snapshot },
            None => Report::Renewed { snapshot },
        };
        worker.supervisor.send(&report)?;
        // Taking down the memory of a large one takes as long as making it: nobody waits for that.
        if !woken {
            end(before);
        }
    }
    Ok(())
}

struct Worker {
    streams: StandardStreams,
    supervisor: Channel,
    variables: VariableStore,
    snapshot: Option<Pid>,
}

impl Worker {
    fn run(&mut self, library: &str, function: &str) -> CellEnd {
        let this = rustix::process::getpid();
        if let Err(error) = shared_statics::mark(Path::new(library)) {
            let evalue = format!("the compiled cell `{library}` could not be prepared: {error}");
            return not_run("LoadError", evalue);
        }
        let ran = self.variables.run(library, function);
        if rustix::process::getpid() != this {
            // A cell has forked, and its child has come to the end of the cell: there is nothing for it to do
            // here, where its parent goes on.
            unsafe_fork::vanish();
        }
        match ran {
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

    /// Makes a snapshot of now. The new process sleeps in here; should it be woken, it returns as
    /// well, with a snapshot of its own, and says so.
    fn make_snapshot(&mut self, session: &Path) -> io::Result<(SnapshotInfo, bool)> {
        let mut woken = false;
        loop {
            let (process, error) = match self.variables.fork() {
                Ok(Side::Child) => {
                    prefer_as_victim(ASLEEP);
                    // Closes this copy of the worker's channel, so that its death is seen.
                    let connected = UnixStream::connect(session.join(SNAPSHOT_SOCKET));
                    match connected.and_then(moved_up_stream) {
                        Ok(stream) => self.supervisor = Channel::new(stream),
                        // The supervisor sees it end, and tells the user.
                        Err(_) => unsafe_fork::vanish(),
                    }
                    self.sleep();
                    unsafe_fork::die_with_parent()?;
                    prefer_as_victim(RUNNING);
                    woken = true;
                    continue;
                }
                Ok(Side::Parent(process)) => (Some(process), None),
                Err(error) => (None, Some(error.to_string())),
            };
            self.snapshot = process;
            // A thread names itself when it begins to run: those of this cell have had the fork's time.
            let threads = user_threads();
            let info = SnapshotInfo {
                process: process.map(|process| process.as_raw_nonzero().get().unsigned_abs()),
                error,
                threads,
            };
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

/// The snapshot is this process's child: it is this process that buries it.
fn end(snapshot: Option<Pid>) {
    if let Some(process) = snapshot {
        let _ = rustix::process::kill_process(process, Signal::KILL);
        let _ = rustix::process::waitpid(Some(process), WaitOptions::empty());
    }
}

const SCORE: &str = "/proc/self/oom_score_adj";
const RUNNING: &str = "600";
const ASLEEP: &str = "300";

/// When the machine's memory runs out, the process of the cells is to be ended rather than the kernel
/// or the model host, and its snapshot after it. Best effort; a value may be raised by anybody.
fn prefer_as_victim(score: &str) {
    let _ = fs::write(SCORE, score);
}

/// For the model host, which a cell may have started: it inherits the score, and is worth more.
pub fn stand_back_as_victim() {
    let score = fs::read_to_string(SCORE).unwrap_or_default();
    if [RUNNING, ASLEEP].contains(&score.trim()) {
        prefer_as_victim("0");
    }
}

/// Names of the threads beside this one that are not the library's own.
fn user_threads() -> Vec<String> {
    let comm = |thread: &Path| fs::read_to_string(thread.join("comm")).ok();
    // A thread without a name has that of the one that started it.
    let own = comm(Path::new("/proc/self"));
    let this = rustix::thread::gettid().as_raw_nonzero().to_string();
    let Ok(tasks) = fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    tasks
        .flatten()
        .filter(|task| task.file_name() != this.as_str())
        .filter_map(|task| comm(&task.path()))
        .filter(|name| !name.starts_with("warmcell-"))
        .map(|name| match &own {
            Some(own) if *own == name => "unnamed".to_owned(),
            _ => name.trim_end().to_owned(),
        })
        .collect()
}

fn not_run(ename: &str, evalue: String) -> CellEnd {
    CellEnd {
        status: CellStatus::NotRun,
        failure: Some(CellFailure {
            ename: ename.to_owned(),
            evalue,
            location: None,
            raised: None,
            hint: None,
        }),
        raised_in: None,
        lost_variables: Vec::new(),
        values: Vec::new(),
    }
}
