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
    let session = rustix::process::getsid(Some(worker)).ok();
    let is_ours = |process: &Pid| {
        Some(*process) != snapshot
            && rustix::process::getsid(Some(*process)).ok() == session
            && started(*process).is_some_and(|start| start >= since)
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

/// When a process was started, since the machine was, to a hundredth of a second.
fn started(process: Pid) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).ok()?;
    // The second field is the name in brackets, which may hold anything; this is the 22nd.
    let (_, behind_name) = stat.rsplit_once(')')?;
    let ticks: u64 = behind_name.split_whitespace().nth(19)?.parse().ok()?;
    // The clocks are read at different times, and rounded differently.
    Some(Duration::from_millis((ticks + TICKS / 10) * 1000 / TICKS))
}
