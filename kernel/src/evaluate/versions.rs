//! The versions that a cells' crate was built with. evcxr asks cargo about each crate that `:dep` names by a
//! manifest of its own in the same folder, which leaves a lock file with that crate alone: cargo would then look
//! for the newest version of everything, and compile the library anew for a minute. So the last whole lock file
//! is kept, and laid back before cargo reads it. The analysis reads the project by a cargo of its own, and may see
//! newer versions of what the library is made of meanwhile.

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

/// Runs what may add a crate. Where that needs other versions than those that were kept, cargo chooses anew; where
/// it fits none, the kept ones stay.
pub fn run<T>(
    folder: &Path,
    mut work: impl FnMut() -> Result<T, evcxr::Error>,
) -> Result<T, evcxr::Error> {
    let outcome = work();
    if !outcome.as_ref().is_err_and(is_conflict) {
        return outcome;
    }
    let (kept, aside) = (folder.join(KEPT), folder.join("Cargo.lock.aside"));
    let is_aside = fs::rename(&kept, &aside).is_ok();
    let _ = fs::remove_file(folder.join(LOCK));
    let outcome = work();
    if is_aside && outcome.is_err() {
        let _ = fs::rename(&aside, &kept);
    }
    outcome
}

/// Whether cargo found versions that do not fit each other; one that is not there at all is another matter.
fn is_conflict(error: &evcxr::Error) -> bool {
    matches!(error, evcxr::Error::Message(text) if text.contains("failed to select a version for `"))
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
    }

    /// As evcxr and cargo do it: the dummy's lock file, then what the wrapper sees, then the outcome.
    #[test]
    fn a_crate_that_contradicts_the_kept_versions_makes_cargo_choose_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let (lock, kept) = (folder.path().join(LOCK), folder.path().join(KEPT));
        let whole = format!("[[package]]\n{LIBRARY}\n");
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        let conflict =
            || evcxr::Error::Message("error: failed to select a version for `serde`.".to_owned());
        // Fails as long as the versions are there.
        let attempt = |fits: bool| {
            look_after(folder.path());
            fs::write(&lock, "name = \"evcxr_dummy_validate_dep\"").expect("a file");
            look_after(folder.path());
            if fits && !read(&lock).contains(LIBRARY) {
                fs::write(&lock, format!("{whole}anew")).expect("a file");
                return Ok(());
            }
            Err(conflict())
        };
        fs::write(&lock, &whole).expect("a file");
        run(folder.path(), || attempt(true)).expect("cargo chose anew");
        look_after(folder.path());
        assert!(read(&kept).ends_with("anew"));
        let mut runs = 0;
        let mut never = |fits| {
            run(folder.path(), || {
                runs += 1;
                attempt(fits)
            })
        };
        assert!(never(false).is_err());
        assert!(
            read(&kept).ends_with("anew"),
            "what cannot be costs nothing"
        );
        assert_eq!(runs, 2);
        let missing =
            "error: failed to select a version for the requirement `itoa = \"^99\"`".to_owned();
        assert!(!is_conflict(&evcxr::Error::Message(missing)));
    }
}
