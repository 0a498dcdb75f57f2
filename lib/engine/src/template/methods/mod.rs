//! Methods of Python's `str`, `list` and `dict` that do not change them; the sandbox refuses the others.
//! Those of `str` are in `strings.rs`, by what they do in the files beside it.

mod arguments;
mod cases;
mod cutting;
mod filling;
mod searching;
mod strings;

use minijinja::{
    Error, ErrorKind, State, Value,
    value::{Tuple, ValueKind},
};

use self::{arguments::Arguments, strings::string};
pub use self::{
    cases::{capitalize, is_space},
    cutting::split_lines,
    searching::replace,
};
use super::{
    markup,
    operators::is_plain_map,
    python::{View, ViewKind, type_error, type_name},
};

/// Calls a method that minijinja does not know.
pub fn call(_state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let unknown = || {
        let message = format!("'{} object' has no attribute '{name}'", type_name(value));
        Error::new(ErrorKind::UnknownMethod, message)
    };
    let escaped = value
        .is_safe()
        .then(|| markup::arguments(name, args))
        .transpose()?;
    let args = Arguments::new(escaped.as_deref().unwrap_or(args))?;
    match value.kind() {
        ValueKind::String => match value.as_str() {
            Some(text) => string(text, name, &args)?,
            None => None,
        },
        ValueKind::Map if is_plain_map(value) => dict(value, name, &args)?,
        ValueKind::Seq | ValueKind::Iterable => list(value, name, &args)?,
        _ => None,
    }
    .map(|result| markup::like(value, result))
    .ok_or_else(unknown)
}

fn dict(value: &Value, name: &str, args: &Arguments<'_>) -> Result<Option<Value>, Error> {
    let view = |kind: ViewKind, items: Vec<Value>| Value::from_object(View { kind, items });
    let pairs = || -> Result<Vec<(Value, Value)>, Error> {
        value
            .try_iter()?
            .map(|key| Ok((key.clone(), value.get_item(&key)?)))
            .collect()
    };
    Ok(Some(match name {
        "keys" => view(ViewKind::Keys, value.try_iter()?.collect()),
        "values" => view(
            ViewKind::Values,
            pairs()?.into_iter().map(|(_, item)| item).collect(),
        ),
        "items" => {
            let pair = |(key, item)| Value::from(Tuple::from([key, item]));
            view(ViewKind::Items, pairs()?.into_iter().map(pair).collect())
        }
        "get" => {
            let key = args
                .get(0, "key")
                .ok_or_else(|| type_error("get expected at least 1 argument, got 0"))?;
            let found = value
                .get_item(&key)
                .ok()
                .filter(|found| !found.is_undefined());
            found.unwrap_or_else(|| args.get(1, "default").unwrap_or(Value::from(())))
        }
        "copy" => value.clone(),
        _ => return Ok(None),
    }))
}

fn list(value: &Value, name: &str, args: &Arguments<'_>) -> Result<Option<Value>, Error> {
    Ok(Some(match name {
        "count" | "index" => {
            let wanted = args.get(0, "").unwrap_or_default();
            if name == "count" {
                Value::from(value.try_iter()?.filter(|item| *item == wanted).count())
            } else {
                let at = value.try_iter()?.position(|item| item == wanted);
                Value::from(at.ok_or_else(|| type_error("the value is not in the list"))?)
            }
        }
        "copy" => value.clone(),
        _ => return Ok(None),
    }))
}
