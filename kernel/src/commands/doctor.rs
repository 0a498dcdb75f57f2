//! `%doctor`: `warmcell doctor` in a cell.

use display::Table;
use jupyter::CellError;

use super::{Call, Command, Commands, Form, error, nothing};
use crate::cli;

pub(super) const COMMAND: Command = Command {
    name: "doctor",
    form: Form::Line,
    arguments: "",
    summary: "checks what Warmcell needs on this machine",
    details: "Each line says what to do. It changes nothing. The check of the hub may take some \
seconds; `warmcell doctor` in a terminal says the same.",
    run,
    complete: nothing,
};

fn run(_: &mut Commands, call: &Call<'_>) -> Result<(), CellError> {
    if !call.arguments.is_empty() {
        return Err(error::usage(call.command, "it takes no arguments"));
    }
    let checks = cli::checks()
        .map_err(|reason| error::failed("DoctorError", format!("{reason:#}"), "set HOME"))?;
    let rows = checks
        .into_iter()
        .map(|check| vec![check.state.to_owned(), check.name.to_owned(), check.text]);
    let table = Table {
        caption: String::new(),
        header: vec!["state", "check", "finding"],
        rows: rows.collect(),
    };
    call.out.display(table.of_prose(), None);
    Ok(())
}
