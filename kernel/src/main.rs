//! The `warmcell` binary: Jupyter kernel, cell runner, model host and command line in one program.

mod cards;
mod cli;
mod commands;
mod evaluate;
mod hex;
mod runner;
mod serve;
mod widgets;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else, and above all before a thread starts: cargo calls this program in
    // rustc's place, and the runner forks.
    if let Some(status) = evaluate::compile::compile_hook() {
        return status;
    }
    if std::env::args_os()
        .nth(1)
        .is_some_and(|command| command == runner::COMMAND)
    {
        return runner::run();
    }
    cli::main()
}
