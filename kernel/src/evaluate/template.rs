//! The library as cells link it, built once at set-up: its sources, unpacked from this binary, and
//! a crate folder in which evcxr has compiled it already. A session gets the folder by hard links,
//! in milliseconds, so that no first cell waits for a compiler.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail};
use include_dir::{Dir, include_dir};
use sha2::{Digest, Sha256};

use crate::hex;

static WIRE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../lib/wire");
static DISPLAY: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../lib/display");
static WARMCELL: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../lib/warmcell");
static WORKSPACE: &str = include_str!("../../../Cargo.toml");
static LOCK: &str = include_str!("../../../Cargo.lock");

/// Name of evcxr's own crate: what it builds is a cell, and never taken over.
const CELL_CRATE: &str = "ctx";

/// A template's file that is locked by those who use it, and written to when one begins.
const IN_USE: &str = "used";
/// Templates of other binaries and toolchains go when nobody has used them for so long.
const KEPT: Duration = Duration::from_hours(30 * 24);
/// What a template is called while it is removed.
const REMOVED: &str = "removed";

/// The template that this process uses. Held until it ends: sessions compile against the sources.
static HELD: OnceLock<File> = OnceLock::new();

/// Where the library of this binary, for this toolchain, lies or is to lie.
pub struct Template {
    root: PathBuf,
}

impl Template {
    /// The template below `data` that fits this binary and the toolchain in use.
    pub fn locate(data: &Path) -> Result<Self> {
        let rustc = Command::new("rustc")
            .arg("-vV")
            .output()
            .context("cannot run `rustc`\nhint: install Rust from https://rustup.rs")?;
        let mut hash = Sha256::new();
        for folder in [&WIRE, &DISPLAY, &WARMCELL] {
            hash_sources(folder, &mut hash);
        }
        hash.update(WORKSPACE);
        hash.update(LOCK);
        hash.update(super::context::CELL_OPTIONS);
        hash.update(super::context::optimisation("", Path::new("")));
        hash.update(&rustc.stdout);
        let key = hex::encode(&hash.finalize()[..8]);
        Ok(Self {
            root: data.join("cells").join(key),
        })
    }

    /// Whether it has been built.
    pub fn is_built(&self) -> bool {
        self.crate_dir().exists()
    }

    /// The path that cells' `:dep warmcell` names.
    pub fn library(&self) -> PathBuf {
        self.root.join("src/lib/warmcell")
    }

    fn crate_dir(&self) -> PathBuf {
        self.root.join("crate")
    }

    /// Unpacks the sources and has `compile` build them in a folder, unless that was done before.
    /// Two processes that build at once end in one template.
    pub fn build(&self, compile: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let held = self
            .enter()
            .with_context(|| format!("cannot use `{}`", self.root.display()))?;
        HELD.get_or_init(|| held);
        self.remove_unused();
        let lock = File::create(self.root.join("lock"))?;
        lock.lock()?;
        if self.is_built() {
            return Ok(());
        }
        self.unpack()
            .context("cannot unpack the library's sources")?;
        let partial = self.root.join("crate.partial");
        if partial.exists() {
            fs::remove_dir_all(&partial)?;
        }
        fs::create_dir_all(&partial)?;
        // The workspace's own versions: they are on this machine already, and tested together.
        fs::write(partial.join("Cargo.lock"), LOCK)?;
        compile(&partial).context("cannot build the library for cells")?;
        fs::rename(&partial, self.crate_dir())?;
        Ok(())
    }

    /// Says that this template is in use, for as long as the file lives.
    fn enter(&self) -> io::Result<File> {
        loop {
            fs::create_dir_all(&self.root)?;
            let path = self.root.join(IN_USE);
            let file = File::create(&path)?;
            file.lock_shared()?;
            file.set_modified(SystemTime::now())?;
            // It may have been removed with its folder while this waited for the lock.
            if is_same(&file, &path)? {
                return Ok(file);
            }
        }
    }

    /// Removes the templates of other keys that nobody has used for [`KEPT`]. What cannot be removed
    /// is left to the next one.
    fn remove_unused(&self) {
        let Some(entries) = self
            .root
            .parent()
            .and_then(|cells| fs::read_dir(cells).ok())
        else {
            return;
        };
        for folder in entries.flatten().map(|entry| entry.path()) {
            if folder.extension().is_some_and(|end| end == REMOVED) {
                let _ = fs::remove_dir_all(folder);
            } else if folder != self.root
                && let Err(error) = remove_if_unused(&folder)
            {
                tracing::debug!(folder = %folder.display(), %error, "an old library stays");
            }
        }
    }

    fn unpack(&self) -> Result<()> {
        let source = self.root.join("src");
        for (name, folder) in [
            ("wire", &WIRE),
            ("display", &DISPLAY),
            ("warmcell", &WARMCELL),
        ] {
            let target = source.join("lib").join(name);
            fs::create_dir_all(&target)?;
            folder.extract(&target)?;
        }
        let Some((before, after)) = WORKSPACE.split_once("members = [") else {
            bail!("the workspace has no members")
        };
        let Some((_, after)) = after.split_once(']') else {
            bail!("the workspace's members have no end")
        };
        let members = r#"members = ["lib/display", "lib/warmcell", "lib/wire"]"#;
        let manifest =
            format!("{before}{members}{after}").replace("default-members = [\"kernel\"]\n", "");
        fs::write(source.join("Cargo.toml"), manifest)?;
        Ok(())
    }

    /// Gives a session its crate folder.
    pub fn copy_to(&self, crate_dir: &Path) -> Result<()> {
        copy_tree(&self.crate_dir(), crate_dir).with_context(|| {
            format!(
                "cannot copy `{}` to `{}`",
                self.root.display(),
                crate_dir.display()
            )
        })
    }
}

/// Whether the file is still the one of this name.
fn is_same(file: &File, path: &Path) -> io::Result<bool> {
    match (file.metadata()?, fs::metadata(path)) {
        (ours, Ok(theirs)) => Ok((ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino())),
        (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        (_, Err(error)) => Err(error),
    }
}

fn remove_if_unused(folder: &Path) -> io::Result<()> {
    // Built by a version that had no such file, it has the lock of its building.
    let file = File::open(folder.join(IN_USE)).or_else(|_| File::open(folder.join("lock")))?;
    let age = file.metadata()?.modified()?.elapsed().unwrap_or_default();
    if age < KEPT || file.try_lock().is_err() {
        return Ok(());
    }
    // In one step, so that nobody meets half a template.
    let removed = folder.with_extension(REMOVED);
    fs::rename(folder, &removed)?;
    fs::remove_dir_all(removed)
}

fn hash_sources(folder: &Dir<'_>, hash: &mut Sha256) {
    for file in folder.files() {
        hash.update(file.path().as_os_str().as_encoded_bytes());
        hash.update(file.contents());
    }
    for folder in folder.dirs() {
        hash_sources(folder, hash);
    }
}

/// Compiled dependencies are linked, since nothing rewrites them in place; whatever cargo or evcxr
/// write to is copied, with its time, by which cargo knows that it is up to date; what belongs to
/// the cell that built the template is left behind.
fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if entry.file_type()?.is_dir() {
            if !(name.starts_with(CELL_CRATE) || name == "incremental") {
                copy_tree(&source, &target)?;
            }
            continue;
        }
        if name.starts_with(&format!("lib{CELL_CRATE}.")) || name.starts_with("libcode_") {
            continue;
        }
        let compiled = matches!(
            source.extension().and_then(|extension| extension.to_str()),
            Some("rlib" | "rmeta" | "so")
        );
        if compiled && fs::hard_link(&source, &target).is_ok() {
            continue;
        }
        fs::copy(&source, &target)?;
        let modified = entry.metadata()?.modified()?;
        File::options()
            .write(true)
            .open(&target)?
            .set_modified(modified)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_templates_that_nobody_uses_are_removed() {
        let data = tempfile::tempdir().expect("a folder");
        let template = |key: &str| Template {
            root: data.path().join("cells").join(key),
        };
        let old = SystemTime::now() - KEPT - Duration::from_mins(1);
        let entered = |key: &str| template(key).enter().expect("a lock");
        drop(entered("recent"));
        let used = entered("used");
        used.set_modified(old).expect("a time");
        entered("unused").set_modified(old).expect("a time");
        // As older versions left it.
        fs::create_dir_all(template("before").root).expect("a folder");
        let lock = File::create(template("before").root.join("lock")).expect("a file");
        lock.set_modified(old).expect("a time");
        drop(lock);

        template("own").remove_unused();
        let left = |key: &str| template(key).root.exists();
        assert!(left("recent") && left("used"), "one in use was removed");
        assert!(!left("unused") && !left("before"));
    }
}
