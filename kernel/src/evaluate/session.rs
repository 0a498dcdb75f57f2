//! What one kernel owns on disk: a folder with its pipes and its socket, entered by its user alone,
//! and the folder of the crate that evcxr compiles. Both go when the kernel does; what a killed
//! kernel left is removed by the next one.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use rustix::fs::{FileType, Mode};

/// Name of the pipe that is a cell's standard output.
pub const STDOUT_PIPE: &str = "stdout";
/// Name of the pipe that is a cell's standard error.
pub const STDERR_PIPE: &str = "stderr";
const CELL_SOCKET: &str = "cell.sock";
const CONFIG_DIR: &str = "config";
const LOCK: &str = "lock";

/// One kernel's folders.
pub struct Session {
    /// Unique name; the host cancels requests by it.
    pub id: String,
    runtime: PathBuf,
    crate_dir: PathBuf,
    /// Held for as long as the kernel lives, on whichever machine that is.
    #[expect(dead_code, reason = "a lock is held, not used")]
    locks: [File; 2],
}

/// A name for a session that no other has.
pub fn new_id() -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{}-{}", std::process::id(), &random[..8])
}

/// Locks a session's folder.
fn hold(folder: &Path) -> io::Result<File> {
    let lock = File::create(folder.join(LOCK))?;
    lock.lock()?;
    Ok(lock)
}

impl Session {
    /// Makes the folders and the pipes below `runtime` (pipes, socket) and `data` (the crate).
    pub fn create(id: String, runtime: &Path, data: &Path) -> io::Result<Self> {
        let folder = Self::runtime_folder(&id, runtime);
        let kernels = runtime.join("kernels");
        let crates = data.join("sessions");
        remove_leftovers(&kernels);
        remove_leftovers(&crates);
        let (runtime, crate_dir) = (folder, crates.join(&id));
        for folder in [&runtime, &crate_dir, &runtime.join(CONFIG_DIR)] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        let session = Self {
            locks: [hold(&runtime)?, hold(&crate_dir)?],
            id,
            runtime,
            crate_dir,
        };
        for pipe in [STDOUT_PIPE, STDERR_PIPE] {
            let owner_only = Mode::RUSR | Mode::WUSR;
            rustix::fs::mknodat(
                rustix::fs::CWD,
                session.runtime.join(pipe),
                FileType::Fifo,
                owner_only,
                0,
            )?;
        }
        Ok(session)
    }

    /// Where the folder with the pipes and the socket is, or will be once the session is made.
    pub fn runtime_folder(id: &str, runtime: &Path) -> PathBuf {
        runtime.join("kernels").join(id)
    }

    /// The folder with the pipes and the socket.
    pub fn runtime_dir(&self) -> &Path {
        &self.runtime
    }

    /// The folder of the crate that evcxr compiles.
    pub fn crate_dir(&self) -> &Path {
        &self.crate_dir
    }

    /// The folder where evcxr looks for `evcxr.toml`.
    pub fn config_dir(&self) -> PathBuf {
        self.runtime.join(CONFIG_DIR)
    }

    /// The socket on which cells send their displays.
    pub fn cell_socket(&self) -> PathBuf {
        self.runtime.join(CELL_SOCKET)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.runtime);
        let _ = fs::remove_dir_all(&self.crate_dir);
    }
}

/// Removes the folders of kernels that are gone, which a kill leaves behind: those whose lock nobody
/// holds. A process id would not do, since folders of data may be shared between machines.
fn remove_leftovers(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        // A folder without a lock is being made.
        let Ok(lock) = File::open(entry.path().join(LOCK)) else {
            continue;
        };
        if lock.try_lock().is_ok() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_of_dead_kernels_go_and_living_ones_stay() {
        let base = tempfile::tempdir().expect("a folder");
        let create = |id: &str| Session::create(id.to_owned(), base.path(), base.path());
        let living = create("living").expect("a session");
        // A killed kernel's folder: its lock is there, and nobody holds it.
        let dead = base.path().join("kernels/dead");
        fs::create_dir_all(&dead).expect("a folder");
        File::create(dead.join(LOCK)).expect("a file");
        let session = create("new").expect("a session");
        assert!(!dead.exists() && living.runtime_dir().exists());
        let folder = session.runtime_dir().to_owned();
        drop(session);
        assert!(!folder.exists());
    }
}
