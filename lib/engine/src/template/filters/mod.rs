//! Filters whose values differ from minijinja's or that it lacks, as Jinja2 3.1.6 has them.

mod numbers;
mod texts;

use minijinja::{Environment, Error, Value, value::ValueKind};

use super::{
    json,
    python::{type_error, type_name},
};

/// Adds the filters.
pub fn add_to(environment: &mut Environment<'_>) {
    environment.add_filter("tojson", json::tojson);
    environment.add_filter("length", length);
    environment.add_filter("count", length);
    texts::add_to(environment);
    numbers::add_to(environment);
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "minijinja calls with values of its own"
)]
fn length(value: Value) -> Result<usize, Error> {
    let has_length = matches!(
        value.kind(),
        ValueKind::Seq
            | ValueKind::Iterable
            | ValueKind::Map
            | ValueKind::String
            | ValueKind::Undefined
    );
    match value.len() {
        _ if !has_length => Err(type_error(format!(
            "object of type '{}' has no len()",
            type_name(&value)
        ))),
        Some(length) => Ok(length),
        None if value.is_undefined() => Ok(0),
        None => Ok(value.try_iter()?.count()),
    }
}
