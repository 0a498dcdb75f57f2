//! `%%chat`: the cell is what the user says, and a model answers. The conversation stays for the next
//! one, and with the model its keys and values, so that only what is new is read.

use std::collections::HashMap;

use jupyter::{CellError, Publisher};
use wire::{
    generate::{FinishReason, GenerationConfig, Prompt, StreamOptions},
    host::Request,
    model::{EMBEDDED_REPO, ModelSpec},
    text::ChatMessage,
};

use super::{
    Assistant, Call, Command, Commands, Form, error, host, in_memory, language::say, live,
    model_options,
};

pub(super) const COMMAND: Command = Command {
    name: "chat",
    form: Form::Cell,
    arguments: "[MODEL] [OPTIONS]",
    summary: "says the cell to a model, whose answer comes as it is written",
    details: "The conversation goes on from cell to cell, one for each model; without a model it is the \
last one's, at first the embedded one's. A name without options is the model as the notebook loaded it, else as \
it is in memory. Stop ends an answer and keeps it; an interrupt takes the question back. Options: `--new` begins \
anew, `--system TEXT` (to the end of the line) begins anew with instructions, `--max N` most tokens of an answer (512), and those of `%load`.

    %%chat
    What is a tokenizer?",
    run,
    complete,
};

/// Most tokens of an answer, unless told otherwise.
const MOST_TOKENS: u32 = 512;

const OWN: [&str; 3] = ["--new", "--system", "--max"];

fn complete(assistant: &Assistant, before: &[&str]) -> Vec<String> {
    if before.contains(&"--system") || before.last() == Some(&"--max") {
        return Vec::new();
    }
    let fresh = OWN.iter().filter(|option| !before.contains(option));
    let mut words: Vec<String> = fresh.map(|&option| option.to_owned()).collect();
    match before {
        [] => words.splice(0..0, host::names(assistant)).for_each(drop),
        // A model goes before its options.
        [first, ..] if !first.starts_with('-') => words.extend(model_options::complete(before)),
        _ => {}
    }
    words
}

/// The conversations of a notebook.
#[derive(Default)]
pub(super) struct Chats {
    /// By the model's name.
    messages: HashMap<String, Vec<ChatMessage>>,
    /// What the last one was with.
    last: Option<String>,
}

/// What the command's line says.
#[derive(Debug, PartialEq)]
struct Asked {
    /// The model, when one is named.
    spec: Option<ModelSpec>,
    /// Whether options stand behind it.
    has_options: bool,
    is_new: bool,
    system: Option<String>,
    most_tokens: u32,
}

fn run(commands: &mut Commands, call: &Call<'_>) -> Result<(), CellError> {
    let mut asked =
        read(call.arguments).map_err(|complaint| error::usage(call.command, complaint))?;
    if let Some(spec) = &mut asked.spec {
        spec.source = commands.located(spec.source.clone());
    }
    let question = call.body.unwrap_or_default().trim();
    if question.is_empty() {
        return Err(error::usage(call.command, "the cell says nothing"));
    }
    let spec = model(commands, &asked, call.out)?;
    let name = spec.source.repo.clone();
    let mut messages = if asked.is_new || asked.system.is_some() {
        Vec::new()
    } else {
        let before = commands.chats.messages.get(&name);
        before.cloned().unwrap_or_default()
    };
    if let Some(system) = asked.system {
        messages.push(ChatMessage::new("system", system));
    }
    messages.push(ChatMessage::new("user", question));
    let request = Request::Generate {
        model: spec.clone(),
        prompts: vec![Prompt::Chat(messages.clone())],
        config: GenerationConfig {
            max_new_tokens: Some(asked.most_tokens),
            ..GenerationConfig::default()
        },
        generation_config: None,
        stream: Some(StreamOptions {
            skip_prompt: true,
            skip_special_tokens: true,
            clean_up_tokenization_spaces: None,
        }),
        assistant: None,
    };
    let written = live::write(commands, request, &name, call.out)?;
    if written.generated.finish_reason == FinishReason::Cancelled && !written.is_stopped {
        return Err(error::interrupted("the answer"));
    }
    if written.generated.finish_reason == FinishReason::Length {
        let line = format!(
            "the answer reached {} tokens; `--max N` allows more",
            asked.most_tokens
        );
        say(call.out, &line);
    }
    messages.push(ChatMessage::new("assistant", written.generated.text.trim()));
    let chats = &mut commands.chats;
    chats.last = Some(name.clone());
    chats.messages.insert(name, messages);
    commands.named.note(spec);
    Ok(())
}

/// Who is to answer.
fn model(commands: &Commands, asked: &Asked, out: &Publisher) -> Result<ModelSpec, CellError> {
    let last = || {
        let last = commands.chats.last.as_deref();
        model_options::plain(last.unwrap_or(EMBEDDED_REPO))
    };
    let spec = asked.spec.clone().unwrap_or_else(last);
    if asked.has_options {
        return Ok(spec);
    }
    in_memory::named(commands, spec, out)
}

fn read(arguments: &str) -> Result<Asked, String> {
    let mut asked = Asked {
        spec: None,
        has_options: false,
        is_new: false,
        system: None,
        most_tokens: MOST_TOKENS,
    };
    let mut arguments = arguments;
    if let Some((before, system)) = arguments.split_once("--system") {
        let system = system.trim().trim_matches('"');
        if system.is_empty() {
            return Err("`--system` needs a text".to_owned());
        }
        asked.system = Some(system.to_owned());
        arguments = before;
    }
    let mut rest = Vec::new();
    let mut words = arguments.split_whitespace();
    while let Some(word) = words.next() {
        match word {
            "--new" => asked.is_new = true,
            "--max" => {
                let number = words.next().and_then(|number| number.parse().ok());
                asked.most_tokens = number
                    .filter(|number| *number > 0)
                    .ok_or("`--max` needs a number of tokens")?;
            }
            other => rest.push(other),
        }
    }
    if rest.first().is_some_and(|first| first.starts_with('-')) {
        return Err(format!("`{}` stands behind a model", rest[0]));
    }
    if !rest.is_empty() {
        asked.spec = Some(model_options::spec(&rest.join(" "))?);
        asked.has_options = rest.len() > 1;
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_read() {
        let asked = read("a/b --new --max 20 --dtype bf16").expect("is right");
        assert!(asked.is_new && asked.most_tokens == 20);
        assert_eq!(asked.spec.expect("is named").source.repo, "a/b");
        assert!(asked.has_options && !read("a/b --max 20").expect("is right").has_options);
        let asked = read("--system Answer in one word.").expect("is right");
        assert_eq!(asked.system.as_deref(), Some("Answer in one word."));
        assert_eq!(asked.spec, None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (arguments, complaint) in [
            ("--max", "`--max` needs a number of tokens"),
            ("--max 0", "`--max` needs a number of tokens"),
            ("--system", "`--system` needs a text"),
            ("--dtype bf16", "`--dtype` stands behind a model"),
            ("a/b fast", "`fast` is no option"),
        ] {
            assert_eq!(read(arguments), Err(complaint.to_owned()), "{arguments}");
        }
    }
}
