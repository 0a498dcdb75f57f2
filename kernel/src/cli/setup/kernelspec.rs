//! The kernelspec: the folder by which Jupyter front ends find the kernel.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use crate::cli::paths::{self, DATA_DIR_VAR};

/// Name of the kernelspec when no other is asked for.
pub const NAME: &str = "warmcell";

const LOGO: &str = include_str!("../../../assets/logo-svg.svg");

/// Registers the kernel for this user, unless it is registered as this very program.
pub fn ensure_for_user() -> Result<()> {
    write(&paths::jupyter_data_dir()?.join("kernels").join(NAME)).map(drop)
}

/// Writes the kernelspec into a folder. `false` when it was there already.
pub fn write(folder: &Path) -> Result<bool> {
    let text = serde_json::to_string_pretty(&spec(&current_binary()?))? + "\n";
    let file = folder.join("kernel.json");
    if fs::read_to_string(&file).is_ok_and(|there| there == text) {
        return Ok(false);
    }
    fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
    for (path, text) in [(file, text.as_str()), (folder.join("logo-svg.svg"), LOGO)] {
        fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    Ok(true)
}

/// What a `kernel.json` says, when there is one.
pub fn read(folder: &Path) -> Option<Value> {
    serde_json::from_str(&fs::read_to_string(folder.join("kernel.json")).ok()?).ok()
}

/// This program, as the kernelspec names it.
pub fn current_binary() -> Result<PathBuf> {
    env::current_exe().context("cannot find this program's own file")
}

fn spec(binary: &Path) -> Value {
    // A kernel must find the data of the set-up that registered it, whoever starts it.
    let mut environment = Map::new();
    if let Some(folder) = env::var_os(DATA_DIR_VAR).filter(|folder| !folder.is_empty()) {
        let folder = std::path::absolute(&folder).unwrap_or_else(|_| PathBuf::from(folder));
        environment.insert(DATA_DIR_VAR.to_owned(), json!(folder.to_string_lossy()));
    }
    json!({
        "argv": [binary.to_string_lossy(), "kernel", "-f", "{connection_file}"],
        "display_name": "Rust (Warmcell)",
        "language": "rust",
        "interrupt_mode": "message",
        "env": environment,
        "metadata": { "debugger": false },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_registration_writes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().join("kernels/warmcell");
        assert!(write(&folder).expect("written"));
        assert!(!write(&folder).expect("found"));
        let spec = read(&folder).expect("is JSON");
        assert_eq!(spec["argv"][1], "kernel");
        assert_eq!(spec["interrupt_mode"], "message");
    }
}
