//! Filters that make numbers.

#![expect(
    clippy::needless_pass_by_value,
    reason = "minijinja calls with values of its own"
)]

use minijinja::{
    Environment, Error, Value,
    value::{Kwargs, ValueKind},
};

use super::super::{
    operators::whole,
    python::{type_error, type_name},
};

/// Adds the filters.
pub(super) fn add_to(environment: &mut Environment<'_>) {
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_filter("round", round);
}

/// Jinja2's `int(value, default=0, base=10)`.
fn int(
    value: Value,
    default: Option<Value>,
    base: Option<u32>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let default = match default {
        Some(default) => default,
        None => kwargs
            .get::<Option<Value>>("default")?
            .unwrap_or_else(|| Value::from(0)),
    };
    let base = match base {
        Some(base) => base,
        None => kwargs.get::<Option<u32>>("base")?.unwrap_or(10),
    };
    kwargs.assert_all_used()?;
    let parsed = match value.kind() {
        ValueKind::Bool => Some(i128::from(value.is_true())),
        ValueKind::Number if value.is_integer() => return Ok(value),
        ValueKind::Number => truncated(f64::try_from(value)?),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default().trim().replace('_', "");
            let prefix = match base {
                16 => "0x",
                8 => "0o",
                2 => "0b",
                _ => "",
            };
            let digits = text.strip_prefix(prefix).unwrap_or(&text);
            let whole = (2..=36)
                .contains(&base)
                .then(|| i128::from_str_radix(digits, base).ok())
                .flatten();
            whole.or_else(|| truncated(text.parse().ok()?))
        }
        _ => None,
    };
    Ok(parsed.map_or(default, Value::from))
}

fn truncated(number: f64) -> Option<i128> {
    number.is_finite().then(|| number.trunc() as i128)
}

/// Jinja2's `float(value, default=0.0)`.
fn float(value: Value, default: Option<f64>) -> f64 {
    let parsed = match value.kind() {
        ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        ValueKind::Number => f64::try_from(value).ok(),
        ValueKind::String => value
            .as_str()
            .and_then(|text| text.trim().replace('_', "").parse().ok()),
        _ => None,
    };
    parsed.or(default).unwrap_or(0.0)
}

/// Jinja2's `round(value, precision=0, method='common')`, half to even as Python's.
fn round(
    value: Value,
    precision: Option<i32>,
    method: Option<String>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let precision = precision.or(kwargs.get("precision")?).unwrap_or(0);
    let method = method
        .or(kwargs.get("method")?)
        .unwrap_or_else(|| "common".to_owned());
    kwargs.assert_all_used()?;
    let is_number = matches!(value.kind(), ValueKind::Number | ValueKind::Bool);
    if !is_number {
        return Err(type_error(format!(
            "type {} doesn't define __round__ method",
            type_name(&value)
        )));
    }
    let is_whole = value.kind() == ValueKind::Bool || value.is_integer();
    let number = if is_whole {
        whole(&value)? as f64
    } else {
        f64::try_from(value)?
    };
    let scale = 10f64.powi(precision.clamp(-300, 300));
    let rounded = match method.as_str() {
        // Python rounds the exact decimal value, which Rust's formatting does too.
        "common" if precision >= 0 => format!("{number:.*}", precision.min(300) as usize)
            .parse()
            .unwrap_or(number),
        "common" => (number * scale).round_ties_even() / scale,
        "ceil" => (number * scale).ceil() / scale,
        "floor" => (number * scale).floor() / scale,
        _ => return Err(type_error("method must be common, ceil or floor")),
    };
    // Python's `round` of an integer stays one.
    if is_whole && method == "common" {
        return Ok(Value::from(rounded as i128));
    }
    Ok(Value::from(rounded))
}
