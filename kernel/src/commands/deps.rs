//! `%deps`: the crates that cells can use.

use display::{RichDisplay, Table};
use jupyter::CellError;

use super::{Call, Command, Commands, Form, Notebook, error, nothing};

pub(super) const COMMAND: Command = Command {
    name: "deps",
    form: Form::Line,
    arguments: "",
    summary: "lists the crates that cells can use",
    details: "The library itself, the standard library, and what `:dep` lines have added:

    :dep serde_json = \"1\"",
    run,
    complete: nothing,
};

fn run(commands: &mut Commands, call: &Call<'_>) -> Result<(), CellError> {
    if !call.arguments.is_empty() {
        return Err(error::usage(call.command, "it takes no arguments"));
    }
    let added = commands
        .notebook
        .ready()
        .map(Notebook::dependencies)
        .unwrap_or_default();
    let own = (
        "warmcell".to_owned(),
        format!("\"{}\"", env!("CARGO_PKG_VERSION")),
    );
    let rows = std::iter::once(own)
        .chain(added)
        .map(|(name, source)| vec![name, source]);
    let table = Table {
        caption: String::new(),
        header: vec!["crate", "source"],
        rows: rows.collect(),
    };
    call.out.display(table.bundle(), None);
    Ok(())
}
