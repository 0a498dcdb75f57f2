//! `%` formatting and `str.format`. The numbers' layout is minijinja's; which value goes where, and texts,
//! are Python's.

use minijinja::{
    Error, Value,
    formatting::{FormatStyle, format},
    value::ValueKind,
};

use super::{
    operators::whole,
    python::{check_size, repr, str, type_error, type_name},
};

/// `format % values`.
pub fn percent(text: &str, values: &Value) -> Result<String, Error> {
    let is_map = values.kind() == ValueKind::Map;
    let mut given: Vec<Value> = if values.is_tuple() {
        values.try_iter()?.collect()
    } else {
        vec![values.clone()]
    };
    given.reverse();
    let mut next = || {
        given
            .pop()
            .ok_or_else(|| type_error("not enough arguments for format string"))
    };
    let mut used = 0;
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let mut key = None;
        if let Some(after) = rest.strip_prefix('(') {
            let end = after
                .find(')')
                .ok_or_else(|| type_error("incomplete format key"))?;
            if !is_map {
                return Err(type_error("format requires a mapping"));
            }
            key = Some(&after[..end]);
            rest = &after[end + 1..];
        }
        let end = rest
            .find(|c: char| !"#0- +123456789.*hlL".contains(c))
            .ok_or_else(|| type_error("incomplete format"))?;
        let mut layout = String::new();
        for character in rest[..end].chars() {
            match character {
                '*' => layout.push_str(&whole(&next()?)?.to_string()),
                'h' | 'l' | 'L' => {}
                other => layout.push(other),
            }
        }
        let kind = rest[end..].chars().next().unwrap_or('%');
        rest = &rest[end + kind.len_utf8()..];
        if kind == '%' {
            out.push('%');
            continue;
        }
        let value = match key {
            Some(key) => {
                let value = values.get_item(&Value::from(key))?;
                if value.is_undefined() {
                    return Err(type_error(format!("KeyError: '{key}'")));
                }
                value
            }
            None => next()?,
        };
        used += usize::from(key.is_none());
        out.push_str(&one(&layout, kind, &value)?);
        check_size(out.len())?;
    }
    out.push_str(rest);
    let is_indexed = !values.is_tuple()
        && matches!(
            values.kind(),
            ValueKind::Map | ValueKind::Seq | ValueKind::Iterable
        );
    if !(given.is_empty() || is_indexed && used == 0) {
        return Err(type_error(
            "not all arguments converted during string formatting",
        ));
    }
    Ok(out)
}

/// One value in one layout.
fn one(layout: &str, kind: char, value: &Value) -> Result<String, Error> {
    let width = layout
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse::<usize>().ok());
    check_size(width.max().unwrap_or(0))?;
    let (kind, value) = match kind {
        's' => ('s', Value::from(str(value)?.into_owned())),
        'r' | 'a' => ('s', Value::from(repr(value)?)),
        'c' if value.is_integer() => {
            let code = u32::try_from(whole(value)?).ok().and_then(char::from_u32);
            let character = code.ok_or_else(|| type_error("%c arg not in range(0x110000)"))?;
            ('s', Value::from(character.to_string()))
        }
        'c' => ('c', value.clone()),
        'd' | 'i' | 'u' if value.kind() == ValueKind::Number && !value.is_integer() => (
            'd',
            Value::from(f64::try_from(value.clone())?.trunc() as i128),
        ),
        'd' | 'i' | 'u' => ('d', number(kind, value)?),
        'x' | 'X' | 'o' if value.kind() == ValueKind::Number && !value.is_integer() => {
            return Err(type_error(format!(
                "%{kind} format: an integer is required, not float"
            )));
        }
        'x' | 'X' | 'o' | 'e' | 'E' | 'f' | 'F' | 'g' | 'G' => (kind, number(kind, value)?),
        _ => return Err(type_error(format!("unsupported format character '{kind}'"))),
    };
    format(FormatStyle::Printf, &format!("%{layout}{kind}"), &[value])
}

fn number(kind: char, value: &Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::Bool => Ok(Value::from(u8::from(value.is_true()))),
        ValueKind::Number => Ok(value.clone()),
        _ => Err(type_error(format!(
            "%{kind} format: a real number is required, not {}",
            type_name(value)
        ))),
    }
}

/// `text.format(…)`.
pub fn braces(text: &str, args: &[Value]) -> Result<String, Error> {
    let widths = text
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse::<usize>().ok());
    check_size(widths.max().unwrap_or(0))?;
    let looks_inside = text.contains(['[', '.']);
    let shown = |value: &Value| match value.kind() {
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map
            if !value.is_kwargs() && !looks_inside =>
        {
            repr(value).map(Value::from)
        }
        _ => Ok(value.clone()),
    };
    let args = args.iter().map(shown).collect::<Result<Vec<_>, _>>()?;
    format(FormatStyle::StrFormat, text, &args)
}
