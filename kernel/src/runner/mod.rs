//! The cell runner: the child process in which cells run, in the place of evcxr's own.
//!
//! evcxr talks to it by lines on standard input and output (`LOAD_AND_RUN library function`,
//! answered by `EVCXR_EXECUTION_COMPLETE`); what a cell prints never travels there, so nothing a
//! cell prints can be mistaken for an answer. The **supervisor** keeps that conversation. The
//! **worker**, its child, holds the user's variables and runs the cells; after each it forks a
//! sleeping **snapshot** of itself. When the worker dies, the snapshot wakes up in its place, and
//! all is as it was before the cell.

mod death;
mod messages;
mod supervisor;
mod unsafe_fork;
mod unsafe_load;
mod worker;

pub use supervisor::run;

/// The command by which evcxr starts this program as the runner; none of the user's.
pub const COMMAND: &str = "runner";

/// Environment variable with the kernel's session folder: the pipes for the cells' output lie there.
pub const SESSION_DIR_VAR: &str = "WARMCELL_SESSION_DIR";

/// Name of the socket in the session folder on which snapshots report to the supervisor.
const SNAPSHOT_SOCKET: &str = "snapshots.sock";
