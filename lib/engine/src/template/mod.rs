//! Chat templates: Jinja by `minijinja`, brought to what transformers' environment does
//! (`utils/chat_template_utils.py`). Which template and which variables, the tokenizer decides.

mod filters;
mod tags;

use minijinja::{Environment, Error, ErrorKind, State, Value, syntax::SyntaxConfig, value::Serde};
use serde_json::Map;
use wire::{Failure, FailureKind};

/// Steps a template may take: thousands of times what a long conversation needs, and a few seconds
/// of work for one that never ends.
const FUEL: u64 = 20_000_000;

/// Renders a template with these variables. Fails on a template that does not parse, that refuses its
/// input by `raise_exception`, or that does not end.
pub fn render(source: &str, context: Map<String, serde_json::Value>) -> Result<String, Failure> {
    let source = tags::without_generation_tags(source);
    let environment = environment().map_err(|error| failure(&error))?;
    environment
        .template_from_str(&source)
        .and_then(|template| template.render(Value::from(Serde(context))))
        .map_err(|error| failure(&error))
}

fn environment<'a>() -> Result<Environment<'a>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()?,
    );
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(method);
    environment.add_filter("tojson", filters::tojson);
    environment.add_filter("indent", filters::indent);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    Ok(environment)
}

/// What marks a failure as the template's own decision.
const REFUSED: &str = "the template says: ";

#[expect(
    clippy::needless_pass_by_value,
    reason = "minijinja hands arguments over by value"
)]
fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(
        ErrorKind::InvalidOperation,
        format!("{REFUSED}{message}"),
    ))
}

/// The local time, formatted as Python's `strftime` does.
#[expect(
    clippy::needless_pass_by_value,
    reason = "minijinja hands arguments over by value"
)]
fn strftime_now(format: String) -> Result<String, Error> {
    use chrono::format::{Item, StrftimeItems};
    let items: Vec<Item> = StrftimeItems::new(&format).collect();
    // chrono panics when it is to display a format it does not know.
    if items.contains(&Item::Error) {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("`strftime_now` does not know the format `{format}`"),
        ));
    }
    Ok(chrono::Local::now()
        .format_with_items(items.iter())
        .to_string())
}

/// Methods of Python's types that templates call.
fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let (Some(text), [argument]) = (value.as_str(), args)
        && let Some(argument) = argument.as_str()
    {
        match name {
            "removeprefix" => return Ok(text.strip_prefix(argument).unwrap_or(text).into()),
            "removesuffix" => return Ok(text.strip_suffix(argument).unwrap_or(text).into()),
            _ => {}
        }
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)
}

fn failure(error: &Error) -> Failure {
    let failure = |message: String| Failure::new(FailureKind::Template, message);
    let detail = error.detail().unwrap_or_default();
    if let Some(message) = detail.strip_prefix(REFUSED) {
        return failure(format!(
            "the chat template refuses these messages: {message}"
        ))
        .hint("its rules are in the template's text; most ask for user and assistant in turns");
    }
    let line = error
        .line()
        .map_or(String::new(), |line| format!(" (line {line})"));
    match error.kind() {
        ErrorKind::OutOfFuel => {
            failure("the chat template does not end".to_owned()).hint("look for a loop in it")
        }
        ErrorKind::SyntaxError => {
            failure(format!("the chat template does not parse: {detail}{line}"))
        }
        kind => failure(format!("the chat template failed: {kind}: {detail}{line}"))
            .hint("compare the fields of the messages with those the template reads"),
    }
}
