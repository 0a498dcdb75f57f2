//! Running other programs to their end. Their output goes to a log; when they fail, its last lines
//! are what the user sees.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};
use wire::{Failure, FailureKind};

const SHOWN_LINES: usize = 8;

/// Runs a command with its output in `log`. Fails with the end of the log when the command does.
pub fn run_logged(command: &mut Command, log: &Path) -> Result<()> {
    let shown = shown(command);
    let file = File::create(log).with_context(|| format!("cannot write `{}`", log.display()))?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .with_context(|| format!("cannot run `{shown}`"))?;
    if status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
    let message = format!("`{shown}` failed ({status}):\n{}", last_lines(&text));
    Err(Failure::new(FailureKind::Io, message)
        .hint(format!("the whole output is in {}", log.display()))
        .into())
}

/// What a command prints on standard output, trimmed; `None` when it cannot be run or fails.
pub fn output_of(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let start = lines.len().saturating_sub(SHOWN_LINES);
    lines[start..]
        .iter()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_the_end_of_the_log_and_where_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let mut command = Command::new("sh");
        command.args(["-c", "echo first; echo the reason >&2; exit 3"]);
        let error = run_logged(&mut command, &log)
            .expect_err("it exits with 3")
            .to_string();
        assert!(
            error.contains("the reason") && error.contains("exit status: 3"),
            "{error}"
        );
        assert!(error.contains("hint: the whole output is in"), "{error}");
    }
}
