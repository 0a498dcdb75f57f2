//! The layout of the shared cache: `models--owner--name/{refs,snapshots,blobs}` with links from
//! snapshots to blobs and locks beside, as `huggingface_hub` writes it. What is fetched into it is
//! decided elsewhere.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use wire::{Failure, FailureKind};

/// The cache's folders of one model repository.
pub(super) struct RepoCache {
    folder: PathBuf,
    locks: PathBuf,
}

impl RepoCache {
    pub(super) fn new(cache_dir: &Path, repo: &str) -> Self {
        let name = format!("models--{}", repo.replace('/', "--"));
        Self {
            folder: cache_dir.join(&name),
            locks: cache_dir.join(".locks").join(name),
        }
    }

    /// Folder of the snapshot that a revision names here, if there is one.
    pub(super) fn snapshot(&self, revision: &str) -> Option<PathBuf> {
        let commit = if is_commit(revision) {
            revision.to_owned()
        } else {
            safe_relative(revision)?;
            fs::read_to_string(self.folder.join("refs").join(revision)).ok()?
        };
        let folder = self.snapshot_folder(commit.trim());
        folder.is_dir().then_some(folder)
    }

    /// Whether there is a snapshot of any revision.
    pub(super) fn has_snapshots(&self) -> bool {
        self.folder.join("snapshots").is_dir()
    }

    pub(super) fn snapshot_folder(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    pub(super) fn incomplete(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(format!("{etag}.incomplete"))
    }

    /// Makes the folders that a blob and its lock need.
    pub(super) fn prepare(&self) -> Result<(), Failure> {
        for folder in [self.folder.join("blobs"), self.locks.clone()] {
            fs::create_dir_all(&folder).map_err(|e| write_failure("create", &folder, &e))?;
        }
        Ok(())
    }

    /// The lock of one blob, by `flock` as in `huggingface_hub`; `None` while another has it.
    pub(super) fn try_lock(&self, etag: &str) -> Result<Option<File>, Failure> {
        let path = self.locks.join(format!("{etag}.lock"));
        let failed = |error: &io::Error| write_failure("lock", &path, error);
        let file = File::create(&path).map_err(|error| failed(&error))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(failed(&error)),
        }
    }

    /// Gives a blob its name in a snapshot, by a relative link.
    pub(super) fn link(&self, commit: &str, file: &str, etag: &str) -> Result<(), Failure> {
        let pointer = self.snapshot_folder(commit).join(file);
        if pointer.exists() {
            return Ok(());
        }
        let failed = |error: &io::Error| write_failure("create", &pointer, error);
        if let Some(parent) = pointer.parent() {
            fs::create_dir_all(parent).map_err(|error| failed(&error))?;
        }
        // Up from the file's folder to the snapshot, to `snapshots`, to the repository.
        let up = "../".repeat(2 + file.matches('/').count());
        // A link that points nowhere is left by a cleaned cache.
        let _ = fs::remove_file(&pointer);
        match std::os::unix::fs::symlink(format!("{up}blobs/{etag}"), &pointer) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(&error)),
            _ => Ok(()),
        }
    }

    /// Remembers which commit a branch or tag is. A cache that cannot be written serves all the same.
    pub(super) fn remember(&self, revision: &str, commit: &str) {
        let path = self.folder.join("refs").join(revision);
        if is_commit(revision) || safe_relative(revision).is_none() {
            return;
        }
        if fs::read_to_string(&path).is_ok_and(|known| known.trim() == commit) {
            return;
        }
        if let Some(parent) = path.parent() {
            let _ = fs::create_dir_all(parent);
        }
        if let Err(error) = fs::write(&path, commit) {
            tracing::warn!(path = %path.display(), %error, "cannot remember the revision");
        }
    }
}

/// Whether a revision is a full commit id, which never changes.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A name from the hub that stays inside the folder it is joined to.
pub(crate) fn safe_relative(name: &str) -> Option<&str> {
    let safe = name
        .split('/')
        .all(|part| !part.is_empty() && part != "." && part != ".." && !part.contains('\\'));
    safe.then_some(name)
}

/// Repositories that the cache holds a snapshot of, sorted.
pub(super) fn repositories(cache_dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(cache_dir) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().join("snapshots").is_dir())
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some(name.strip_prefix("models--")?.replace("--", "/"))
        })
        .collect();
    names.sort();
    names
}

/// A file or folder of the cache that could not be made, read or written.
pub(super) fn write_failure(what: &str, path: &Path, error: &io::Error) -> Failure {
    let message = format!("cannot {what} `{}`: {}", path.display(), reason(error));
    let hint = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space, or set HF_HOME to a folder on a larger disk"
        }
        _ => "check the folder's permissions, or set HF_HOME to a folder that can be written",
    };
    Failure::new(FailureKind::Io, message).hint(hint)
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull => "the disk is full".to_owned(),
        io::ErrorKind::QuotaExceeded => "the disk quota is used up".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only".to_owned(),
        _ => error.to_string(),
    }
}
