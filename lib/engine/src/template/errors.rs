//! What a template's failure says: the template's line with a caret, and of which message it is where the
//! template refuses one.

#![expect(
    clippy::needless_pass_by_value,
    reason = "minijinja calls with values of its own"
)]

use minijinja::{Error, ErrorKind, State, Value};
use wire::{Failure, FailureKind};

/// What marks a failure as the template's own decision.
const REFUSED: &str = "the template says: ";
/// What follows it when the message is known: its index.
const MESSAGE: &str = "\u{0}message ";

/// The function `raise_exception`.
pub fn raise(state: &mut State, message: Value) -> Result<Value, Error> {
    let message = super::python::str(&message)?.into_owned();
    let index = message_index(state).map_or(String::new(), |index| format!("{MESSAGE}{index}"));
    Err(Error::new(
        ErrorKind::InvalidOperation,
        format!("{REFUSED}{message}{index}"),
    ))
}

/// The message that a loop of the template is at: a variable that is one of the messages. Of equal
/// messages it is the one whose index the innermost loop has, if any.
fn message_index(state: &mut State) -> Option<usize> {
    let messages: Vec<Value> = state.lookup("messages")?.try_iter().ok()?.collect();
    let names: Vec<String> = state
        .known_variables()
        .into_iter()
        .map(std::borrow::Cow::into_owned)
        .collect();
    let place = state
        .lookup("loop")
        .and_then(|turn| turn.get_attr("index0").ok());
    let place = place.and_then(|place| usize::try_from(place).ok());
    for name in names {
        let Some(value) = state.lookup(&name).filter(|value| {
            value
                .get_attr("role")
                .is_ok_and(|role| !role.is_undefined())
        }) else {
            continue;
        };
        let equal: Vec<usize> = (0..messages.len())
            .filter(|&at| messages[at] == value)
            .collect();
        if let Some(first) = equal.first() {
            return Some(
                place
                    .filter(|place| equal.contains(place))
                    .unwrap_or(*first),
            );
        }
    }
    None
}

/// The failure for an error of a template whose text this is; `origin` gives the place in it of a place in
/// the text that ran.
pub fn failure(error: &Error, source: &str, origin: &dyn Fn(usize) -> usize) -> Failure {
    let failure = |message: String| {
        Failure::new(
            FailureKind::Template,
            format!("{message}{}", place(error, source, origin)),
        )
    };
    let detail = error.detail().unwrap_or_default();
    if let Some(message) = detail.strip_prefix(REFUSED) {
        let (message, index) = message.split_once(MESSAGE).unwrap_or((message, ""));
        let which = if index.is_empty() {
            "these messages".to_owned()
        } else {
            format!("message {index}")
        };
        return failure(format!("the chat template refuses {which}: {message}")).hint(
            "its rules are in the template's text; most ask for user and assistant in turns",
        );
    }
    match error.kind() {
        ErrorKind::OutOfFuel if detail.is_empty() => {
            failure("the chat template does not end, or writes without end".to_owned())
                .hint("look for a loop in it")
        }
        ErrorKind::OutOfFuel => {
            failure(format!("the chat template takes too much memory: {detail}"))
        }
        ErrorKind::SyntaxError => failure(format!("the chat template does not parse: {detail}")),
        kind => {
            let hint = match kind {
                ErrorKind::UnknownFilter | ErrorKind::UnknownTest => {
                    "a template has the filters and tests of Jinja2, and no others"
                }
                _ => "compare the fields of the messages with those the template reads",
            };
            let detail = if detail.is_empty() {
                String::new()
            } else {
                format!(": {detail}")
            };
            failure(format!("the chat template failed: {kind}{detail}")).hint(hint)
        }
    }
}

/// The line of the template, with a caret under what failed.
fn place(error: &Error, source: &str, origin: &dyn Fn(usize) -> usize) -> String {
    let Some(number) = error.line() else {
        return String::new();
    };
    let range = error
        .range()
        .map(|range| origin(range.start)..origin(range.end))
        .filter(|range| source.is_char_boundary(range.start) && range.start < source.len());
    let (line_start, column) = if let Some(range) = &range {
        let start = source[..range.start].rfind('\n').map_or(0, |at| at + 1);
        (start, source[start..range.start].chars().count())
    } else {
        let mut breaks = source.match_indices('\n');
        let start = number.checked_sub(2).and_then(|before| breaks.nth(before));
        (start.map_or(0, |(at, _)| at + 1), 0)
    };
    let line = source[line_start..].lines().next().unwrap_or_default();
    let length = range.map_or(1, |range| {
        let end = range.end.min(line_start + line.len()).max(range.start);
        source
            .get(range.start..end)
            .map_or(1, |part| part.chars().count().max(1))
    });
    let (line, column, length) = shortened(line, column, length);
    let gutter = format!("{number}");
    let blank = " ".repeat(gutter.len());
    let caret = format!("{}{}", " ".repeat(column), "^".repeat(length));
    format!("\n{blank} |\n{gutter} | {line}\n{blank} | {caret}")
}

/// Templates often are one line of thousands of characters: what is around the place is enough.
fn shortened(line: &str, column: usize, length: usize) -> (String, usize, usize) {
    const WIDTH: usize = 100;
    let characters: Vec<char> = line.chars().collect();
    if characters.len() <= WIDTH {
        return (
            line.to_owned(),
            column,
            length.min(characters.len().saturating_sub(column).max(1)),
        );
    }
    let from = column.saturating_sub(WIDTH / 3).min(characters.len());
    let to = (from + WIDTH).min(characters.len());
    let mut text: String = characters[from..to].iter().collect();
    let mut column = column - from;
    if from > 0 {
        text.insert(0, '…');
        column += 1;
    }
    if to < characters.len() {
        text.push('…');
    }
    (text, column, length.min(WIDTH + 1 - column.min(WIDTH)))
}
