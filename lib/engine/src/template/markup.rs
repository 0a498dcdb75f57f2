//! Texts that are marked as safe (`|safe`, `|escape`): in Python they are `Markup`, a text whose operators
//! and methods escape what other texts are put into it, and give such a text again.

use minijinja::{
    Error, Value,
    value::{Kwargs, Tuple, ValueKind},
};

use super::{operators::iterate, python::str};

/// The operands of `left + right`, the right one first, as they come off the stack: beside a safe text
/// another is escaped.
pub fn operands(left: Value, right: Value) -> Result<Value, Error> {
    let is_text = |value: &Value| value.kind() == ValueKind::String;
    let (left, right) = if is_text(&left) && is_text(&right) && left.is_safe() != right.is_safe() {
        (escape(left)?, escape(right)?)
    } else {
        (left, right)
    };
    Ok(Value::from(Tuple::from([right, left])))
}

/// As `markupsafe` escapes.
pub fn escape(value: Value) -> Result<Value, Error> {
    if value.is_safe() {
        return Ok(value);
    }
    let text = str(&value)?;
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    Ok(Value::from_safe_string(
        text.replace('\'', "&#39;").replace('"', "&#34;"),
    ))
}

/// What is put into a safe text by `%` or `format`: all but numbers is escaped.
pub fn escaped_arguments(values: &Value) -> Result<Value, Error> {
    match values.kind() {
        ValueKind::Number | ValueKind::Bool | ValueKind::None => Ok(values.clone()),
        ValueKind::Map => {
            let pairs = values.try_iter()?.map(|key| {
                let value = escaped_arguments(&values.get_item(&key)?)?;
                Ok((key, value))
            });
            let pairs: Vec<(Value, Value)> = pairs.collect::<Result<_, Error>>()?;
            Ok(Value::from_pairs(pairs))
        }
        _ if values.is_tuple() => {
            let items: Result<Vec<Value>, Error> = values
                .try_iter()?
                .map(|item| escaped_arguments(&item))
                .collect();
            Ok(Value::from(Tuple::from(items?)))
        }
        _ => escape(values.clone()),
    }
}

/// The arguments of a method of a safe text, where what they put into it is escaped.
pub fn arguments(method: &str, given: &[Value]) -> Result<Vec<Value>, Error> {
    let mut given = given.to_vec();
    match (method, &mut given[..]) {
        ("join", [items, ..]) => {
            let escaped: Result<Vec<Value>, Error> =
                iterate(items.clone())?.try_iter()?.map(escape).collect();
            *items = Value::from(escaped?);
        }
        ("replace", [_, new, ..]) => *new = escape(new.clone())?,
        ("format", values) => {
            for value in values {
                *value = if value.is_kwargs() {
                    let named = Kwargs::try_from(value.clone())?;
                    let escaped = named.args().map(|name| {
                        let value = escaped_arguments(&named.get::<Value>(name)?)?;
                        Ok((name.to_owned(), value))
                    });
                    let escaped: Kwargs = escaped.collect::<Result<_, Error>>()?;
                    escaped.into()
                } else {
                    escaped_arguments(value)?
                };
            }
        }
        _ => {}
    }
    Ok(given)
}

/// The result of a method or filter of a text, safe where that text was.
pub fn like(text: &Value, result: Value) -> Value {
    if !text.is_safe() {
        return result;
    }
    match (result.as_str(), result.kind()) {
        (Some(text), _) => Value::from_safe_string(text.to_owned()),
        (None, ValueKind::Seq) => {
            let items = result.try_iter().into_iter().flatten();
            let items: Vec<Value> = items.map(|item| like(text, item)).collect();
            if result.is_tuple() {
                Value::from(Tuple::from(items))
            } else {
                Value::from(items)
            }
        }
        _ => result,
    }
}
