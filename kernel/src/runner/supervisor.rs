//! The supervisor: the kernel's child and the worker's parent. It has one thread and no state of its
//! own beyond the worker and its snapshot, so that it survives whatever a cell does.

use std::{
    collections::{HashSet, VecDeque},
    fs, io,
    io::Write,
    os::unix::net::UnixStream,
    path::PathBuf,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal, WaitOptions, WaitStatus},
};
use wire::cell::{CellFailure, CellMessage, KernelMessage};

use super::{
    callers::{Asked, Caller, Callers, Cell},
    death::{self, Fate},
    memory::{Usage, Watch},
    messages::{CellEnd, CellStatus, Channel, ControlReply, Order, Report, RunEnd, SnapshotInfo},
    offspring,
    process::{News, Process},
    snapshot::{Dormitory, Snapshot},
    unsafe_fork,
};
use crate::evaluate::session::STDERR_PIPE;

/// How long a snapshot may take to wake. It only forks.
const WAKE_LIMIT: Duration = Duration::from_secs(20);

/// Runs the supervisor until the kernel closes standard input, which it does by ending.
pub fn run(session: PathBuf) -> io::Result<()> {
    let callers = Callers::listen(&session)?;
    // Snapshots and what cells start become this process's children when their own parent dies.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    unsafe_fork::heed_interrupts();
    unsafe_fork::notice_children();
    let mut supervisor = Supervisor {
        snapshots: Dormitory::open(&session)?,
        worker: Process::start_worker(&session)?,
        snapshot: None,
        callers,
        waiting: VecDeque::new(),
        running: None,
        has_variables: false,
        memory: None,
        session,
    };
    let ended = supervisor.serve();
    supervisor.worker.kill();
    ended
}

struct Supervisor {
    session: PathBuf,
    snapshots: Dormitory,
    worker: Process,
    snapshot: Option<Snapshot>,
    callers: Callers,
    /// Cells that wait for the one that runs.
    waiting: VecDeque<Cell>,
    running: Option<Running>,
    /// Whether a cell has ended in this line of workers: before, there is nothing to lose.
    has_variables: bool,
    /// The limit of memory, if there is one.
    memory: Option<Watch>,
}

struct Running {
    /// Who waits for it.
    caller: Caller,
    since: Instant,
    /// What it took when it was ended for taking too much.
    over_limit: Option<Usage>,
    /// How it failed, while its snapshot takes over.
    failed: Option<CellEnd>,
    /// The programs that an interrupt has reached.
    interrupted: HashSet<Pid>,
}

impl Supervisor {
    /// Returns when the kernel is gone.
    fn serve(&mut self) -> io::Result<()> {
        while self.wait()? {
            for asked in self.callers.take_arrived() {
                self.carry_out(asked)?;
            }
            self.keep_to_limit();
            self.bury_orphans();
            match self.worker.news()? {
                News::Reported(report) => self.take_report(*report)?,
                News::Died(status) => self.replace_worker(status)?,
                News::None => {}
            }
            self.look_after_snapshot();
            self.start_next();
        }
        Ok(())
    }

    /// Waits until something happens; `false` when the kernel is gone.
    fn wait(&self) -> io::Result<bool> {
        let stdin = io::stdin();
        let mut fds = vec![PollFd::new(&stdin, PollFlags::IN)];
        fds.extend(self.worker.fds());
        fds.extend(self.snapshot.iter().flat_map(|asleep| asleep.process.fds()));
        fds.extend(self.callers.fds());
        let watched = self.memory.as_ref().filter(|_| self.running.is_some());
        let limit = watched.and_then(|watch| Timespec::try_from(watch.left()).ok());
        match poll(&mut fds, limit.as_ref()) {
            // Nothing is ever written there: only the end arrives.
            Ok(_) => Ok(fds[0].revents().is_empty()),
            // A child has died.
            Err(rustix::io::Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    fn carry_out(&mut self, asked: Asked) -> io::Result<()> {
        match asked {
            Asked::Run(cell) => self.waiting.push_back(cell),
            Asked::Interrupt => self.interrupt_offspring(),
            Asked::EndCell => {
                self.kill_offspring();
                if self.running.is_some() {
                    self.worker.kill();
                }
            }
            Asked::Limit(connection, limit) => {
                let usage = Usage::measure(self.worker.pid, self.snapshot_pid());
                if limit.is_none_or(|limit| limit >= usage.total()) {
                    self.memory = limit.map(Watch::new);
                }
                self.callers.reply(connection, &ControlReply::Memory(usage));
            }
            Asked::Folder(connection) => {
                let reply = ControlReply::Folder(self.worker.folder());
                self.callers.reply(connection, &reply);
            }
            Asked::Forget => self.start_afresh()?,
            Asked::Abandon => {
                self.waiting.retain(|cell| cell.caller != Caller::Evcxr);
                if let Some(running) = &self.running
                    && running.caller == Caller::Evcxr
                {
                    self.worker.kill();
                }
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
            self.running = Some(Running {
                caller: cell.caller,
                since: Instant::now(),
                over_limit: None,
                failed: None,
                interrupted: HashSet::new(),
            });
            // A failing send means that the worker has just died, which the next look shows.
            let _ = self.worker.channel.send(&Order::Run {
                library: cell.library,
                function: cell.function,
                roll_back: cell.roll_back,
            });
        }
    }

    fn take_report(&mut self, report: Report) -> io::Result<()> {
        match report {
            Report::Ended { end, snapshot } => {
                self.has_variables = true;
                self.take_snapshot(snapshot)?;
                let Some(running) = self.running.take() else {
                    return Ok(());
                };
                let ended = RunEnd {
                    end,
                    ..RunEnd::default()
                };
                self.answer(running.caller, ended)
            }
            Report::Renewed { snapshot } => self.take_snapshot(snapshot),
            Report::Failed { end } => self.roll_back(end),
            Report::Awake { .. } => Err(io::Error::other("a worker says that it woke up")),
        }
    }

    /// Has the snapshot take over from a worker whose cell has failed. Without one, what is left of the
    /// variables stays.
    fn roll_back(&mut self, end: CellEnd) -> io::Result<()> {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        if self.snapshot.is_some() {
            running.failed = Some(end);
            self.worker.kill();
            return Ok(());
        }
        let ended = RunEnd {
            end,
            ..RunEnd::default()
        };
        let caller = running.caller;
        self.running = None;
        let _ = self.worker.channel.send(&Order::Snapshot);
        self.answer(caller, ended)
    }

    /// Tells who waits for a cell that it is over.
    fn answer(&mut self, caller: Caller, ended: RunEnd) -> io::Result<()> {
        if let (Caller::Evcxr, Some(failure)) = (caller, &ended.end.failure) {
            tell_kernel(failure.clone())?;
        }
        self.callers.answer(caller, ended);
        Ok(())
    }

    /// The worker is dead: its snapshot takes its place, or an empty one.
    fn replace_worker(&mut self, status: WaitStatus) -> io::Result<()> {
        let fate = if let Some(threads) = self.wake()? {
            Fate::Restored(threads)
        } else {
            self.worker = Process::start_worker(&self.session)?;
            if std::mem::take(&mut self.has_variables) {
                Fate::Lost
            } else {
                // An empty worker is all there was before the first cell.
                Fate::Restored(Vec::new())
            }
        };
        let Some(running) = self.running.take() else {
            let (_, cause) = death::cause(status);
            return self.tell_user(&format!(
                "between cells, the process of the cells was {cause}\nhint: {}",
                fate.hint()
            ));
        };
        let is_lost = matches!(fate, Fate::Lost);
        let end = running.failed.map_or_else(
            || {
                let failure = match (&self.memory, running.over_limit) {
                    (Some(watch), Some(usage)) => death::over_limit(watch.limit, usage, &fate),
                    _ => death::failure(status, &fate),
                };
                CellEnd {
                    status: CellStatus::Died,
                    failure: Some(failure),
                    raised_in: None,
                    lost_variables: Vec::new(),
                    values: Vec::new(),
                }
            },
            |end| death::rolled_back(end, &fate),
        );
        let ended = RunEnd {
            end,
            restored: !is_lost,
            lost_all: is_lost,
        };
        self.answer(running.caller, ended)
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

    /// Puts the snapshot in the place of the dead worker, and names the threads it lacks; `None` when
    /// there is no snapshot that lives.
    fn wake(&mut self) -> io::Result<Option<Vec<String>>> {
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
            Some(_) => Err(io::Error::other("a snapshot says that it ran a cell")),
            None => Ok(None),
        }
    }

    fn take_snapshot(&mut self, info: SnapshotInfo) -> io::Result<()> {
        self.snapshot = None;
        match self.snapshots.take(info)? {
            Ok(snapshot) => self.snapshot = Some(snapshot),
            Err(reason) => self.tell_user(&format!(
                "no snapshot of the variables could be made ({reason}): a crash of the next cell \
                 would lose them"
            ))?,
        }
        Ok(())
    }

    /// A snapshot that has died is replaced at once, unless a cell runs: only its beginning counts.
    fn look_after_snapshot(&mut self) {
        let Some(snapshot) = &mut self.snapshot else {
            return;
        };
        if !snapshot.process.has_ended() {
            return;
        }
        self.snapshot = None;
        if self.running.is_none() {
            // A failing send means that the worker has died as well.
            let _ = self.worker.channel.send(&Order::Snapshot);
        }
    }

    fn snapshot_pid(&self) -> Option<Pid> {
        self.snapshot.as_ref().map(|snapshot| snapshot.process.pid)
    }

    /// Interrupts the programs that the running cell has started, each once.
    fn interrupt_offspring(&mut self) {
        let snapshot = self.snapshot_pid();
        if let Some(running) = &mut self.running {
            for process in offspring::of_cell(self.worker.pid, snapshot, running.since.elapsed()) {
                if running.interrupted.insert(process) {
                    let _ = rustix::process::kill_process(process, Signal::INT);
                }
            }
        }
    }

    fn kill_offspring(&self) {
        if let Some(running) = &self.running {
            let age = running.since.elapsed();
            for process in offspring::of_cell(self.worker.pid, self.snapshot_pid(), age) {
                let _ = rustix::process::kill_process(process, Signal::KILL);
            }
        }
    }

    /// Ends a cell that takes more memory than it may.
    fn keep_to_limit(&mut self) {
        let snapshot = self.snapshot_pid();
        if let (Some(running), Some(watch)) = (&mut self.running, &mut self.memory)
            && let Some(usage) = watch.exceeded(self.worker.pid, snapshot)
        {
            running.over_limit = Some(usage);
            self.worker.kill();
        }
    }

    /// Buries children that have died: what a dead worker had started, and the worker itself.
    fn bury_orphans(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if pid == self.worker.pid {
                self.worker.status = Some(status);
            } else if let Some(snapshot) = &mut self.snapshot
                && pid == snapshot.process.pid
            {
                snapshot.process.status = Some(status);
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
