//! Methods of Python's `str`, `list` and `dict` that do not change them; the sandbox refuses the others.

use minijinja::{
    Error, ErrorKind, State, Value,
    value::{Kwargs, Tuple, ValueKind},
};

use super::{
    format::braces,
    markup,
    operators::{is_plain_map, iterate},
    python::{View, ViewKind, check_size, is_printable, type_error, type_name},
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

/// Positional and named arguments of a call.
struct Arguments<'a> {
    positional: &'a [Value],
    named: Option<Kwargs>,
}

impl<'a> Arguments<'a> {
    fn new(args: &'a [Value]) -> Result<Self, Error> {
        let (positional, named) = match args.split_last() {
            Some((last, rest)) if last.is_kwargs() => (rest, Some(Kwargs::try_from(last.clone())?)),
            _ => (args, None),
        };
        Ok(Self { positional, named })
    }

    fn get(&self, at: usize, name: &str) -> Option<Value> {
        let named = || self.named.as_ref()?.get(name).ok();
        self.positional.get(at).cloned().or_else(named)
    }

    /// A text; `None` when absent or Python's `None`.
    fn text(&self, at: usize, name: &str) -> Result<Option<String>, Error> {
        match self.get(at, name) {
            None => Ok(None),
            Some(value) if value.is_none() => Ok(None),
            Some(value) => match value.as_str() {
                Some(text) => Ok(Some(text.to_owned())),
                None => Err(type_error(format!(
                    "expected str, got {}",
                    type_name(&value)
                ))),
            },
        }
    }

    fn required(&self, at: usize) -> Result<String, Error> {
        self.text(at, "")?
            .ok_or_else(|| type_error("a str argument is missing"))
    }

    fn number(&self, at: usize, name: &str) -> Result<Option<i64>, Error> {
        self.get(at, name)
            .filter(|value| !value.is_none())
            .map(i64::try_from)
            .transpose()
    }

    fn at_most(&self, count: usize) -> Result<(), Error> {
        if self.positional.len() > count {
            return Err(type_error(format!(
                "expected at most {count} arguments, got {}",
                self.positional.len()
            )));
        }
        Ok(())
    }
}

/// `str.isspace` of one character.
pub fn is_space(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{1c}'..='\u{1f}')
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

#[expect(clippy::too_many_lines, reason = "one arm a method")]
fn string(text: &str, name: &str, args: &Arguments<'_>) -> Result<Option<Value>, Error> {
    let all = |test: fn(char) -> bool| !text.is_empty() && text.chars().all(test);
    let one_argument = matches!(
        name,
        "strip"
            | "lstrip"
            | "rstrip"
            | "splitlines"
            | "join"
            | "partition"
            | "rpartition"
            | "zfill"
            | "removeprefix"
            | "removesuffix"
    );
    if one_argument {
        args.at_most(1)?;
    }
    Ok(Some(match name {
        "upper" => {
            args.at_most(0)?;
            Value::from(text.to_uppercase())
        }
        "lower" => {
            args.at_most(0)?;
            Value::from(text.to_lowercase())
        }
        "casefold" => Value::from(text.to_lowercase().replace('ß', "ss").replace('ς', "σ")),
        "swapcase" => Value::from(text.chars().map(swapped).collect::<String>()),
        "title" => {
            args.at_most(0)?;
            Value::from(title(text))
        }
        "capitalize" => Value::from(capitalize(text)),
        "strip" | "lstrip" | "rstrip" => {
            let set = args.text(0, "")?;
            let is_cut = |c: char| {
                set.as_ref()
                    .map_or_else(|| is_space(c), |set| set.contains(c))
            };
            let text = if name == "rstrip" {
                text
            } else {
                text.trim_start_matches(is_cut)
            };
            Value::from(if name == "lstrip" {
                text
            } else {
                text.trim_end_matches(is_cut)
            })
        }
        "split" | "rsplit" => {
            args.at_most(2)?;
            let limit = args
                .number(1, "maxsplit")?
                .and_then(|limit| usize::try_from(limit).ok());
            Value::from(split(
                text,
                args.text(0, "sep")?.as_deref(),
                limit,
                name == "rsplit",
            )?)
        }
        "partition" | "rpartition" => partition(text, &args.required(0)?, name == "rpartition")?,
        "splitlines" => {
            let keep = args.get(0, "keepends").is_some_and(|keep| keep.is_true());
            Value::from(split_lines(text, keep))
        }
        "startswith" | "endswith" => Value::from(affix(text, name == "startswith", args)?),
        "find" | "rfind" | "index" | "rindex" | "count" => search(text, name, args)?,
        "replace" => {
            args.at_most(3)?;
            let (old, new) = (args.required(0)?, args.required(1)?);
            let count = args
                .number(2, "count")?
                .and_then(|count| usize::try_from(count).ok());
            Value::from(replace(text, &old, &new, count)?)
        }
        "removeprefix" => {
            let cut = args.required(0)?;
            Value::from(text.strip_prefix(&cut[..]).unwrap_or(text))
        }
        "removesuffix" => {
            let cut = args.required(0)?;
            Value::from(text.strip_suffix(&cut[..]).unwrap_or(text))
        }
        "join" => Value::from(join(text, &args.get(0, "").unwrap_or_default())?),
        "zfill" | "ljust" | "rjust" | "center" => Value::from(pad(text, name, args)?),
        "expandtabs" => Value::from(expand_tabs(text, args.number(0, "tabsize")?.unwrap_or(8))),
        "format" => {
            let named = args.named.clone().map(Value::from);
            let given: Vec<Value> = args.positional.iter().cloned().chain(named).collect();
            Value::from(braces(text, &given)?)
        }
        "isspace" => Value::from(all(is_space)),
        "isdigit" => Value::from(all(|c| {
            c.is_numeric() && !matches!(c, '½' | '¼' | '¾' | 'Ⅰ'..='ↈ')
        })),
        "isdecimal" => Value::from(all(|c| c.is_numeric() && !"²³¹⁰⁴⁵⁶⁷⁸⁹½¼¾".contains(c))),
        "isnumeric" => Value::from(all(char::is_numeric)),
        "isalpha" => Value::from(all(char::is_alphabetic)),
        "isalnum" => Value::from(all(char::is_alphanumeric)),
        "isascii" => Value::from(text.is_ascii()),
        "isprintable" => Value::from(text.chars().all(is_printable)),
        "islower" => Value::from(
            text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase),
        ),
        "isupper" => Value::from(
            text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase),
        ),
        "istitle" => Value::from(text.chars().any(char::is_uppercase) && title(text) == text),
        "isidentifier" => {
            let starts = text.starts_with(|c: char| c == '_' || c.is_alphabetic());
            Value::from(starts && text.chars().all(|c| c == '_' || c.is_alphanumeric()))
        }
        _ => return Ok(None),
    }))
}

fn swapped(character: char) -> String {
    if character.is_uppercase() {
        character.to_lowercase().collect()
    } else {
        character.to_uppercase().collect()
    }
}

/// `str.title`: a word is a run of cased letters. Title case is upper case, but for three digraphs.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_word = false;
    for character in text.chars() {
        match character {
            'Ǆ' | 'ǆ' if !in_word => out.push('ǅ'),
            'Ǉ' | 'ǉ' if !in_word => out.push('ǈ'),
            'Ǌ' | 'ǌ' if !in_word => out.push('ǋ'),
            _ if in_word => out.extend(character.to_lowercase()),
            _ => out.extend(character.to_uppercase()),
        }
        in_word = character.is_lowercase() || character.is_uppercase();
    }
    out
}

pub fn capitalize(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters
        .next()
        .map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + &characters.as_str().to_lowercase()
}

fn split(
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

fn partition(text: &str, separator: &str, from_end: bool) -> Result<Value, Error> {
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

fn affix(text: &str, at_start: bool, args: &Arguments<'_>) -> Result<bool, Error> {
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

fn search(text: &str, name: &str, args: &Arguments<'_>) -> Result<Value, Error> {
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

fn join(separator: &str, values: &Value) -> Result<String, Error> {
    let mut out = String::new();
    for (number, value) in iterate(values.clone())?.try_iter()?.enumerate() {
        if number > 0 {
            out.push_str(separator);
        }
        let Some(text) = value.as_str() else {
            let message = format!(
                "sequence item {number}: expected str instance, {} found",
                type_name(&value)
            );
            return Err(type_error(message));
        };
        out.push_str(text);
        check_size(out.len())?;
    }
    Ok(out)
}

fn pad(text: &str, name: &str, args: &Arguments<'_>) -> Result<String, Error> {
    let Some(width) = args.number(0, "width")? else {
        return Err(type_error("a width is missing"));
    };
    let fill = match args.text(1, "fillchar")? {
        None if name == "zfill" => "0".to_owned(),
        None => " ".to_owned(),
        Some(fill) if fill.chars().count() == 1 => fill,
        Some(_) => {
            return Err(type_error(
                "the fill character must be exactly one character long",
            ));
        }
    };
    let length = text.chars().count();
    let missing = usize::try_from(width).unwrap_or(0).saturating_sub(length);
    check_size(missing)?;
    // Python puts the odd blank before the text when both the width and the gap are odd.
    let before = match name {
        "ljust" => 0,
        "center" => missing / 2 + (missing & usize::try_from(width).unwrap_or(0) & 1),
        _ => missing,
    };
    if name == "zfill" && text.starts_with(['+', '-']) {
        return Ok(format!(
            "{}{}{}",
            &text[..1],
            fill.repeat(missing),
            &text[1..]
        ));
    }
    Ok(format!(
        "{}{text}{}",
        fill.repeat(before),
        fill.repeat(missing - before)
    ))
}

fn expand_tabs(text: &str, size: i64) -> String {
    let mut out = String::new();
    let mut column = 0;
    for character in text.chars() {
        match character {
            '\t' => {
                let blanks = if size > 0 { size - column % size } else { 0 };
                out.extend(std::iter::repeat_n(' ', blanks.min(1000) as usize));
                column += blanks;
            }
            '\n' | '\r' => {
                out.push(character);
                column = 0;
            }
            other => {
                out.push(other);
                column += 1;
            }
        }
    }
    out
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
