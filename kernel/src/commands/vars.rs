//! `%vars`: the variables that cells have left.

use display::{RichDisplay, Table};
use jupyter::CellError;

use super::{Call, Command, Commands, Form, error, language::say, nothing};

pub(super) const COMMAND: Command = Command {
    name: "vars",
    form: Form::Line,
    arguments: "",
    summary: "lists the notebook's variables with their types",
    details: "The variables that the next cell can use. A variable that was moved is not there any \
more; one whose cell failed never came to be.",
    run,
    complete: nothing,
};

fn run(commands: &mut Commands, call: &Call<'_>) -> Result<(), CellError> {
    if !call.arguments.is_empty() {
        return Err(error::usage(call.command, "it takes no arguments"));
    }
    let mut variables = commands
        .notebook
        .ready()
        .map(|notebook| notebook.variables())
        .unwrap_or_default();
    if variables.is_empty() {
        say(call.out, "no variables yet");
        return Ok(());
    }
    variables.sort_by(|left, right| left.name.cmp(&right.name));
    let rows = variables
        .into_iter()
        .map(|variable| vec![variable.name, variable.type_name]);
    let table = Table {
        caption: String::new(),
        header: vec!["variable", "type"],
        rows: rows.collect(),
    };
    call.out.display(table.bundle(), None);
    Ok(())
}
