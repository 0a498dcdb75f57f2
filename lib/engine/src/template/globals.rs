//! Functions that a template has beside its variables, as Jinja2 3.1.6 and transformers have them:
//! `dict`, `namespace`, `cycler`, `joiner` and `strftime_now`.

#![expect(
    clippy::needless_pass_by_value,
    reason = "minijinja calls with values of its own"
)]

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use minijinja::{
    Environment, Error, ErrorKind, State, Value, functions,
    value::{Kwargs, Object, ObjectRepr, Rest, ValueKind},
};

use super::{
    parameters::bind,
    python::{str, type_error},
};

/// Adds the functions.
pub fn add_to(environment: &mut Environment<'_>) {
    environment.add_function("dict", dict);
    environment.add_function(
        "namespace",
        |state: &mut State, value: Option<Value>, named: Kwargs| {
            functions::namespace(Some(dict(state, value, named)?.into()))
        },
    );
    environment.add_function("cycler", |items: Rest<Value>| match &items[..] {
        [] => Err(type_error("at least one item has to be provided")),
        items => Ok(Value::from_object(Cycler {
            items: items.to_vec(),
            at: AtomicUsize::new(0),
        })),
    });
    environment.add_function("joiner", minijinja_contrib::globals::joiner);
    environment.add_function("strftime_now", strftime_now);
}

/// Python's `dict`: of a dictionary or of pairs, and of further named values.
fn dict(state: &mut State, value: Option<Value>, named: Kwargs) -> Result<Value, Error> {
    let Some(value) = value else {
        return functions::dict(None, named);
    };
    if matches!(value.kind(), ValueKind::Map | ValueKind::Undefined) {
        return functions::dict(Some(value), named);
    }
    let mut pairs = Vec::new();
    // The filter counts items as steps.
    for (at, pair) in state
        .apply_filter("list", &[value])?
        .try_iter()?
        .enumerate()
    {
        let items: Vec<Value> = pair.try_iter()?.collect();
        let pair = <[Value; 2]>::try_from(items).map_err(|items| {
            type_error(format!(
                "dictionary update sequence element #{at} has length {}; 2 is required",
                items.len()
            ))
        })?;
        pairs.push(<(Value, Value)>::from(pair));
    }
    functions::dict(Some(Value::from_pairs(pairs)), named)
}

/// Gives its items in turns.
#[derive(Debug)]
struct Cycler {
    items: Vec<Value>,
    at: AtomicUsize,
}

impl Cycler {
    fn current(&self) -> Value {
        self.items[self.at.load(Ordering::Relaxed)].clone()
    }
}

impl Object for Cycler {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        (key.as_str() == Some("current")).then(|| self.current())
    }

    fn call_method(
        self: &Arc<Self>,
        _state: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        let () = minijinja::value::from_args(args)?;
        match method {
            "next" => {
                let current = self.current();
                let next = (self.at.load(Ordering::Relaxed) + 1) % self.items.len();
                self.at.store(next, Ordering::Relaxed);
                Ok(current)
            }
            "reset" => {
                self.at.store(0, Ordering::Relaxed);
                Ok(Value::from(()))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}

/// The local time, formatted as Python's `strftime` does.
fn strftime_now(given: Rest<Value>, named: Kwargs) -> Result<String, Error> {
    use chrono::format::{Item, StrftimeItems};
    let [format] = bind(["format"], &given, &named)?;
    let format =
        format.ok_or_else(|| type_error("missing 1 required positional argument: 'format'"))?;
    let format = str(&format)?;
    let spelled = as_chrono(&format);
    let items: Vec<Item> = StrftimeItems::new(&spelled).collect();
    // chrono panics when it is to display a format it does not know.
    if items.contains(&Item::Error) {
        return Err(type_error(format!(
            "`strftime_now` does not know the format `{format}`"
        )));
    }
    Ok(chrono::Local::now()
        .format_with_items(items.iter())
        .to_string())
}

/// A format of Python for chrono: microseconds, and nothing for the zone that Python's time does not know.
fn as_chrono(format: &str) -> String {
    let mut out = String::with_capacity(format.len());
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (spelled, length) = match rest.as_bytes() {
            [b'%', b'f', ..] => ("%6f", 2),
            [b'%', b'z' | b'Z', ..] => ("", 2),
            [b'%', b':', b'z', ..] => ("", 3),
            [b'%', b'%', ..] => ("%%", 2),
            _ => ("%", 1),
        };
        out.push_str(spelled);
        rest = &rest[length..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_of_python_have_its_digits_and_no_zone() {
        assert_eq!(
            as_chrono("%H:%M:%S.%f%z %Z%:z%%f %-d%"),
            "%H:%M:%S.%6f %%f %-d%"
        );
    }
}
