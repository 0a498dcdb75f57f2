//! The end of a worker, in the user's words.

use std::collections::BTreeMap;

use rustix::process::{Signal, WaitStatus};
use wire::cell::CellFailure;

use super::{
    memory::{Bytes, Usage},
    messages::CellEnd,
};

/// Error name, cause and its usual meaning, by signal.
const SIGNALS: [(Signal, &str, &str); 8] = [
    (
        Signal::SEGV,
        "SIGSEGV",
        "an access to memory that is not there",
    ),
    (
        Signal::BUS,
        "SIGBUS",
        "an access to memory that is not backed, such as behind the end of a mapped file",
    ),
    (Signal::ILL, "SIGILL", "an instruction that is none"),
    (
        Signal::ABORT,
        "SIGABRT",
        "it aborted: by `abort`, a stack overflow, or a panic that could not unwind",
    ),
    (Signal::FPE, "SIGFPE", "an arithmetic fault"),
    (
        Signal::KILL,
        "SIGKILL",
        "killed from outside, perhaps for lack of memory",
    ),
    (Signal::TERM, "SIGTERM", "asked to end from outside"),
    (Signal::SYS, "SIGSYS", "a forbidden system call"),
];

/// Name and cause: `("SIGSEGV", "ended by SIGSEGV: an access to …")`.
pub fn cause(status: WaitStatus) -> (String, String) {
    if let Some(code) = status.exit_status() {
        return (
            "ProcessExit".to_owned(),
            format!("ended by itself with exit code {code}"),
        );
    }
    let signal = status.terminating_signal().unwrap_or_default();
    match SIGNALS.iter().find(|(known, ..)| known.as_raw() == signal) {
        Some((_, name, meaning)) => ((*name).to_owned(), format!("ended by {name}: {meaning}")),
        None => (
            format!("Signal{signal}"),
            format!("ended by signal {signal}"),
        ),
    }
}

/// What became of the variables.
pub enum Fate {
    /// They are as before. The snapshot has not these threads, by name.
    Restored(Vec<String>),
    /// There was no snapshot.
    Lost,
}

impl Fate {
    /// The next step for the user.
    pub fn hint(&self) -> String {
        match self {
            Self::Lost => {
                "variables are gone; loaded models are still in the model host".to_owned()
            }
            Self::Restored(threads) if threads.is_empty() => {
                "all variables are as they were before the cell".to_owned()
            }
            Self::Restored(threads) => format!(
                "all variables are as they were before the cell, but background threads did not \
                 survive: {}. What they served no longer answers (a channel, an async runtime): \
                 make it anew, and give the old one to `std::mem::forget`, since dropping it may wait",
                counted(threads)
            ),
        }
    }
}

/// ``2 × `worker`, `ticker` ``.
fn counted(names: &[String]) -> String {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    let list = counts.iter().map(|(name, count)| match count {
        1 => format!("`{name}`"),
        _ => format!("{count} × `{name}`"),
    });
    list.collect::<Vec<_>>().join(", ")
}

/// The failure of the cell that took its process along.
pub fn failure(status: WaitStatus, fate: &Fate) -> CellFailure {
    let (ename, cause) = cause(status);
    CellFailure {
        ename,
        evalue: format!("the process of the cells was {cause}"),
        location: None,
        raised: None,
        hint: Some(fate.hint()),
    }
}

/// The failure of the cell that was ended because it took too much memory.
pub fn over_limit(limit: u64, usage: Usage, fate: &Fate) -> CellFailure {
    CellFailure {
        ename: "MemoryLimit".to_owned(),
        evalue: format!(
            "the cell took more memory than the limit of {}: its process {}, the snapshot of the \
             variables {}",
            Bytes(limit),
            Bytes(usage.worker),
            Bytes(usage.snapshot)
        ),
        location: None,
        raised: None,
        hint: Some(fate.hint()),
    }
}

/// The end of a cell that failed by itself and was rolled back, with what became of the variables.
pub fn rolled_back(mut end: CellEnd, fate: &Fate) -> CellEnd {
    if let Some(failure) = &mut end.failure {
        failure.hint = Some(match failure.hint.take() {
            Some(hint) => format!("{hint}; {}", fate.hint()),
            None => fate.hint(),
        });
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_threads_are_named() {
        let threads = ["worker", "ticker", "worker"].map(str::to_owned).to_vec();
        let hint = Fate::Restored(threads).hint();
        assert!(hint.contains("`ticker`, 2 × `worker`"), "{hint}");
    }
}
