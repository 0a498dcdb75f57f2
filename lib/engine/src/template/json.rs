//! `tojson`: Python's `json.dumps` without HTML escapes, as transformers' environment has it
//! (`utils/chat_template_utils.py`).

#![expect(
    clippy::needless_pass_by_value,
    reason = "minijinja calls with values of its own"
)]

use std::fmt::Write as _;

use minijinja::{
    Error, State, Value,
    value::{Kwargs, Rest, ValueKind},
};

use super::python::{View, WRITTEN, float, too_large, type_error, type_name};

/// `json.dumps(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`; the arguments
/// may also be given by place, in this order.
pub fn tojson(
    state: &State,
    value: Value,
    places: Rest<Value>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let argument = |at: usize, name: &str| -> Result<Option<Value>, Error> {
        let given = match places.get(at) {
            Some(value) => Some(value.clone()),
            None => kwargs.get(name)?,
        };
        Ok(given.filter(|value| !value.is_none() && !value.is_undefined()))
    };
    let indent = argument(1, "indent")?.map(|value| match value.as_str() {
        Some(text) => text.to_owned(),
        None => " ".repeat(usize::try_from(value).unwrap_or(0).min(1000)),
    });
    let separators = argument(2, "separators")?;
    let separators: Vec<String> = match separators {
        Some(pair) => pair
            .try_iter()?
            .map(|text| text.as_str().unwrap_or_default().to_owned())
            .collect(),
        // Python leaves the blank after a comma out where lines are broken.
        None => vec![
            if indent.is_some() { "," } else { ", " }.to_owned(),
            ": ".to_owned(),
        ],
    };
    let [comma, colon] = <[String; 2]>::try_from(separators)
        .map_err(|_| type_error("`separators` takes two texts"))?;
    let writer = Writer {
        ascii: argument(0, "ensure_ascii")?.is_some_and(|value| value.is_true()),
        sort_keys: argument(3, "sort_keys")?.is_some_and(|value| value.is_true()),
        indent,
        comma,
        colon,
    };
    kwargs.assert_all_used()?;
    let mut out = String::new();
    writer.write(&value, 0, &mut out)?;
    state.consume_fuel(out.len() as u64 / 4)?;
    Ok(Value::from(out))
}

struct Writer {
    ascii: bool,
    sort_keys: bool,
    indent: Option<String>,
    comma: String,
    colon: String,
}

impl Writer {
    fn write(&self, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
        if out.len() > WRITTEN {
            return Err(too_large("a value"));
        }
        match value.kind() {
            ValueKind::String => self.text(value.as_str().unwrap_or_default(), out),
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number if value.is_integer() => out.push_str(&value.to_string()),
            ValueKind::Number => out.push_str(&number(f64::try_from(value.clone())?)),
            ValueKind::Seq | ValueKind::Iterable
                if value.downcast_object_ref::<View>().is_none() =>
            {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.items(('[', ']'), items, depth, out, |item, out| {
                    self.write(&item, depth + 1, out)
                })?;
            }
            ValueKind::Map => {
                let keys = value.try_iter()?;
                let mut fields = keys
                    .map(|key| Ok((key_text(&key)?, value.get_item(&key)?)))
                    .collect::<Result<Vec<_>, Error>>()?;
                if self.sort_keys {
                    fields.sort_by(|a, b| a.0.cmp(&b.0));
                }
                self.items(('{', '}'), fields, depth, out, |(key, value), out| {
                    self.text(&key, out);
                    out.push_str(&self.colon);
                    self.write(&value, depth + 1, out)
                })?;
            }
            _ => {
                let message = format!(
                    "Object of type {} is not JSON serializable",
                    type_name(value)
                );
                return Err(type_error(message));
            }
        }
        Ok(())
    }

    fn items<T>(
        &self,
        (open, close): (char, char),
        items: Vec<T>,
        depth: usize,
        out: &mut String,
        mut write: impl FnMut(T, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let is_empty = items.is_empty();
        out.push(open);
        for (number, item) in items.into_iter().enumerate() {
            if number > 0 {
                out.push_str(&self.comma);
            }
            self.line(depth + 1, out);
            write(item, out)?;
        }
        if !is_empty {
            self.line(depth, out);
        }
        out.push(close);
        Ok(())
    }

    fn line(&self, depth: usize, out: &mut String) {
        if let Some(indent) = &self.indent {
            out.push('\n');
            out.push_str(&indent.repeat(depth));
        }
    }

    fn text(&self, text: &str, out: &mut String) {
        let quoted = serde_json::Value::from(text).to_string();
        if !self.ascii {
            out.push_str(&quoted);
            return;
        }
        for character in quoted.chars() {
            if character.is_ascii() && character != '\u{7f}' {
                out.push(character);
            } else {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    write!(out, "\\u{unit:04x}").expect("writing to a string does not fail");
                }
            }
        }
    }
}

/// What `json.dumps` writes for a float.
fn number(value: f64) -> String {
    match value {
        _ if value.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "Infinity".to_owned(),
        f64::NEG_INFINITY => "-Infinity".to_owned(),
        _ => float(value),
    }
}

/// The text of a key: numbers, truth values and `None` become texts.
fn key_text(key: &Value) -> Result<String, Error> {
    match key.kind() {
        ValueKind::String => Ok(key.as_str().unwrap_or_default().to_owned()),
        ValueKind::None => Ok("null".to_owned()),
        ValueKind::Bool => Ok(key.is_true().to_string()),
        ValueKind::Number if key.is_integer() => Ok(key.to_string()),
        ValueKind::Number => Ok(number(f64::try_from(key.clone())?)),
        _ => Err(type_error(format!(
            "keys must be str, int, float, bool or None, not {}",
            type_name(key)
        ))),
    }
}
