//! The end of a worker, in the user's words.

use rustix::process::{Signal, WaitStatus};
use wire::cell::CellFailure;

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

/// The failure of the cell that took its process along. `lost_threads` is what the snapshot does
/// not have; `None` when there is no snapshot, and the variables are gone.
pub fn failure(status: WaitStatus, lost_threads: Option<u32>) -> CellFailure {
    let (ename, cause) = cause(status);
    let hint = match lost_threads {
        Some(0) => "all variables are as they were before the cell".to_owned(),
        Some(1) => {
            "all variables are as they were before the cell; a background thread did not survive"
                .to_owned()
        }
        Some(n) => format!(
            "all variables are as they were before the cell; {n} background threads did not survive"
        ),
        None => "variables are gone; loaded models are still in the model host".to_owned(),
    };
    CellFailure {
        ename,
        evalue: format!("the process of the cells was {cause}"),
        location: None,
        hint: Some(hint),
    }
}
