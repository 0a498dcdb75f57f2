//! Texts cut: at their ends, at separators, into lines.

use minijinja::{Error, Value, value::Tuple};

use super::{super::python::type_error, is_space};

/// `strip`, `lstrip` and `rstrip`, of these characters or of blanks.
pub(super) fn strip<'a>(text: &'a str, name: &str, set: Option<&str>) -> &'a str {
    let is_cut = |c: char| set.map_or_else(|| is_space(c), |set| set.contains(c));
    match name {
        "lstrip" => text.trim_start_matches(is_cut),
        "rstrip" => text.trim_end_matches(is_cut),
        _ => text.trim_matches(is_cut),
    }
}

pub(super) fn split(
    text: &str,
    separator: Option<&str>,
    limit: Option<usize>,
    from_end: bool,
) -> Result<Vec<Value>, Error> {
    let limit = limit.unwrap_or(usize::MAX).saturating_add(1);
    let Some(separator) = separator else {
        return Ok(split_space(text, limit - 1, from_end));
    };
    if separator.is_empty() {
        return Err(type_error("empty separator"));
    }
    if from_end {
        let mut parts: Vec<Value> = text.rsplitn(limit, separator).map(Value::from).collect();
        parts.reverse();
        return Ok(parts);
    }
    Ok(text.splitn(limit, separator).map(Value::from).collect())
}

fn split_space(text: &str, limit: usize, from_end: bool) -> Vec<Value> {
    let mut parts = Vec::new();
    let mut rest = if from_end {
        text.trim_end_matches(is_space)
    } else {
        text.trim_start_matches(is_space)
    };
    while !rest.is_empty() {
        let cut = if from_end {
            rest.rfind(is_space)
        } else {
            rest.find(is_space)
        };
        let Some(at) = cut.filter(|_| parts.len() < limit) else {
            let whole = if from_end {
                rest.trim_start_matches(is_space)
            } else {
                rest
            };
            if !whole.is_empty() {
                // Python keeps the blanks at the far end of the part that is left over.
                parts.push(Value::from(if from_end { rest } else { whole }));
            }
            break;
        };
        let space = rest[at..].chars().next().map_or(1, char::len_utf8);
        if from_end {
            parts.push(Value::from(&rest[at + space..]));
            rest = rest[..at].trim_end_matches(is_space);
        } else {
            parts.push(Value::from(&rest[..at]));
            rest = rest[at + space..].trim_start_matches(is_space);
        }
    }
    if from_end {
        parts.reverse();
    }
    parts
}

pub(super) fn partition(text: &str, separator: &str, from_end: bool) -> Result<Value, Error> {
    if separator.is_empty() {
        return Err(type_error("empty separator"));
    }
    let found = if from_end {
        text.rsplit_once(separator)
    } else {
        text.split_once(separator)
    };
    let parts = match found {
        Some((before, after)) => [before, separator, after],
        None if from_end => ["", "", text],
        None => [text, "", ""],
    };
    Ok(Value::from(Tuple::from(parts.map(Value::from))))
}

/// `str.splitlines`, with all the line breaks of Unicode.
pub fn split_lines(text: &str, keep: bool) -> Vec<Value> {
    let is_break = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'
                ..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(is_break) {
        let length = match &rest[at..] {
            two if two.starts_with("\r\n") => 2,
            other => other.chars().next().map_or(1, char::len_utf8),
        };
        lines.push(Value::from(&rest[..if keep { at + length } else { at }]));
        rest = &rest[at + length..];
    }
    if !rest.is_empty() {
        lines.push(Value::from(rest));
    }
    lines
}
