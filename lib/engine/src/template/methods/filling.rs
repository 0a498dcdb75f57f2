//! Texts made longer: joined, filled to a width, with blanks for tabs.

use minijinja::{Error, Value};

use super::{
    super::{
        operators::iterate,
        python::{check_size, type_error, type_name},
    },
    arguments::Arguments,
};

pub(super) fn join(separator: &str, values: &Value) -> Result<String, Error> {
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

pub(super) fn pad(text: &str, name: &str, args: &Arguments<'_>) -> Result<String, Error> {
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

pub(super) fn expand_tabs(text: &str, size: i64) -> String {
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
