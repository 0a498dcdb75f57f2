//! `warmcell host`: the process that holds the models, by hand. Cells start it when they need it.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use display::units::bytes;

use super::{
    console::{human_seconds, say},
    hooks, log_to_stderr,
};

/// What to do with the host.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Starts it in the background, unless it runs.
    Start,
    /// Ends it, and frees the memory of all models. Notebooks keep their variables.
    Stop,
    /// Says whether it runs, and what it holds.
    Status,
    /// Serves in the foreground; cells call this.
    Serve,
}

/// Runs the command. `status` exits with 1 when no host runs, as a script expects.
pub fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Start => say(format_args!(
            "the model host runs (process {})",
            hooks::start_host()?.pid
        )),
        Command::Stop => say(if hooks::stop_host()? {
            "stopped"
        } else {
            "no model host runs"
        }),
        Command::Status => return status(),
        Command::Serve => {
            log_to_stderr();
            hooks::serve_models()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn status() -> Result<ExitCode> {
    let Some(status) = hooks::host_status()? else {
        say("no model host runs; the first cell that needs a model starts one");
        return Ok(ExitCode::FAILURE);
    };
    say(format_args!(
        "running as process {}, version {}",
        status.pid, status.version
    ));
    say(format_args!(
        "  up           {}",
        human_seconds(status.uptime_seconds)
    ));
    say(format_args!(
        "  memory       {}",
        bytes(status.process_bytes)
    ));
    say(format_args!("  models       {}", status.models.len()));
    say(format_args!("  clients      {}", status.clients));
    say(format_args!(
        "  leaves after {} without use",
        human_seconds(status.idle_timeout_seconds)
    ));
    Ok(ExitCode::SUCCESS)
}
