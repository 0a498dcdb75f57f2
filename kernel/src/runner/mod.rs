//! The cell runner: the process tree in which cells run, in the place of evcxr's own child.
//!
//! The **supervisor** is started by the kernel and ends with it. It takes orders on the control
//! socket, and evcxr's by way of the **relay**, which is what evcxr starts as its child: lines on
//! standard input and output (`LOAD_AND_RUN library function`, answered by
//! `EVCXR_EXECUTION_COMPLETE`). What a cell prints travels on neither, so nothing a cell prints can
//! be mistaken for an answer. The **worker**, the supervisor's child, holds the user's variables and
//! runs the cells; after each it forks a sleeping **snapshot** of itself. When the worker dies, the
//! snapshot wakes up in its place, and all is as it was before the cell.

mod callers;
mod death;
mod memory;
pub mod messages;
mod offspring;
mod process;
mod relay;
mod shared_statics;
mod snapshot;
mod standard_streams;
mod supervisor;
mod unsafe_environment;
mod unsafe_fork;
mod unsafe_load;
mod unsafe_stdin;
mod worker;

pub use memory::Usage;
pub use shared_statics::STATIC_PREFIX;
pub use worker::stand_back_as_victim;

use std::{
    env, fs, io,
    io::Write,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// The command by which this program becomes the supervisor; none of the user's.
pub const COMMAND: &str = "runner";

/// Follows [`COMMAND`] where evcxr starts it.
pub const RELAY: &str = "--relay";

/// Environment variable with the kernel's session folder: the pipes for the cells' output and the
/// sockets lie there.
pub const SESSION_DIR_VAR: &str = "WARMCELL_SESSION_DIR";

/// Name of the file in the session folder with the environment variables that the user set, as JSON:
/// name to value, `null` for one that was removed.
pub const ENVIRONMENT_FILE: &str = "environment.json";

/// Name of the socket in the session folder on which the kernel gives orders.
pub const CONTROL_SOCKET: &str = "control.sock";

/// Name of the socket on which evcxr's orders arrive.
const EVCXR_SOCKET: &str = "evcxr.sock";

/// Name of the socket on which snapshots report to the supervisor.
const SNAPSHOT_SOCKET: &str = "snapshots.sock";

/// Binds a socket for this user alone, in the place of one that a process before this one left.
fn bind(socket: &Path) -> io::Result<UnixListener> {
    let _ = fs::remove_file(socket);
    let listener = UnixListener::bind(socket)?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Becomes the supervisor or the relay. Must be called before this process starts a thread.
pub fn run() -> ExitCode {
    let is_relay = env::args_os().nth(2).is_some_and(|flag| flag == RELAY);
    let ended = match env::var_os(SESSION_DIR_VAR).map(PathBuf::from) {
        None => Err(io::Error::other(format!("{SESSION_DIR_VAR} is not set"))),
        Some(session) if is_relay => relay::run(&session),
        Some(session) => supervisor::run(session),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "the cell runner stopped: {error}");
            ExitCode::FAILURE
        }
    }
}
