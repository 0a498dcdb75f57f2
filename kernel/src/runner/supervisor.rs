//! The supervisor: the kernel's child and the worker's parent. It has one thread and no state of its
//! own beyond the worker and its snapshot, so that it survives whatever a cell does.

use std::{
    collections::VecDeque,
    fs, io,
    io::Write,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::OwnedFd,
    process::{Pid, PidfdFlags, WaitStatus},
};
use wire::cell::{CellFailure, CellMessage, KernelMessage};

use super::{
    SNAPSHOT_SOCKET,
    callers::{Asked, Caller, Callers, Cell},
    death,
    messages::{CellEnd, CellStatus, Channel, Order, Report, RunEnd, SnapshotInfo},
    process::{News, Process},
};
use crate::evaluate::session::STDERR_PIPE;

/// How long a snapshot may take to wake. It only forks.
const WAKE_LIMIT: Duration = Duration::from_secs(20);

/// Runs the supervisor until the kernel closes standard input, which it does by ending.
pub fn run(session: PathBuf) -> io::Result<()> {
    let callers = Callers::listen(&session)?;
    // Orphaned snapshots become this process's children.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let mut supervisor = Supervisor {
        snapshots: bind_snapshot_socket(&session)?,
        worker: Process::start_worker(&session)?,
        snapshot: None,
        callers,
        waiting: VecDeque::new(),
        running: None,
        has_variables: false,
        session,
    };
    let ended = supervisor.serve();
    supervisor.worker.kill();
    ended
}

fn bind_snapshot_socket(session: &Path) -> io::Result<UnixListener> {
    let socket = session.join(SNAPSHOT_SOCKET);
    // A supervisor before this one may have left its socket.
    let _ = fs::remove_file(&socket);
    UnixListener::bind(&socket)
}

struct Supervisor {
    session: PathBuf,
    snapshots: UnixListener,
    worker: Process,
    snapshot: Option<Snapshot>,
    callers: Callers,
    /// Cells that wait for the one that runs.
    waiting: VecDeque<Cell>,
    /// Who waits for the running cell.
    running: Option<Caller>,
    /// Whether a cell has ended in this line of workers: before, there is nothing to lose.
    has_variables: bool,
}

struct Snapshot {
    process: Process,
    /// The user's threads that it does not have.
    threads: u32,
}

impl Supervisor {
    /// Returns when the kernel is gone.
    fn serve(&mut self) -> io::Result<()> {
        while self.wait()? {
            for asked in self.callers.take_arrived() {
                self.carry_out(asked)?;
            }
            match self.worker.news()? {
                News::Reported(Report::Ended { end, snapshot }) => {
                    self.has_variables = true;
                    self.take_snapshot(snapshot)?;
                    self.answer(RunEnd {
                        end,
                        ..RunEnd::default()
                    })?;
                }
                News::Reported(Report::Awake { .. }) => {
                    return Err(io::Error::other("a worker says that it woke up"));
                }
                News::Died(status) => self.replace_worker(status)?,
                News::None => {}
            }
            self.start_next();
        }
        Ok(())
    }

    /// Waits until something happens; `false` when the kernel is gone.
    fn wait(&self) -> io::Result<bool> {
        let stdin = io::stdin();
        let mut fds = vec![PollFd::new(&stdin, PollFlags::IN)];
        fds.extend(self.worker.fds());
        fds.extend(self.callers.fds());
        match poll(&mut fds, None) {
            // Nothing is ever written there: only the end arrives.
            Ok(_) => Ok(fds[0].revents().is_empty()),
            Err(rustix::io::Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    fn carry_out(&mut self, asked: Asked) -> io::Result<()> {
        match asked {
            Asked::Run(cell) => self.waiting.push_back(cell),
            Asked::EndCell if self.running.is_some() => self.worker.kill(),
            Asked::EndCell => {}
            Asked::Forget => {
                self.waiting.retain(|cell| cell.caller != Caller::Evcxr);
                self.start_afresh()?;
            }
        }
        Ok(())
    }

    /// Starts the cell that has waited longest, when none runs.
    fn start_next(&mut self) {
        while self.running.is_none()
            && let Some(cell) = self.waiting.pop_front()
        {
            // An empty library stands for a cell that has already run by another way.
            if fs::metadata(&cell.library).is_ok_and(|library| library.len() == 0) {
                self.callers.answer(cell.caller, RunEnd::default());
                continue;
            }
            self.running = Some(cell.caller);
            // A failing send means that the worker has just died, which the next look shows.
            let _ = self.worker.channel.send(&Order::Run {
                library: cell.library,
                function: cell.function,
            });
        }
    }

    /// Tells who waits for the running cell that it is over.
    fn answer(&mut self, ended: RunEnd) -> io::Result<()> {
        let Some(caller) = self.running.take() else {
            return Ok(());
        };
        if let (Caller::Evcxr, Some(failure)) = (caller, &ended.end.failure) {
            tell_kernel(failure.clone())?;
        }
        self.callers.answer(caller, ended);
        Ok(())
    }

    /// The worker is dead: its snapshot takes its place, or an empty one.
    fn replace_worker(&mut self, status: WaitStatus) -> io::Result<()> {
        let mut lost_threads = self.wake()?;
        if lost_threads.is_none() {
            self.worker = Process::start_worker(&self.session)?;
            // An empty worker is all there was before the first cell.
            let had_variables = std::mem::take(&mut self.has_variables);
            lost_threads = (!had_variables).then_some(0);
        }
        if self.running.is_none() {
            let (_, cause) = death::cause(status);
            let fate = if lost_threads.is_some() {
                "its variables were restored"
            } else {
                "its variables are gone"
            };
            return self.tell_user(&format!(
                "between cells, the process of the cells was {cause}; {fate}"
            ));
        }
        self.answer(RunEnd {
            end: CellEnd {
                status: CellStatus::Died,
                failure: Some(death::failure(status, lost_threads)),
                lost_variables: Vec::new(),
            },
            restored: lost_threads.is_some(),
            lost_all: lost_threads.is_none(),
        })
    }

    /// Replaces worker and snapshot by a worker without variables.
    fn start_afresh(&mut self) -> io::Result<()> {
        self.worker.bury();
        if let Some(snapshot) = self.snapshot.take() {
            snapshot.process.bury();
        }
        self.running = None;
        self.has_variables = false;
        self.worker = Process::start_worker(&self.session)?;
        Ok(())
    }

    /// Puts the snapshot in the place of the dead worker, and says how many threads it lacks; `None`
    /// when there is no snapshot that lives.
    fn wake(&mut self) -> io::Result<Option<u32>> {
        let Some(Snapshot { process, threads }) = self.snapshot.take() else {
            return Ok(None);
        };
        self.worker = process;
        let _ = self.worker.channel.send(&Order::Wake);
        match self.worker.wait_for_report(WAKE_LIMIT)? {
            Some(Report::Awake { snapshot }) => {
                self.take_snapshot(snapshot)?;
                Ok(Some(threads))
            }
            Some(Report::Ended { .. }) => {
                Err(io::Error::other("a snapshot says that it ran a cell"))
            }
            None => Ok(None),
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

/// Tells how a cell failed on the cells' socket, since evcxr's protocol has no words for it.
fn tell_kernel(failure: CellFailure) -> io::Result<()> {
    let connected =
        std::env::var_os(wire::KERNEL_SOCKET_VAR).and_then(|path| UnixStream::connect(path).ok());
    let Some(stream) = connected else {
        // Nobody shows displays while the library is built.
        return writeln!(io::stderr(), "{}: {}", failure.ename, failure.evalue);
    };
    let mut kernel = Channel::new(stream);
    kernel.send(&CellMessage::Failed(failure))?;
    kernel.receive::<KernelMessage>()?;
    Ok(())
}
