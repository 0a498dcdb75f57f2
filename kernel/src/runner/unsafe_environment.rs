//! Environment variables that the user set by `%env`, taken over by the worker before a cell runs.

use std::{collections::BTreeMap, fs, path::Path};

use super::ENVIRONMENT_FILE;

/// Sets and removes what the session's file says. Without a file nothing was set; one that cannot be
/// read is a fault of this program, and the cell is worth more than the variables.
pub fn take_over(session: &Path) {
    let Ok(written) = fs::read(session.join(ENVIRONMENT_FILE)) else {
        return;
    };
    let changes: BTreeMap<String, Option<String>> =
        serde_json::from_slice(&written).unwrap_or_default();
    for (name, value) in changes {
        if std::env::var(&name).ok() == value {
            continue;
        }
        // SAFETY: no cell runs. A thread that an earlier cell left and that reads the environment by
        // Rust takes the same lock; one that reads it by C at this very moment is the user's risk,
        // as with `set_var` in a cell, and only the first cell after `%env` writes at all.
        unsafe {
            match value {
                Some(value) => std::env::set_var(&name, value),
                None => std::env::remove_var(&name),
            }
        }
    }
}
