//! What one kernel owns on disk: a folder with its pipes and its socket, entered by its user alone,
//! and the folder of the crate that evcxr compiles. Both go when the kernel does; what a killed
//! kernel left is removed by the next one.

use std::{
    fs, io,
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

/// One kernel's folders.
pub struct Session {
    /// Unique name; the host cancels requests by it.
    pub id: String,
    runtime: PathBuf,
    crate_dir: PathBuf,
}

impl Session {
    /// Makes the folders and the pipes below `runtime` (pipes, socket) and `data` (the crate).
    pub fn create(runtime: &Path, data: &Path) -> io::Result<Self> {
        let id = format!(
            "{}-{}",
            std::process::id(),
            &uuid::Uuid::new_v4().simple().to_string()[..8]
        );
        let kernels = runtime.join("kernels");
        let crates = data.join("sessions");
        remove_leftovers(&kernels);
        remove_leftovers(&crates);
        let session = Self {
            runtime: kernels.join(&id),
            crate_dir: crates.join(&id),
            id,
        };
        for folder in [
            &kernels,
            &crates,
            &session.runtime,
            &session.crate_dir,
            &session.config_dir(),
        ] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
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

/// Removes the folders of kernels that are gone, which a kill leaves behind.
fn remove_leftovers(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process = name
            .to_str()
            .and_then(|name| name.split('-').next())
            .and_then(|id| id.parse::<u32>().ok());
        if process.is_some_and(|id| !Path::new("/proc").join(id.to_string()).exists()) {
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
        let kernels = base.path().join("kernels");
        // Process ids end below 4,194,304 on Linux.
        let dead = kernels.join("4194399-deadbeef");
        let living = kernels.join(format!("{}-11111111", std::process::id()));
        fs::create_dir_all(&dead).expect("a folder");
        fs::create_dir_all(&living).expect("a folder");
        let session = Session::create(base.path(), base.path()).expect("a session");
        assert!(!dead.exists() && living.exists());
        let folder = session.runtime_dir().to_owned();
        drop(session);
        assert!(!folder.exists());
    }
}
