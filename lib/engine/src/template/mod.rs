//! Chat templates: Jinja by `minijinja`, brought to what transformers' environment does
//! (`utils/chat_template_utils.py`): Jinja2's immutable sandbox with `trim_blocks`, `lstrip_blocks`, loop
//! controls and the `generation` tag. Which template and which variables, the tokenizer decides.
//!
//! What still differs from Jinja2 is listed in `tests/integration/jinja.rs`.

mod checks;
mod compile;
mod depth;
mod errors;
mod filters;
mod format;
mod globals;
mod json;
mod markup;
mod methods;
mod operators;
mod parameters;
mod python;
mod scopes;
mod tags;
mod templates;
mod values;

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Output, State, Value, machinery,
    value::{Kwargs, Serde},
};
use serde_json::Map;
use wire::Failure;

pub use self::templates::Templates;

/// Steps a template may take: hundreds of times what a long conversation needs. minijinja also counts
/// bytes against it, 64 a step.
const FUEL: u64 = 4_000_000;
/// Bytes that a template may write.
const MOST_OUTPUT: usize = 64_000_000;
/// How long a template may run. Steps of equal count differ in what they cost.
const MOST_TIME: Duration = Duration::from_millis(1500);
/// Calls within calls, as minijinja counts them: four a macro.
const RECURSION: usize = 200;

/// What a template made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// Byte ranges in it that `{% generation %}` blocks wrote.
    pub generation: Vec<Range<usize>>,
}

/// Renders a template with these variables. Fails on a template that does not parse, that refuses its
/// input by `raise_exception`, or that takes too many steps, too long or too much memory.
pub fn render(source: &str, context: Map<String, serde_json::Value>) -> Result<String, Failure> {
    run(source, context, None)
}

/// As [`render`], and says what the assistant wrote, by the template's own `{% generation %}` marks.
pub fn render_with_generation(
    source: &str,
    context: Map<String, serde_json::Value>,
) -> Result<Rendered, Failure> {
    let mark = unused_character(source, &context);
    let marked = run(source, context, Some(mark))?;
    let mut rendered = Rendered::default();
    for (number, part) in marked.split(mark).enumerate() {
        let start = rendered.text.len();
        rendered.text.push_str(part);
        // Blocks do not nest in practice; of nested ones the inner text counts as the outer's.
        if number % 2 == 1 {
            rendered.generation.push(start..rendered.text.len());
        }
    }
    Ok(rendered)
}

/// Whether a template marks what the assistant writes.
pub fn marks_generation(source: &str) -> bool {
    tags::mark_generation(source)
}

/// A private character that neither the template nor its input has.
fn unused_character(source: &str, context: &Map<String, serde_json::Value>) -> char {
    let context = serde_json::Value::Object(context.clone()).to_string();
    let is_used = |mark: &char| source.contains(*mark) || context.contains(*mark);
    ('\u{f_0000}'..'\u{f_fffd}')
        .find(|mark| !is_used(mark))
        .unwrap_or('\u{f_fffd}')
}

fn run(
    source: &str,
    context: Map<String, serde_json::Value>,
    mark: Option<char>,
) -> Result<String, Failure> {
    let (spelled, shown) = compile::normalise(source);
    let origin = |at| spelled.origin(at);
    let failure = |error: &Error| errors::failure(error, &shown, &origin);
    let program = compile::compile(&spelled.text).map_err(|error| failure(&error))?;
    let environment = environment(mark);
    let mut text = String::new();
    let mut output = machinery::make_string_output(&mut text);
    let context = Value::from(Serde(context));
    let (main, blocks) = (&program.main, &program.blocks);
    machinery::eval(
        &environment,
        main,
        context,
        blocks,
        &mut output,
        AutoEscape::None,
    )
    .map_err(|error| failure(&error))?;
    drop(output);
    Ok(text)
}

fn environment<'a>(mark: Option<char>) -> Environment<'a> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION);
    environment.set_unknown_method_callback(methods::call);
    let deadline = Instant::now() + MOST_TIME;
    let written = std::sync::atomic::AtomicUsize::new(0);
    environment.set_formatter(move |out: &mut Output, state: &mut State, value: &Value| {
        let text = python::str(value)?;
        let total =
            written.fetch_add(text.len(), std::sync::atomic::Ordering::Relaxed) + text.len();
        if total > MOST_OUTPUT || Instant::now() > deadline {
            return Err(Error::from(ErrorKind::OutOfFuel));
        }
        if matches!(state.auto_escape(), AutoEscape::None) {
            return out.write_str(&text).map_err(Error::from);
        }
        match value.as_str() {
            Some(_) => minijinja::escape_formatter(out, state, value),
            None => minijinja::escape_formatter(out, state, &Value::from(text.into_owned())),
        }
    });
    operators::add_to(&mut environment);
    values::add_to(&mut environment);
    // Not of Jinja2, and a dictionary that it makes holds those that it is made of.
    environment.remove_filter("chain");
    filters::add_to(&mut environment);
    checks::add_to(&mut environment);
    parameters::add_to(&mut environment);
    globals::add_to(&mut environment);
    environment.add_function("raise_exception", errors::raise);
    environment.add_function(tags::FUNCTION, move |state: &mut State, kwargs: Kwargs| {
        let caller: Value = kwargs.get("caller")?;
        let text = caller.call(state, &[])?;
        match mark {
            Some(mark) => Ok::<_, Error>(Value::from(format!("{mark}{text}{mark}"))),
            None => Ok(text),
        }
    });
    environment
}
