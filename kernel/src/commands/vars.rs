//! `%vars`: the variables that cells have left, in a table that follows the cells.

use display::{RichDisplay, Table, units};
use jupyter::{CellError, Publisher};
use wire::{cell::Extent, mime::Bundle};

use super::{Assistant, Call, Command, Commands, Form, Variable, error, nothing};

pub(super) const COMMAND: Command = Command {
    name: "vars",
    form: Form::Line,
    arguments: "",
    summary: "lists the notebook's variables with their types and values; the list follows the cells",
    details: "The variables that the next cell can use. A variable that was moved is not there any \
more; one whose cell failed never came to be. The table stays up to date while cells run below it. \
The size is the number of elements, or bytes of a text or of the value itself without what it points \
to; the value is the `Debug` form, cut to eighty letters. Neither is known of variables that a cell \
with `:dep` or `.await` has made or used last.",
    run,
    complete: nothing,
};

/// The table on the page, which every cell brings up to date.
#[derive(Default)]
pub struct Panel {
    /// What it shows; `None` while there is none.
    shown: Option<Bundle>,
}

impl Panel {
    /// Brings it up to date, if there is one.
    pub fn update(&mut self, assistant: &Assistant, out: &Publisher) {
        let Some(shown) = &mut self.shown else { return };
        let now = table(&assistant.variables());
        if *shown != now {
            out.update_display(now.clone(), &display_id(assistant));
            *shown = now;
        }
    }
}

fn run(commands: &mut Commands, call: &Call<'_>) -> Result<(), CellError> {
    if !call.arguments.is_empty() {
        return Err(error::usage(call.command, "it takes no arguments"));
    }
    let now = table(&commands.assistant.variables());
    let id = display_id(&commands.assistant);
    call.out.display(now.clone(), Some(&id));
    commands.panel.shown = Some(now);
    Ok(())
}

fn display_id(assistant: &Assistant) -> String {
    format!("warmcell-vars-{}", assistant.place.session)
}

fn table(variables: &[Variable]) -> Bundle {
    if variables.is_empty() {
        return Bundle::text("no variables yet");
    }
    let row = |variable: &Variable| {
        vec![
            variable.name.clone(),
            variable.type_name.clone(),
            variable.extent.map_or_else(String::new, size),
            variable.value.clone().unwrap_or_default(),
        ]
    };
    let table = Table {
        caption: String::new(),
        header: vec!["variable", "type", "size", "value"],
        rows: variables.iter().map(row).collect(),
    };
    table.bundle()
}

fn size(extent: Extent) -> String {
    match extent {
        Extent::Items(1) => "1 item".to_owned(),
        Extent::Items(count) => format!("{count} items"),
        Extent::Bytes(bytes) => units::bytes(bytes),
    }
}
