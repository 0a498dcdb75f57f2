//! Filters that differ from minijinja's: `tojson` is Python's `json.dumps` without HTML escapes, and
//! `indent` keeps a last line break, as jinja2's does.

use std::fmt::Write as _;

use minijinja::{
    Error, ErrorKind, Value,
    value::{Kwargs, Rest},
};

/// `json.dumps(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
#[expect(
    clippy::needless_pass_by_value,
    reason = "minijinja hands arguments over by value"
)]
pub fn tojson(value: Value, kwargs: Kwargs) -> Result<Value, Error> {
    let separators: Option<Vec<String>> = kwargs.get("separators")?;
    let indent: Option<Value> = kwargs.get("indent")?;
    let indent = indent.filter(|value| !value.is_none() && !value.is_undefined());
    let indent = indent.map(|value| match value.as_str() {
        Some(text) => text.to_owned(),
        None => " ".repeat(usize::try_from(value).unwrap_or(0)),
    });
    // Python leaves the blank after a comma out where lines are broken.
    let comma = if indent.is_some() { "," } else { ", " };
    let (comma, colon) = match separators.as_deref() {
        Some([comma, colon]) => (comma.clone(), colon.clone()),
        _ => (comma.to_owned(), ": ".to_owned()),
    };
    let writer = Writer {
        ascii: kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sort_keys: kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        indent,
        comma,
        colon,
    };
    kwargs.assert_all_used()?;
    let value = serde_json::to_value(&value)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    let mut out = String::new();
    writer.write(&value, 0, &mut out);
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
    fn write(&self, value: &serde_json::Value, depth: usize, out: &mut String) {
        match value {
            serde_json::Value::Number(number) if number.is_f64() => {
                out.push_str(&python_float(number.as_f64().unwrap_or_default()));
            }
            serde_json::Value::String(text) => self.text(text, out),
            serde_json::Value::Array(items) => {
                self.items(('[', ']'), items.iter(), depth, out, |item, out| {
                    self.write(item, depth + 1, out);
                });
            }
            serde_json::Value::Object(fields) => {
                let mut fields: Vec<_> = fields.iter().collect();
                if self.sort_keys {
                    fields.sort_by_key(|(key, _)| key.as_str());
                }
                self.items(
                    ('{', '}'),
                    fields.into_iter(),
                    depth,
                    out,
                    |(key, value), out| {
                        self.text(key, out);
                        out.push_str(&self.colon);
                        self.write(value, depth + 1, out);
                    },
                );
            }
            plain => out.push_str(&plain.to_string()),
        }
    }

    fn items<T>(
        &self,
        (open, close): (char, char),
        items: impl ExactSizeIterator<Item = T>,
        depth: usize,
        out: &mut String,
        mut write: impl FnMut(T, &mut String),
    ) {
        let empty = items.len() == 0;
        out.push(open);
        for (number, item) in items.enumerate() {
            if number > 0 {
                out.push_str(&self.comma);
            }
            self.line(depth + 1, out);
            write(item, out);
        }
        if !empty {
            self.line(depth, out);
        }
        out.push(close);
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
            if character.is_ascii() {
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

/// `repr` of a Python float: an exponent below 1e-4 and from 1e16 on, a point otherwise.
fn python_float(number: f64) -> String {
    let size = number.abs();
    if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{number:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, power) = match exponent.strip_prefix('-') {
            Some(power) => ('-', power),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{power:0>2}");
    }
    let text = number.to_string();
    if text.contains('.') {
        text
    } else {
        text + ".0"
    }
}

/// jinja2's `indent(s, width=4, first=False, blank=False)`.
#[expect(
    clippy::needless_pass_by_value,
    reason = "minijinja hands arguments over by value"
)]
pub fn indent(text: String, arguments: Rest<Value>, kwargs: Kwargs) -> Result<String, Error> {
    let argument = |at: usize, name: &str| -> Result<Option<Value>, Error> {
        match arguments.get(at) {
            Some(value) => Ok(Some(value.clone())),
            None => kwargs.get(name),
        }
    };
    let width = match argument(0, "width")? {
        None => "    ".to_owned(),
        Some(value) => match value.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(usize::try_from(value)?),
        },
    };
    let first = argument(1, "first")?.is_some_and(|value| value.is_true());
    let blank = argument(2, "blank")?.is_some_and(|value| value.is_true());
    kwargs.assert_all_used()?;
    let mut out = String::new();
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            out.push('\n');
        }
        let line = line.strip_suffix('\r').unwrap_or(line);
        let wanted = if number == 0 {
            first
        } else {
            blank || !line.is_empty()
        };
        if wanted {
            out.push_str(&width);
        }
        out.push_str(line);
    }
    Ok(out)
}
