//! The processes that a cell has started. An interrupt reaches them as Ctrl-C in a terminal would; a
//! process that has left for a session of its own, as the model host does, is let alone.

use std::{fs, time::Duration};

use rustix::process::Pid;

/// A second in the unit of `/proc`, on every architecture that there is a kernel for.
const TICKS: u64 = 100;

/// The descendants of `worker` that are at most as old as `age`, but for its snapshot.
pub fn of_cell(worker: Pid, snapshot: Option<Pid>, age: Duration) -> Vec<Pid> {
    let Some(now) = uptime() else {
        return Vec::new();
    };
    let since = now.saturating_sub(age);
    let session = Stat::read(worker).map(|stat| stat.session);
    let is_ours = |process: &Pid| {
        Some(*process) != snapshot
            && Stat::read(*process)
                .is_some_and(|stat| Some(stat.session) == session && stat.started >= since)
    };
    let mut found = descendants(worker);
    found.retain(is_ours);
    found
}

fn descendants(process: Pid) -> Vec<Pid> {
    let mut found = children(process);
    let mut next = 0;
    while let Some(&child) = found.get(next) {
        found.extend(children(child));
        next += 1;
    }
    found
}

/// Children of all threads of a process.
fn children(process: Pid) -> Vec<Pid> {
    let Ok(threads) = fs::read_dir(format!("/proc/{}/task", process.as_raw_nonzero())) else {
        return Vec::new();
    };
    let lists = threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|id| id.parse().ok().and_then(Pid::from_raw))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Since the machine was started.
fn uptime() -> Option<Duration> {
    let text = fs::read_to_string("/proc/uptime").ok()?;
    let seconds = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_secs_f64(seconds))
}

/// What `/proc` tells of a process.
#[derive(Debug, PartialEq)]
struct Stat {
    /// The session's id: 0 where it was begun outside of this container, for which `getsid` of rustix
    /// has no value.
    session: u32,
    /// When it was started, since the machine was, to a hundredth of a second.
    started: Duration,
}

impl Stat {
    fn read(process: Pid) -> Option<Self> {
        let path = format!("/proc/{}/stat", process.as_raw_nonzero());
        Self::parse(&fs::read_to_string(path).ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        // The second field is the name in brackets, which may hold anything; these are the 6th and the
        // 22nd.
        let (_, behind_name) = stat.rsplit_once(')')?;
        let mut fields = behind_name.split_whitespace().skip(3);
        let session = fields.next()?.parse().ok()?;
        let ticks: u64 = fields.nth(15)?.parse().ok()?;
        Some(Self {
            session,
            // The clocks are read at different times, and rounded differently.
            started: Duration::from_millis((ticks + TICKS / 10) * 1000 / TICKS),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_from_outside_a_container_is_one() {
        let stat = "7 (sl) eep) S 1 7 0 0 -1 4194304 8 0 0 0 0 0 0 0 20 0 1 0 2000 5 6";
        let expected = Stat {
            session: 0,
            started: Duration::from_millis(20_100),
        };
        assert_eq!(Stat::parse(stat), Some(expected));
    }

    #[test]
    fn this_process_is_read() {
        let stat = Stat::read(rustix::process::getpid()).expect("a process");
        assert!(stat.started <= uptime().expect("a clock") + Duration::from_millis(100));
    }
}
