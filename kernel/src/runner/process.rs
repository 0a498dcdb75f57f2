//! A worker or a snapshot, as the supervisor holds it: its process and the channel to it.

use std::{
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus},
};

use super::{
    messages::{Arrived, Channel, Report},
    unsafe_fork::{self, Side},
    worker,
};

/// A process of the cells.
pub struct Process {
    pub pid: Pid,
    pidfd: OwnedFd,
    pub channel: Channel,
    /// Set when it has been buried along with others.
    pub status: Option<WaitStatus>,
}

/// What a process is found to have done.
pub enum News {
    /// It has reported.
    Reported(Box<Report>),
    /// It is dead, and has been buried.
    Died(WaitStatus),
    /// Nothing.
    None,
}

impl Process {
    /// Starts a worker without variables.
    pub fn start_worker(session: &Path) -> io::Result<Self> {
        let (supervisor_end, worker_end) = UnixStream::pair()?;
        match unsafe_fork::fork()? {
            Side::Child => {
                unsafe_fork::close_all_but(worker_end.as_fd());
                let status = i32::from(worker::serve(worker_end, session).is_err());
                std::process::exit(status);
            }
            Side::Parent(pid) => Self::new(pid, Channel::new(supervisor_end)),
        }
    }

    /// Takes hold of a process.
    pub fn new(pid: Pid, channel: Channel) -> io::Result<Self> {
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Self {
            pid,
            pidfd,
            channel,
            status: None,
        })
    }

    /// What to wait for.
    pub fn fds(&self) -> [PollFd<'_>; 2] {
        [self.channel.as_fd(), self.pidfd.as_fd()]
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
    }

    /// What it has done, without waiting. The last report of a process that is dead comes first.
    pub fn news(&mut self) -> io::Result<News> {
        match self.channel.receive_arrived()? {
            Arrived::Message(report) => return Ok(News::Reported(Box::new(report))),
            Arrived::Nothing => {}
            // It is about to end, or must.
            Arrived::Closed => self.kill(),
        }
        if self.status.is_none() {
            let ended = rustix::process::waitpid(Some(self.pid), WaitOptions::NOHANG)?;
            self.status = ended.map(|(_, status)| status);
        }
        Ok(self.status.map_or(News::None, News::Died))
    }

    /// Waits for its next report; `None` when it died or did not report in time, which it does not
    /// survive.
    pub fn wait_for_report(&mut self, limit: Duration) -> io::Result<Option<Report>> {
        let deadline = Instant::now() + limit;
        loop {
            match self.news()? {
                News::Reported(report) => return Ok(Some(*report)),
                News::Died(_) => return Ok(None),
                News::None => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.bury();
                return Ok(None);
            }
            let left = Timespec::try_from(left).ok();
            match poll(&mut self.fds(), left.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The folder that it is in.
    pub fn folder(&self) -> Option<String> {
        let link = format!("/proc/{}/cwd", self.pid.as_raw_nonzero());
        fs::read_link(link)
            .ok()?
            .into_os_string()
            .into_string()
            .ok()
    }

    /// Whether it has ended. For a snapshot, which is the worker's to bury.
    pub fn has_ended(&self) -> bool {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let now = Timespec::default();
        poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
    }

    pub fn kill(&self) {
        if self.status.is_some() {
            return;
        }
        let _ = rustix::process::kill_process(self.pid, Signal::KILL);
    }

    /// Kills it and waits until it is gone.
    pub fn bury(&self) {
        self.kill();
        if self.status.is_none() {
            let _ = rustix::process::waitpid(Some(self.pid), WaitOptions::empty());
        }
    }
}
