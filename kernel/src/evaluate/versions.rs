//! The versions that a cells' crate was built with. evcxr asks cargo about each crate that `:dep` names by a
//! manifest of its own in the same folder, which leaves a lock file with that crate alone: cargo would then look
//! for the newest version of everything, and compile the library anew for a minute. So the last whole lock file
//! is kept, and laid back before cargo reads it.

use std::{fs, io, path::Path};

const LOCK: &str = "Cargo.lock";
const KEPT: &str = "Cargo.lock.kept";
/// What every lock file of a cells' crate has, and none of evcxr's manifests.
const LIBRARY: &str = "name = \"warmcell\"";

/// What cargo is run with for this to work: it asks rustc for its version each time, which is when the lock file
/// is looked at, and reads that afterwards.
pub const PREPARED: &str = ":build_env CARGO_CACHE_RUSTC_INFO=0\n";

/// Keeps the lock file of a crate's folder, or lays the kept one back where the library is missing in it. A
/// file that cannot be read or written is left to cargo.
pub fn look_after(folder: &Path) {
    let (lock, kept) = (folder.join(LOCK), folder.join(KEPT));
    let has_library =
        |path: &Path| fs::read_to_string(path).is_ok_and(|text| text.contains(LIBRARY));
    let _ = if has_library(&lock) {
        copy(&lock, &kept)
    } else if has_library(&kept) {
        copy(&kept, &lock)
    } else {
        Ok(())
    };
}

/// Lets cargo choose anew: a crate that was added needs other versions than those that were kept.
pub fn forget(folder: &Path) {
    let _ = fs::remove_file(folder.join(KEPT));
}

/// Whether cargo found no versions that fit each other.
pub fn is_conflict(error: &evcxr::Error) -> bool {
    error.to_string().contains("failed to select a version")
}

/// Whole or not at all.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let folder = to.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    io::Write::write_all(&mut file, &fs::read(from)?)?;
    file.persist(to)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_file_without_the_library_is_not_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let (lock, kept) = (folder.path().join(LOCK), folder.path().join(KEPT));
        let whole = format!("[[package]]\n{LIBRARY}\n");
        let other = "[[package]]\nname = \"evcxr_dummy_validate_dep\"\n";
        look_after(folder.path());
        assert!(!lock.exists() && !kept.exists(), "there was nothing");
        fs::write(&lock, &whole).expect("a file");
        look_after(folder.path());
        fs::write(&lock, other).expect("a file");
        look_after(folder.path());
        assert_eq!(fs::read_to_string(&lock).expect("a file"), whole);
        // A crate that contradicts it makes cargo choose anew.
        let text = "error: failed to select a version for `serde`.".to_owned();
        assert!(is_conflict(&evcxr::Error::Message(text)));
        forget(folder.path());
        fs::write(&lock, other).expect("a file");
        look_after(folder.path());
        assert_eq!(fs::read_to_string(&lock).expect("a file"), other);
    }
}
