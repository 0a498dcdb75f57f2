//! The supervisor: evcxr's child and the worker's parent. It has one thread and no state of its own
//! beyond the worker and its snapshot, so that it survives whatever a cell does.

use std::{
    fs,
    io::{self, BufRead, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::ExitCode,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::OwnedFd,
    process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus},
};
use wire::cell::{CellFailure, CellMessage, KernelMessage};

use super::{
    SESSION_DIR_VAR, SNAPSHOT_SOCKET, death,
    messages::{CellEnd, CellStatus, Channel, Order, Report, SnapshotInfo},
    unsafe_fork::{self, Side},
    worker,
};
use crate::evaluate::session::STDERR_PIPE;

const EXECUTION_COMPLETE: &str = "EVCXR_EXECUTION_COMPLETE";
const PANIC_NOTIFICATION: &str = "EVCXR_PANIC_NOTIFICATION";
const ERROR_OCCURRED: &str = "EVCXR_ERROR_OCCURRED";
const VARIABLE_CHANGED_TYPE: &str = "EVCXR_VARIABLE_CHANGED_TYPE:";

/// A line that is not UTF-8 makes evcxr give up the cell without taking over anything of it: its
/// record of variables and items stays that of before the cell, like the snapshot's memory.
const ROLL_BACK: &[u8] = b"\xFF\n";

/// Runs the runner until evcxr closes standard input. Must be called before this process starts a
/// thread.
pub fn run() -> ExitCode {
    match supervise() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "the cell runner stopped: {error}");
            ExitCode::FAILURE
        }
    }
}

fn supervise() -> io::Result<()> {
    unsafe_fork::clean_environment();
    unsafe_fork::die_with_parent()?;
    // Orphaned snapshots become this process's children.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let session = std::env::var_os(SESSION_DIR_VAR)
        .map(PathBuf::from)
        .ok_or_else(|| io::Error::other(format!("{SESSION_DIR_VAR} is not set")))?;
    let socket = session.join(SNAPSHOT_SOCKET);
    // A runner before this one may have left its socket.
    let _ = fs::remove_file(&socket);
    let mut supervisor = Supervisor {
        snapshots: UnixListener::bind(&socket)?,
        worker: start_worker(&session)?,
        snapshot: None,
        session,
    };
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (library, function) = parse(&line)
            .ok_or_else(|| io::Error::other(format!("unexpected instruction `{line}`")))?;
        if !supervisor.run(library, function)? {
            return Ok(());
        }
    }
    supervisor.worker.end();
    Ok(())
}

fn parse(line: &str) -> Option<(&str, &str)> {
    // The library's path may hold spaces, the function's name never does.
    line.strip_prefix("LOAD_AND_RUN ")?.rsplit_once(' ')
}

fn start_worker(session: &Path) -> io::Result<Process> {
    let (supervisor_end, worker_end) = UnixStream::pair()?;
    match unsafe_fork::fork()? {
        Side::Child => {
            drop(supervisor_end);
            let status = i32::from(worker::serve(worker_end, session).is_err());
            std::process::exit(status);
        }
        Side::Parent(pid) => Process::new(pid, Channel::new(supervisor_end)),
    }
}

struct Supervisor {
    session: PathBuf,
    snapshots: UnixListener,
    worker: Process,
    snapshot: Option<Snapshot>,
}

struct Snapshot {
    process: Process,
    /// The user's threads that it does not have.
    threads: u32,
}

enum Waited {
    Reported(Report),
    Died(WaitStatus),
}

impl Supervisor {
    /// Runs a cell to its end and tells evcxr. Says whether there is a worker for the next one.
    fn run(&mut self, library: &str, function: &str) -> io::Result<bool> {
        if let Some(status) = self.worker.try_wait()? {
            if self.wake()?.is_none() {
                tell_kernel(death::failure(status, None))?;
                return Ok(false);
            }
            self.tell_user(&format!(
                "between cells, the process of the cells was {}; its variables were restored",
                death::cause(status).1
            ))?;
        }
        let order = Order::Run {
            library: library.to_owned(),
            function: function.to_owned(),
        };
        // A failing send means that the worker has just died, which waiting then shows.
        let _ = self.worker.channel.send(&order);
        match self.worker.wait_for_report()? {
            Waited::Reported(Report::Ended { end, snapshot }) => {
                self.take_snapshot(snapshot)?;
                report(&end)?;
                Ok(true)
            }
            Waited::Reported(Report::Awake { .. }) => Err(io::Error::other(
                "a worker that ran a cell says that it woke up",
            )),
            Waited::Died(status) => {
                let lost_threads = self.wake()?;
                tell_kernel(death::failure(status, lost_threads))?;
                // Without a snapshot evcxr sees its child end, and starts another without variables.
                if lost_threads.is_some() {
                    let mut out = io::stdout().lock();
                    out.write_all(ROLL_BACK)?;
                    out.flush()?;
                }
                Ok(lost_threads.is_some())
            }
        }
    }

    /// Puts the snapshot in the place of the dead worker, and says how many threads it lacks; `None`
    /// when there is no snapshot that lives.
    fn wake(&mut self) -> io::Result<Option<u32>> {
        let Some(Snapshot { process, threads }) = self.snapshot.take() else {
            return Ok(None);
        };
        self.worker = process;
        let _ = self.worker.channel.send(&Order::Wake);
        match self.worker.wait_for_report()? {
            Waited::Reported(Report::Awake { snapshot }) => {
                self.take_snapshot(snapshot)?;
                Ok(Some(threads))
            }
            Waited::Reported(Report::Ended { .. }) => {
                Err(io::Error::other("a snapshot says that it ran a cell"))
            }
            Waited::Died(_) => Ok(None),
        }
    }

    /// Takes the connection of the snapshot that the worker has announced.
    fn take_snapshot(&mut self, info: SnapshotInfo) -> io::Result<()> {
        self.snapshot = None;
        let Some(announced) = info.process else {
            let error = info.error.unwrap_or_default();
            return self.tell_user(&format!(
                "no snapshot of the variables could be made ({error}): a crash now would lose them"
            ));
        };
        let pid = i32::try_from(announced).ok().and_then(Pid::from_raw);
        let pidfd = pid.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
        // Only this user's processes reach the socket; one that is not the snapshot is let go.
        loop {
            if !self.snapshot_is_coming(pidfd.as_ref())? {
                return self.tell_user(
                    "the snapshot of the variables did not start: a crash now would lose them",
                );
            }
            let (stream, _) = self.snapshots.accept()?;
            let peer = rustix::net::sockopt::socket_peercred(&stream)?;
            if peer.pid.as_raw_nonzero().get().unsigned_abs() == announced {
                let process = Process::new(peer.pid, Channel::new(stream))?;
                self.snapshot = Some(Snapshot {
                    process,
                    threads: info.threads,
                });
                return Ok(());
            }
        }
    }

    /// Waits until a connection is there to accept; `false` when the snapshot ended before it made one.
    fn snapshot_is_coming(&self, snapshot: Option<&OwnedFd>) -> io::Result<bool> {
        let Some(snapshot) = snapshot else {
            return Ok(false);
        };
        loop {
            let mut fds = [
                PollFd::new(&self.snapshots, PollFlags::IN),
                PollFd::new(snapshot, PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Ok(_) => return Ok(!fds[0].revents().is_empty()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn tell_user(&self, line: &str) -> io::Result<()> {
        let mut pipe = fs::OpenOptions::new()
            .write(true)
            .open(self.session.join(STDERR_PIPE))?;
        writeln!(pipe, "warmcell: {line}")
    }
}

/// A worker, or a snapshot that may become one.
struct Process {
    pid: Pid,
    pidfd: OwnedFd,
    channel: Channel,
}

impl Process {
    fn new(pid: Pid, channel: Channel) -> io::Result<Self> {
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Self {
            pid,
            pidfd,
            channel,
        })
    }

    /// Waits for the next report or the end of the process, whichever comes first.
    fn wait_for_report(&mut self) -> io::Result<Waited> {
        loop {
            let died = {
                let mut fds = [
                    PollFd::new(&self.channel, PollFlags::IN),
                    PollFd::new(&self.pidfd, PollFlags::IN),
                ];
                match poll(&mut fds, None) {
                    Ok(_) => !fds[1].revents().is_empty(),
                    Err(rustix::io::Errno::INTR) => continue,
                    Err(error) => return Err(error.into()),
                }
            };
            match self.channel.receive_arrived()? {
                Some(report) => return Ok(Waited::Reported(report)),
                None if died => return self.reap().map(Waited::Died),
                // The channel has closed: the process is about to end, or must.
                None => {
                    let _ = rustix::process::kill_process(self.pid, Signal::KILL);
                }
            }
        }
    }

    fn reap(&self) -> io::Result<WaitStatus> {
        let status = rustix::process::waitpid(Some(self.pid), WaitOptions::empty())?;
        status
            .map(|(_, status)| status)
            .ok_or_else(|| io::Error::other("a dead worker has no status"))
    }

    fn try_wait(&self) -> io::Result<Option<WaitStatus>> {
        Ok(
            rustix::process::waitpid(Some(self.pid), WaitOptions::NOHANG)?
                .map(|(_, status)| status),
        )
    }

    fn end(&self) {
        let _ = rustix::process::kill_process(self.pid, Signal::KILL);
    }
}

/// Tells the kernel how the cell failed, then evcxr that it is over.
fn report(end: &CellEnd) -> io::Result<()> {
    if let Some(failure) = &end.failure {
        tell_kernel(failure.clone())?;
    }
    let mut out = io::stdout().lock();
    match end.status {
        CellStatus::Panic => writeln!(out, "{PANIC_NOTIFICATION}")?,
        CellStatus::Error => writeln!(out, "{ERROR_OCCURRED}")?,
        CellStatus::NotRun => {
            out.write_all(ROLL_BACK)?;
            return out.flush();
        }
        CellStatus::Ok => {}
    }
    for variable in &end.lost_variables {
        writeln!(out, "{VARIABLE_CHANGED_TYPE}{variable}")?;
    }
    writeln!(out, "{EXECUTION_COMPLETE}")?;
    out.flush()
}

fn tell_kernel(failure: CellFailure) -> io::Result<()> {
    let connected =
        std::env::var_os(wire::KERNEL_SOCKET_VAR).and_then(|path| UnixStream::connect(path).ok());
    let Some(stream) = connected else {
        // Nobody shows displays while the library is built; evcxr passes this on.
        return writeln!(io::stderr(), "{}: {}", failure.ename, failure.evalue);
    };
    let mut kernel = Channel::new(stream);
    kernel.send(&CellMessage::Failed(failure))?;
    kernel.receive::<KernelMessage>()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_path_may_hold_spaces() {
        assert_eq!(
            parse("LOAD_AND_RUN /a b/lib.so run_user_code_1"),
            Some(("/a b/lib.so", "run_user_code_1"))
        );
        assert_eq!(parse("SOMETHING else"), None);
    }
}
