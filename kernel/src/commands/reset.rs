//! `%reset`: an empty notebook without a new kernel.

use jupyter::CellError;

use super::{Call, Command, Commands, Form, error, language::say, nothing};

pub(super) const COMMAND: Command = Command {
    name: "reset",
    form: Form::Line,
    arguments: "",
    summary: "forgets all variables, functions, types and added crates",
    details: "The kernel stays, loaded models stay, and so do the settings of `%limit` and `%env`. \
It cannot be undone.",
    run,
    complete: nothing,
};

fn run(commands: &mut Commands, call: &Call<'_>) -> Result<(), CellError> {
    if !call.arguments.is_empty() {
        return Err(error::usage(call.command, "it takes no arguments"));
    }
    commands.forget_all()?;
    say(
        call.out,
        "all variables, functions, types and added crates are forgotten",
    );
    Ok(())
}
