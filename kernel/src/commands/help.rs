//! `%help`, `?name` and `name?`: what the commands do, and the documentation of anything in Rust.

use std::{fmt::Write, time::Duration};

use display::{Table, html};
use jupyter::{CellError, Publisher};
use wire::mime::Bundle;

use super::{
    Call, Command, Commands, Form, Patience, TABLE, elsewhere, error, find, language::say, nearest,
};
use crate::evaluate::prelude_names;

pub(super) const COMMAND: Command = Command {
    name: "help",
    form: Form::Line,
    arguments: "[NAME]",
    summary: "lists the commands, or explains one",
    details: "`%NAME?` and `?%NAME` explain a command too. `?name` and `name?` show the documentation \
of anything in Rust: a type, a function, a macro, a variable.

Commands stand at the head of a cell, one a line, and run in order before the Rust code below them. \
`%%NAME` takes the rest of the cell. `!COMMAND` is the shell's, like `%%bash`; a line such as `!ready` \
is Rust's negation where the notebook knows the name, and `! ready` is always the shell.

Lines that begin with a colon are the compiler's: `:dep serde = \"1\"` adds a crate, `:opt 2` \
optimises, `:help` lists them.",
    run,
    complete: |_, before| match before {
        [] => TABLE.iter().map(|command| command.name.to_owned()).collect(),
        _ => Vec::new(),
    },
};

/// How long `?name` waits for the analysis of Rust.
const PATIENCE: Patience = Patience {
    begin: Duration::from_mins(1),
    answer: Duration::from_mins(1),
};

fn run(_: &mut Commands, call: &Call<'_>) -> Result<(), CellError> {
    if call.arguments.is_empty() {
        call.out.display(list(), None);
        return Ok(());
    }
    let name = call.arguments.trim_start_matches('%');
    call.out.display(details(known(name)?), None);
    Ok(())
}

fn known(name: &str) -> Result<&'static Command, CellError> {
    find(name).ok_or_else(|| {
        let hint = elsewhere::hint(name).unwrap_or_else(|| {
            nearest(name).map_or_else(
                || "`%help` lists all commands".to_owned(),
                |command| format!("did you mean `%help {}`?", command.name),
            )
        });
        error::failed(
            "UnknownCommand",
            format!("there is no command `%{name}`"),
            hint,
        )
    })
}

/// `?name` as a cell: a command's own words, or what the analyser knows of a name.
pub fn explain(commands: &mut Commands, name: &str, out: &Publisher) -> Result<(), CellError> {
    let command = name.trim_start_matches('%');
    let is_rust = commands.knows(command) || prelude_names().any(|known| known == command);
    if name.starts_with('%') || find(command).is_some() && !is_rust {
        out.display(details(known(command)?), None);
        return Ok(());
    }
    if name.is_empty() {
        out.display(list(), None);
        return Ok(());
    }
    if !commands
        .notebook
        .ready()
        .is_some_and(|notebook| notebook.is_analysed())
    {
        say(
            out,
            "the analysis of Rust is still coming up; the answer follows",
        );
    }
    let interrupter = std::sync::Arc::clone(&commands.interrupter);
    commands.notebook.wait(&|| interrupter.is_interrupted())?;
    let end = name.trim_end_matches('!').len();
    match (
        commands.assistant.inspect(name, end, PATIENCE),
        find(command),
    ) {
        (Some(found), command) => {
            out.display(found, None);
            if let Some(Command { name, .. }) = command {
                say(out, &format!("`{name}` is a command, too: `%help {name}`"));
            }
            Ok(())
        }
        // `?timeit` is a macro's name without its sign.
        (None, Some(command)) => {
            out.display(details(command), None);
            Ok(())
        }
        (None, None) => Err(error::failed(
            "NotFound",
            format!("nothing is known about `{name}`"),
            "write the whole path, such as `std::fs::read`, or bring it into scope with `use`",
        )),
    }
}

/// All commands with what they do.
fn list() -> Bundle {
    let rows = TABLE
        .iter()
        .map(|command| vec![command.usage(), command.summary.to_owned()])
        .chain([
            vec![
                "!COMMAND".to_owned(),
                "runs a command of the shell".to_owned(),
            ],
            vec!["?NAME, NAME?".to_owned(), "shows documentation".to_owned()],
            vec![
                ":help".to_owned(),
                "lists the compiler's own commands, such as `:dep`".to_owned(),
            ],
        ]);
    let table = Table {
        caption: "Commands; `%NAME?` says more about one".to_owned(),
        header: vec!["command", "what it does"],
        rows: rows.collect(),
    };
    table.of_prose()
}

/// Everything about one command.
pub fn details(command: &Command) -> Bundle {
    let usage = command.usage();
    let text = format!("{usage}\n{}\n\n{}", command.summary, command.details);
    let mut html = format!(
        "<p><code>{}</code><br>{}</p>",
        html::escape(&usage),
        html::prose(command.summary)
    );
    for paragraph in command.details.split("\n\n") {
        if paragraph.starts_with("    ") {
            html.push_str(&html::pre(paragraph));
        } else {
            let _ = write!(html, "<p>{}</p>", html::prose(paragraph));
        }
    }
    Bundle::text(text).with("text/html", html)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Backticks stood beside code.
    #[test]
    fn what_is_code_in_a_help_is_code_on_the_page() {
        for bundle in TABLE.iter().map(details).chain([list()]) {
            let html = bundle.get("text/html").expect("has HTML");
            assert!(!html.contains('`'), "{html}");
            assert!(!html.contains("<pre>"), "{html}");
            assert!(bundle.get("text/plain").is_some());
        }
        let html = details(&COMMAND);
        let html = html.get("text/html").expect("has HTML");
        assert!(html.contains("<code>!COMMAND</code>"), "{html}");
    }
}
