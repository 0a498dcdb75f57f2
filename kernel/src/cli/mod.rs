//! The command line: what can be said to `warmcell`, and which part answers. Each command is a file;
//! what other crates do for it is called from [`hooks`] alone.

mod console;
mod doctor;
mod hooks;
mod host;
mod install;
mod lab;
mod models;
mod notebook;
mod paths;
mod process;
mod python;
mod setup;

use std::{path::PathBuf, process::ExitCode};

pub use doctor::checks;
pub use paths::DATA_DIR_VAR;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

/// Rust notebooks for open language models: a Jupyter kernel, and a host that keeps models loaded.
#[derive(Debug, Parser)]
#[command(name = "warmcell", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Opens JupyterLab with the kernel ready. Sets up first what is missing.
    Lab(lab::Arguments),
    /// Executes a notebook, shows what its cells show, and writes it with its outputs.
    Run(notebook::Arguments),
    /// Makes ready what `run` and `lab` need: rust-src, JupyterLab, the embedded model, the library
    /// for cells, the kernelspec. Skips what is there.
    Setup,
    /// Registers the kernel with Jupyter.
    Install(install::Arguments),
    /// Removes the kernel from Jupyter. Models and settings stay.
    Uninstall(install::Arguments),
    /// Serves one front end; Jupyter calls this.
    Kernel {
        /// The connection file.
        #[arg(short = 'f', long = "file", value_name = "FILE")]
        file: PathBuf,
    },
    /// The process that holds the models: starts by itself when a cell needs it.
    #[command(subcommand)]
    Host(host::Command),
    /// Shows which models are in memory, or frees them.
    Models(models::Arguments),
    /// Checks what Warmcell needs on this machine; each line says what to do.
    Doctor,
    /// Prints a script that completes this command in a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// Parses the command line, runs the command, and tells the user of a failure in three parts: what
/// failed, on which value, and a hint.
pub fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(status) => status,
        Err(error) => {
            console::warn(format_args!("error: {}", told(&error)));
            ExitCode::FAILURE
        }
    }
}

/// What failed and why, each cause once: some of them have their own cause in their text.
fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::Lab(arguments) => lab::run(&arguments),
        Command::Run(arguments) => notebook::run(&arguments),
        Command::Setup => setup::run().map(|()| ExitCode::SUCCESS),
        Command::Install(arguments) => install::install(&arguments),
        Command::Uninstall(arguments) => install::uninstall(&arguments),
        Command::Kernel { file } => {
            log_to_stderr();
            hooks::run_kernel(&file).map(|()| ExitCode::SUCCESS)
        }
        Command::Host(command) => host::run(&command),
        Command::Models(arguments) => models::run(&arguments),
        Command::Doctor => doctor::run(),
        Command::Completions { shell } => {
            let mut command = Cli::command();
            let mut script = Vec::new();
            // It panics where what it writes to fails, as a pipe that nobody reads does.
            clap_complete::generate(shell, &mut command, "warmcell", &mut script);
            console::write(&script).map(|()| ExitCode::SUCCESS)
        }
    }
}

/// What the long-running processes log: warnings, or what `WARMCELL_LOG` asks for.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("WARMCELL_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    // A second call finds a subscriber in place, which is as good.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .try_init();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    /// "No such file or directory" once stood twice in the line.
    #[test]
    fn a_cause_is_told_once() {
        let cause = || std::io::Error::from(std::io::ErrorKind::NotFound);
        let whole = format!("cannot read x: {}", cause());
        let with_its_cause = anyhow::Error::new(cause()).context(whole.clone());
        assert_eq!(super::told(&with_its_cause), whole);
        let above = with_its_cause.context("cannot start");
        assert_eq!(super::told(&above), format!("cannot start: {whole}"));
    }

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
