//! What is in a text, and where, in characters; and what is put in its place.

use minijinja::{Error, Value};

use super::{
    super::python::{check_size, type_error, type_name},
    arguments::Arguments,
};

pub(super) fn affix(text: &str, at_start: bool, args: &Arguments<'_>) -> Result<bool, Error> {
    let wanted = args.get(0, "").unwrap_or_default();
    let wanted: Vec<Value> = if wanted.is_tuple() {
        wanted.try_iter()?.collect()
    } else {
        vec![wanted]
    };
    let Some((text, _)) = window(text, args)? else {
        return Ok(false);
    };
    for affix in wanted {
        let Some(affix) = affix.as_str() else {
            return Err(type_error(format!(
                "expected str or a tuple of str, got {}",
                type_name(&affix)
            )));
        };
        if if at_start {
            text.starts_with(affix)
        } else {
            text.ends_with(affix)
        } {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn search(text: &str, name: &str, args: &Arguments<'_>) -> Result<Value, Error> {
    let wanted = args.required(0)?;
    let part = window(text, args)?;
    if name == "count" {
        return Ok(Value::from(
            part.map_or(0, |(part, _)| part.matches(&wanted[..]).count()),
        ));
    }
    let found = part.and_then(|(part, offset)| {
        let at = if name.starts_with('r') {
            part.rfind(&wanted[..])
        } else {
            part.find(&wanted[..])
        };
        at.map(|at| characters_before(text, at + offset))
    });
    match found {
        Some(at) => Ok(Value::from(at)),
        None if name.ends_with("index") => Err(type_error("substring not found")),
        None => Ok(Value::from(-1)),
    }
}

/// `str.replace`, bounded.
pub fn replace(text: &str, old: &str, new: &str, count: Option<usize>) -> Result<String, Error> {
    let times = count.unwrap_or(usize::MAX).min(text.matches(old).count());
    check_size(text.len().saturating_add(times.saturating_mul(new.len())))?;
    Ok(text.replacen(old, new, times))
}

/// The part of the text between the arguments `start` and `end`, in characters, and its byte offset.
fn window<'a>(text: &'a str, args: &Arguments<'_>) -> Result<Option<(&'a str, usize)>, Error> {
    let length = text.chars().count().cast_signed() as i64;
    let place = |given: Option<i64>, default: i64| {
        let at = given.unwrap_or(default);
        (if at < 0 { at + length } else { at }).max(0)
    };
    let start = place(args.number(1, "start")?, 0);
    let end = place(args.number(2, "end")?, length).min(length);
    if start > end {
        return Ok(None);
    }
    let (from, to) = (byte_at(text, start as usize), byte_at(text, end as usize));
    Ok(Some((&text[from..to], from)))
}

/// Byte offset of a character offset; the end of the text for one past it.
fn byte_at(text: &str, character: usize) -> usize {
    text.char_indices()
        .nth(character)
        .map_or(text.len(), |(at, _)| at)
}

fn characters_before(text: &str, byte: usize) -> i64 {
    text[..byte].chars().count().cast_signed() as i64
}
