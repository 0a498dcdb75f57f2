//! How much memory the cells take: the worker and its snapshot together. They share pages until one
//! of them writes to them, so that the sum of the two is too much and either alone too little.

use std::{
    fmt, fs,
    time::{Duration, Instant},
};

use rustix::process::Pid;
use serde::{Deserialize, Serialize};

/// How often a running cell is looked at. Memory is filled at about a gigabyte a second.
const INTERVAL: Duration = Duration::from_millis(20);

/// Bytes of memory of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The process in which cells run. What it shares with its snapshot counts half.
    pub worker: u64,
    /// The snapshot, likewise.
    pub snapshot: u64,
}

impl Usage {
    pub fn total(self) -> u64 {
        self.worker + self.snapshot
    }

    /// Reads page tables: milliseconds for gigabytes.
    pub fn measure(worker: Pid, snapshot: Option<Pid>) -> Self {
        Self {
            worker: proportional(worker).unwrap_or(0),
            snapshot: snapshot.and_then(proportional).unwrap_or(0),
        }
    }
}

/// `4.0 GB`.
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0 as f64;
        if bytes < 1e9 {
            write!(f, "{:.0} MB", bytes / 1e6)
        } else {
            write!(f, "{:.1} GB", bytes / 1e9)
        }
    }
}

/// Watches that a running cell keeps to a limit.
#[derive(Debug)]
pub struct Watch {
    pub limit: u64,
    next: Instant,
}

impl Watch {
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            next: Instant::now(),
        }
    }

    /// How long until the next look.
    pub fn left(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    /// Looks, when it is time to; gives what is used when that is too much.
    pub fn exceeded(&mut self, worker: Pid, snapshot: Option<Pid>) -> Option<Usage> {
        let start = Instant::now();
        if start < self.next {
            return None;
        }
        let at_most = resident(worker) + snapshot.map_or(0, resident);
        let usage = (at_most > self.limit).then(|| Usage::measure(worker, snapshot));
        // The exact look is for times near the limit; even then it takes a tenth of a processor.
        self.next = start + INTERVAL.max(start.elapsed() * 10);
        usage.filter(|usage| usage.total() > self.limit)
    }
}

/// Bytes in memory that no file stands behind, shared ones included.
fn resident(process: Pid) -> u64 {
    field(process, "status", "RssAnon:").unwrap_or(0)
}

fn proportional(process: Pid) -> Option<u64> {
    field(process, "smaps_rollup", "Pss_Anon:")
}

/// A line of a file in `/proc`, which are in kB.
fn field(process: Pid, file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{}/{file}", process.as_raw_nonzero())).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_takes_memory() {
        let this = rustix::process::getpid();
        let usage = Usage::measure(this, None);
        assert!(usage.worker > 100_000 && usage.snapshot == 0, "{usage:?}");
        assert!(resident(this) >= usage.worker);
        assert_eq!(Bytes(3_960_000_000).to_string(), "4.0 GB");
    }
}
