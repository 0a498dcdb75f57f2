//! Values as Python writes them: `str`, `repr`, and the names of types. What is written is bounded, since
//! a template can nest a list in itself over and over.

use std::{borrow::Cow, fmt::Write};

use minijinja::{Error, ErrorKind, Value, value::ValueKind};

/// Bytes that one text may have.
const LIMIT: usize = 32_000_000;
/// Bytes that one list or dictionary may be written as.
pub const WRITTEN: usize = 8_000_000;

/// `str(value)`.
pub fn str(value: &Value) -> Result<Cow<'_, str>, Error> {
    match value.as_str() {
        Some(text) => Ok(text.into()),
        None if value.is_undefined() => Ok("".into()),
        None => repr(value).map(Cow::Owned),
    }
}

/// `repr(value)`.
pub fn repr(value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    write_repr(value, &mut out)?;
    Ok(out)
}

fn write_repr(value: &Value, out: &mut String) -> Result<(), Error> {
    if out.len() > WRITTEN {
        return Err(too_large("a value"));
    }
    match value.kind() {
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::String if value.is_safe() => {
            out.push_str("Markup(");
            quote(value.as_str().unwrap_or_default(), out);
            out.push(')');
        }
        ValueKind::String => quote(value.as_str().unwrap_or_default(), out),
        ValueKind::Number if !value.is_integer() => {
            out.push_str(&float(f64::try_from(value.clone())?));
        }
        ValueKind::Seq | ValueKind::Iterable if value.is_tuple() || is_group(value) => {
            let one = value.len() == Some(1);
            items(value, ("(", if one { ",)" } else { ")" }), out)?;
        }
        ValueKind::Seq | ValueKind::Iterable => match View::of(value) {
            Some(view) => items(value, (view.open(), "])"), out)?,
            None => items(value, ("[", "]"), out)?,
        },
        ValueKind::Map
            if value
                .as_object()
                .is_some_and(|map| map.enumerator_len().is_some()) =>
        {
            out.push('{');
            for (number, key) in value.try_iter()?.enumerate() {
                out.push_str(if number > 0 { ", " } else { "" });
                write_repr(&key, out)?;
                out.push_str(": ");
                write_repr(&value.get_item(&key)?, out)?;
            }
            out.push('}');
        }
        _ => write!(out, "{value}").map_err(Error::from)?,
    }
    Ok(())
}

/// What `groupby` gives is a pair, and a tuple in Jinja2.
fn is_group(value: &Value) -> bool {
    value
        .as_object()
        .is_some_and(|object| object.type_name().contains("GroupTuple"))
}

fn items(value: &Value, (open, close): (&str, &str), out: &mut String) -> Result<(), Error> {
    out.push_str(open);
    for (number, item) in value.try_iter()?.enumerate() {
        out.push_str(if number > 0 { ", " } else { "" });
        write_repr(&item, out)?;
    }
    out.push_str(close);
    Ok(())
}

/// `repr` of a string: single quotes unless only single quotes are in it.
fn quote(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(quote);
    for character in text.chars() {
        let code = character as u32;
        let _ = match character {
            '\\' => out.write_str("\\\\"),
            '\n' => out.write_str("\\n"),
            '\r' => out.write_str("\\r"),
            '\t' => out.write_str("\\t"),
            _ if character == quote => write!(out, "\\{quote}"),
            _ if is_printable(character) => out.write_char(character),
            _ if code < 0x100 => write!(out, "\\x{code:02x}"),
            _ if code < 0x1_0000 => write!(out, "\\u{code:04x}"),
            _ => write!(out, "\\U{code:08x}"),
        };
    }
    out.push(quote);
}

/// Whether `repr` writes a character as itself: no control, format, surrogate, private or unassigned
/// one, and no space but U+0020. Of the format characters, the common ones.
pub fn is_printable(character: char) -> bool {
    let is_format = matches!(character, '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0001}'..='\u{e007f}'
        | '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}');
    character == ' ' || !(character.is_control() || character.is_whitespace() || is_format)
}

/// `repr` of a float: an exponent below 1e-4 and from 1e16 on, a point otherwise.
pub fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    // Rust's `Debug` has Python's limits and writes `1e16`, `inf`.
    let text = format!("{number:?}");
    match text.split_once('e') {
        Some((digits, power)) => match power.strip_prefix('-') {
            Some(power) => format!("{digits}e-{power:0>2}"),
            None => format!("{digits}e+{power:0>2}"),
        },
        None => text,
    }
}

/// `type(value).__name__`.
pub fn type_name(value: &Value) -> &'static str {
    match value.kind() {
        ValueKind::Undefined => "Undefined",
        ValueKind::None => "NoneType",
        ValueKind::Bool => "bool",
        ValueKind::Number if value.is_integer() => "int",
        ValueKind::Number => "float",
        ValueKind::String => "str",
        ValueKind::Bytes => "bytes",
        ValueKind::Seq | ValueKind::Iterable if value.is_tuple() => "tuple",
        ValueKind::Seq | ValueKind::Iterable => "list",
        ValueKind::Map => "dict",
        _ => "object",
    }
}

/// An error like Python's `TypeError`.
pub fn type_error(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

/// The error for what would take too much memory.
pub fn too_large(what: &str) -> Error {
    Error::new(ErrorKind::OutOfFuel, format!("{what} is too large"))
}

/// Fails when so many bytes are more than a value may have.
pub fn check_size(bytes: usize) -> Result<(), Error> {
    if bytes > LIMIT {
        return Err(too_large("a text"));
    }
    Ok(())
}

/// What `keys()`, `values()` and `items()` of a dictionary give: a list that prints its name.
#[derive(Clone, Copy, Debug)]
pub enum ViewKind {
    Keys,
    Values,
    Items,
}

/// A dictionary's view.
#[derive(Debug)]
pub struct View {
    pub kind: ViewKind,
    pub items: Vec<Value>,
}

impl View {
    fn of(value: &Value) -> Option<&Self> {
        value.downcast_object_ref::<Self>()
    }

    fn open(&self) -> &'static str {
        match self.kind {
            ViewKind::Keys => "dict_keys([",
            ViewKind::Values => "dict_values([",
            ViewKind::Items => "dict_items([",
        }
    }
}

impl minijinja::value::Object for View {
    fn repr(self: &std::sync::Arc<Self>) -> minijinja::value::ObjectRepr {
        minijinja::value::ObjectRepr::Iterable
    }

    fn enumerate(self: &std::sync::Arc<Self>) -> minijinja::value::Enumerator {
        minijinja::value::Enumerator::Values(self.items.clone())
    }
}
