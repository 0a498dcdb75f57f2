//! A file as it was when it was read: whether it still is that file tells whether what was read of it is old. What
//! then happens is the keepers' matter.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// A path and what was there.
pub struct Stamp {
    path: PathBuf,
    /// `None` where no file was there.
    seen: Option<Seen>,
}

#[derive(PartialEq)]
struct Seen {
    bytes: u64,
    modified: Option<SystemTime>,
    /// A file that was put in another's place can have its size and time.
    inode: u64,
}

impl Stamp {
    /// What is there now.
    pub fn of(path: PathBuf) -> Self {
        let seen = seen(&path);
        Self { path, seen }
    }

    /// Whether that is still there, unchanged; or still nothing.
    pub fn is_current(&self) -> bool {
        seen(&self.path) == self.seen
    }

    /// Whether a file was there and is no more.
    pub fn is_gone(&self) -> bool {
        self.seen.is_some() && seen(&self.path).is_none()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn seen(path: &Path) -> Option<Seen> {
    let metadata = fs::metadata(path).ok()?;
    Some(Seen {
        bytes: metadata.len(),
        modified: metadata.modified().ok(),
        inode: metadata.ino(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_another_is_told_from_what_was_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let absent = Stamp::of(path.clone());
        assert!(absent.is_current() && !absent.is_gone());
        fs::write(&path, "one").expect("writes");
        let stamp = Stamp::of(path.clone());
        assert!(stamp.is_current() && !absent.is_current());

        // Of the same size and time.
        let other = folder.path().join("other");
        fs::write(&other, "two").expect("writes");
        let time = fs::metadata(&path).and_then(|metadata| metadata.modified());
        let file = fs::File::options().write(true).open(&other).expect("opens");
        file.set_modified(time.expect("has a time")).expect("sets");
        fs::rename(&other, &path).expect("renames");
        assert!(!stamp.is_current() && !stamp.is_gone());
        fs::remove_file(&path).expect("removes");
        assert!(!stamp.is_current() && stamp.is_gone());
    }
}
