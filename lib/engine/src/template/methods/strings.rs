//! The methods of `str`, each sent to what does it.

use minijinja::{Error, Value};

use super::{
    super::format::braces,
    arguments::Arguments,
    cases,
    cutting::{partition, split, split_lines, strip},
    filling::{expand_tabs, join, pad},
    searching::{affix, replace, search},
};

/// Calls a method; `None` when `str` has none of that name.
pub(super) fn string(text: &str, name: &str, args: &Arguments<'_>) -> Result<Option<Value>, Error> {
    if let Some(count) = most_arguments(name) {
        args.at_most(count)?;
    }
    if let Some(is_so) = cases::tested(text, name) {
        return Ok(Some(is_so.into()));
    }
    if let Some(changed) = cases::changed(text, name) {
        return Ok(Some(changed.into()));
    }
    Ok(Some(match name {
        "strip" | "lstrip" | "rstrip" => {
            Value::from(strip(text, name, args.text(0, "")?.as_deref()))
        }
        "split" | "rsplit" => {
            let limit = count(args, 1, "maxsplit")?;
            let separator = args.text(0, "sep")?;
            Value::from(split(text, separator.as_deref(), limit, name == "rsplit")?)
        }
        "partition" | "rpartition" => partition(text, &args.required(0)?, name == "rpartition")?,
        "splitlines" => {
            let keep = args.get(0, "keepends").is_some_and(|keep| keep.is_true());
            Value::from(split_lines(text, keep))
        }
        "startswith" | "endswith" => Value::from(affix(text, name == "startswith", args)?),
        "find" | "rfind" | "index" | "rindex" | "count" => search(text, name, args)?,
        "replace" => {
            let (old, new) = (args.required(0)?, args.required(1)?);
            Value::from(replace(text, &old, &new, count(args, 2, "count")?)?)
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
        _ => return Ok(None),
    }))
}

/// How many positional arguments a method takes, where more are an error here.
fn most_arguments(name: &str) -> Option<usize> {
    match name {
        "upper" | "lower" | "title" => Some(0),
        "strip" | "lstrip" | "rstrip" | "splitlines" | "join" | "partition" | "rpartition"
        | "zfill" | "removeprefix" | "removesuffix" => Some(1),
        "split" | "rsplit" => Some(2),
        "replace" => Some(3),
        _ => None,
    }
}

/// A number of times; a negative one is no limit.
fn count(args: &Arguments<'_>, at: usize, name: &str) -> Result<Option<usize>, Error> {
    let number = args.number(at, name)?;
    Ok(number.and_then(|number| usize::try_from(number).ok()))
}
