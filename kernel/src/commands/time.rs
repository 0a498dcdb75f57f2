//! `%time`: how long code takes to compile and to run.

use std::time::Instant;

use display::units::duration;
use jupyter::CellError;

use super::{Call, Command, Commands, Form, error, language::say, nothing, script};

pub(super) const COMMAND: Command = Command {
    name: "time",
    form: Form::Both,
    arguments: "CODE",
    summary: "runs code and says how long it compiled and ran",
    details: "Compiling and running are told apart: a cell that is slow to answer is often quick to \
run. One run is one run; `%timeit` measures many. The code counts as part of the cell: its variables \
stay.

    %time let answer = model.generate(&messages).run()?;

Cells are compiled without optimisation; `:opt 2` in a cell turns it on.",
    run,
    complete: nothing,
};

fn run(commands: &mut Commands, call: &Call<'_>) -> Result<(), CellError> {
    let code = rust(call)?;
    let started = Instant::now();
    commands.rust(code, call.cell, call.out)?;
    let whole = started.elapsed();
    let timing = commands
        .notebook
        .ready()
        .and_then(|notebook| notebook.timing());
    let parts = timing.map_or_else(String::new, |timing| {
        let (compile, run) = (duration(timing.compile), duration(timing.run));
        format!("compiled in {compile} · ran in {run} · ")
    });
    say(call.out, &format!("{parts}{} in all", duration(whole)));
    Ok(())
}

/// The code that is to be timed, in its place in the cell.
pub fn rust(call: &Call<'_>) -> Result<String, CellError> {
    let (code, start) = (&call.cell.code, call.start);
    match call.body {
        None if call.arguments.is_empty() => Err(error::usage(call.command, "it needs code")),
        None => Ok(script::keep(code, start, start + call.arguments.len())),
        Some(_) if !call.arguments.is_empty() => Err(error::usage(
            call.command,
            "the code starts on the next line",
        )),
        Some(body) if body.trim().is_empty() => Err(error::usage(call.command, "it needs code")),
        Some(body) => Ok(script::keep_from(code, code.len() - body.len())),
    }
}
