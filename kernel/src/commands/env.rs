//! `%env`: environment variables of the cells and of the shell's commands.
//!
//! The kernel's own environment is never written, which other threads of it may read; what is set is
//! kept here, handed to each command that is started, and written where the cells' process takes it
//! over before its next cell.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::Path,
    process::Command as Process,
    sync::{Mutex, MutexGuard, PoisonError},
};

use display::{RichDisplay, Table};
use jupyter::CellError;

use super::{Call, Command, Commands, Form, error, language::say};
use crate::runner::ENVIRONMENT_FILE;

pub(super) const COMMAND: Command = Command {
    name: "env",
    form: Form::Line,
    arguments: "[NAME[=VALUE]]",
    summary: "shows or sets environment variables",
    details: "`%env` lists them, `%env NAME` shows one, `%env NAME=VALUE` sets it for the cells and \
the shell's commands that follow, `%env NAME=` removes it. A value whose name speaks of a token, a key \
or a password is not shown. What is set here is part of the notebook: a token does not belong there. \
The model host takes the hub's variables (`HF_HOME`, `HF_TOKEN`, `HF_ENDPOINT`, `HF_HUB_OFFLINE` and their like) from here with each request; all others it has as it was started.",
    run,
    complete: |assistant, before| match before {
        [] => assistant.environment.all().into_keys().collect(),
        _ => Vec::new(),
    },
};

const SECRET: [&str; 5] = ["TOKEN", "KEY", "SECRET", "PASSWORD", "CREDENTIAL"];
const HIDDEN: &str = "(not shown)";

fn run(commands: &mut Commands, call: &Call<'_>) -> Result<(), CellError> {
    let environment = &commands.environment;
    if call.arguments.is_empty() {
        let rows = environment.all().into_iter().map(|(name, value)| {
            let value = shown(&name, value);
            vec![name, value]
        });
        let table = Table {
            caption: String::new(),
            header: vec!["variable", "value"],
            rows: rows.collect(),
        };
        call.out.display(table.bundle(), None);
        return Ok(());
    }
    match call.arguments.split_once('=') {
        None => {
            let name = call.arguments;
            let value = environment.all().remove(name).ok_or_else(|| {
                let hint = format!("`%env {name}=VALUE` sets it");
                error::failed("NotFound", format!("`{name}` is not set"), hint)
            })?;
            say(call.out, &shown(name, value));
        }
        Some((name, value)) => {
            let (name, value) = (name.trim(), value.trim());
            if name.is_empty() || name.contains([' ', '\0']) || value.contains('\0') {
                return Err(error::usage(call.command, "a name has no spaces"));
            }
            environment.set(name, value);
            match value {
                "" => say(call.out, &format!("{name} is removed")),
                value => say(
                    call.out,
                    &format!("{name}={}", shown(name, value.to_owned())),
                ),
            }
        }
    }
    Ok(())
}

fn shown(name: &str, value: String) -> String {
    let name = name.to_uppercase();
    if SECRET.iter().any(|word| name.contains(word)) {
        HIDDEN.to_owned()
    } else {
        value
    }
}

/// What was set in this session, beside the environment that the kernel was started with. Read while
/// a command writes it.
#[derive(Default)]
pub struct Environment(Mutex<Changes>);

#[derive(Default)]
struct Changes {
    /// By name; `None` for what was removed.
    values: BTreeMap<String, Option<String>>,
    is_saved: bool,
}

impl Environment {
    /// Sets a variable, or removes it when `value` is empty.
    fn set(&self, name: &str, value: &str) {
        let value = (!value.is_empty()).then(|| value.to_owned());
        let mut changes = self.lock();
        changes.values.insert(name.to_owned(), value);
        changes.is_saved = false;
    }

    /// All variables with their values.
    pub(super) fn all(&self) -> BTreeMap<String, String> {
        let mut all: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        for (name, value) in &self.lock().values {
            match value {
                Some(value) => all.insert(name.clone(), value.clone()),
                None => all.remove(name),
            };
        }
        all
    }

    /// Gives a process that is about to start what was set.
    pub fn apply(&self, process: &mut Process) {
        for (name, value) in &self.lock().values {
            match value {
                Some(value) => process.env(name, value),
                None => process.env_remove(name),
            };
        }
    }

    /// Writes what was set to where the cells' process reads it, unless it is there.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, session: &Path) -> Result<(), CellError> {
        let mut changes = self.lock();
        if changes.is_saved || changes.values.is_empty() {
            return Ok(());
        }
        let write = || -> std::io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(session)?;
            file.write_all(&serde_json::to_vec(&changes.values)?)?;
            file.persist(session.join(ENVIRONMENT_FILE))?;
            Ok(())
        };
        write().map_err(|reason| {
            let hint = format!("is there room in `{}`?", session.display());
            error::failed(
                "IoError",
                format!("what `%env` set cannot be kept: {reason}"),
                hint,
            )
        })?;
        changes.is_saved = true;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Changes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        for name in ["HF_TOKEN", "AWS_SECRET_ACCESS", "api_key", "DB_PASSWORD"] {
            assert_eq!(shown(name, "hunter2".to_owned()), HIDDEN, "{name}");
        }
        assert_eq!(shown("HOME", "/home/me".to_owned()), "/home/me");
    }

    #[test]
    fn what_was_set_is_given_on_and_what_was_removed_is_not() {
        let environment = Environment::default();
        environment.set("WARMCELL_TEST_SET", "한국어");
        environment.set("PATH", "");
        assert_eq!(
            environment
                .all()
                .get("WARMCELL_TEST_SET")
                .map(String::as_str),
            Some("한국어")
        );
        assert!(!environment.all().contains_key("PATH"));
        let folder = tempfile::tempdir().expect("a folder");
        environment.save(folder.path()).expect("is written");
        let written = fs::read(folder.path().join(ENVIRONMENT_FILE)).expect("is there");
        let read: BTreeMap<String, Option<String>> =
            serde_json::from_slice(&written).expect("is JSON");
        assert_eq!(read["PATH"], None);
    }
}
