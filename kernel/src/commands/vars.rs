//! `%vars`: the variables that cells have left, in a table that follows the cells.

use std::sync::Arc;

use display::{
    RichDisplay, Table, html, units,
    widgets::{Kind, view},
};
use jupyter::{CellError, Publisher};
use serde_json::json;
use wire::{
    cell::{Extent, KernelMessage},
    mime::Bundle,
    widget::{WidgetCall, WidgetState},
};

use super::{Assistant, Call, Command, Commands, Form, Variable, error, nothing};
use crate::widgets::Widgets;

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
pub struct Panel {
    /// What it shows; `None` while there is none.
    shown: Option<Bundle>,
    widgets: Arc<Widgets>,
    /// The widget that shows it, where the page has any: a page that is loaded again follows by it.
    widget: Option<String>,
}

impl Panel {
    /// None yet.
    pub fn new(widgets: &Arc<Widgets>) -> Self {
        Self {
            shown: None,
            widgets: Arc::clone(widgets),
            widget: None,
        }
    }

    /// Brings it up to date, if there is one.
    pub fn update(&mut self, assistant: &Assistant, out: &Publisher) {
        let Some(shown) = &mut self.shown else { return };
        let now = table(&assistant.variables());
        if *shown == now {
            return;
        }
        *shown = now.clone();
        if let Some(id) = &self.widget {
            let state = WidgetState::from_iter([("value".to_owned(), html_of(&now).into())]);
            let id = id.clone();
            self.widgets.carry_out(WidgetCall::Update { id, state });
            self.widgets.flush();
        }
        out.update_display(self.bundle(now), &display_id(assistant));
    }

    fn show(&mut self, now: Bundle, id: &str, out: &Publisher) {
        self.shown = Some(now.clone());
        if self.widgets.has_front_end() {
            // The same widget in every table: each follows.
            let name = self.widget.get_or_insert_with(|| format!("{id}-table"));
            let (id, value) = (name.clone(), html_of(&now));
            let state = Kind::Html.state(json!({ "value": value }));
            let read = self.widgets.carry_out(WidgetCall::Read { id: id.clone() });
            self.widgets.carry_out(match read {
                KernelMessage::Widget(_) => WidgetCall::Update { id, state },
                _ => WidgetCall::Open { id, state },
            });
        }
        out.display(self.bundle(now), Some(id));
    }

    fn bundle(&self, now: Bundle) -> Bundle {
        match &self.widget {
            Some(id) => view(id, now),
            None => now,
        }
    }
}

fn html_of(bundle: &Bundle) -> String {
    let text = || html::escape(bundle.get("text/plain").unwrap_or_default());
    bundle.get("text/html").map_or_else(text, str::to_owned)
}

fn run(commands: &mut Commands, call: &Call<'_>) -> Result<(), CellError> {
    if !call.arguments.is_empty() {
        return Err(error::usage(call.command, "it takes no arguments"));
    }
    let now = table(&commands.assistant.variables());
    let id = display_id(&commands.assistant);
    commands.panel.show(now, &id, call.out);
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
