//! Filters that make texts.

#![expect(
    clippy::needless_pass_by_value,
    reason = "minijinja calls with values of its own"
)]

use minijinja::{
    Environment, Error, State, Value,
    value::{Kwargs, Rest},
};
use minijinja_contrib::filters as contrib;

use super::super::{
    markup::{escape, like},
    methods,
    operators::{self, iterate},
    parameters::bind,
    python::{check_size, repr, str, type_error, type_name},
};

/// Adds the filters.
pub(super) fn add_to(environment: &mut Environment<'_>) {
    add_cases(environment);
    add_markup(environment);
    environment.add_filter("indent", indent);
    environment.add_filter("trim", trim);
    environment.add_filter("join", join);
    environment.add_filter("replace", replace);
    environment.add_filter("center", center);
    environment.add_filter("format", format);
    environment.add_filter("wordcount", |value: Value| {
        Ok::<_, Error>(wordcount(&str(&value)?))
    });
    environment.add_filter("truncate", truncate);
    environment.add_filter("pprint", |value: Value| repr(&value));
    environment.add_filter("filesizeformat", contrib::filesizeformat);
}

fn add_cases(environment: &mut Environment<'_>) {
    for (name, filter) in [
        ("string", str::to_owned as fn(&str) -> String),
        ("upper", str::to_uppercase),
        ("lower", str::to_lowercase),
        ("capitalize", methods::capitalize),
    ] {
        environment.add_filter(name, move |value: Value| {
            let text = filter(&str(&value)?);
            Ok::<_, Error>(like(&value, text.into()))
        });
    }
    environment.add_filter("title", |value: Value| Ok::<_, Error>(title(&str(&value)?)));
}

fn add_markup(environment: &mut Environment<'_>) {
    environment.add_filter("escape", escape);
    environment.add_filter("e", escape);
    environment.add_filter("forceescape", |value: Value| {
        escape(Value::from(str(&value)?.into_owned()))
    });
    environment.add_filter("safe", |value: Value| {
        Ok::<_, Error>(Value::from_safe_string(str(&value)?.into_owned()))
    });
    environment.add_filter("striptags", contrib::striptags);
}

/// Jinja2's `indent(s, width=4, first=False, blank=False)`.
fn indent(value: Value, arguments: Rest<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    let [width, first, blank] = bind(["width", "first", "blank"], &arguments, &kwargs)?;
    let Some(text) = value.as_str() else {
        return Err(type_error(format!(
            "can only indent str, not {}",
            type_name(&value)
        )));
    };
    let width = match width {
        None => "    ".to_owned(),
        Some(value) => {
            if let Some(text) = value.as_str() {
                text.to_owned()
            } else {
                let width = usize::try_from(value)?;
                check_size(width)?;
                " ".repeat(width)
            }
        }
    };
    let first = first.is_some_and(|value| value.is_true());
    let blank = blank.is_some_and(|value| value.is_true());
    // Jinja2 breaks lines at every line break of Unicode, and joins with "\n".
    let lines = methods::split_lines(&format!("{text}\n"), false);
    let mut out = String::new();
    for (number, line) in lines.iter().enumerate() {
        let line = line.as_str().unwrap_or_default();
        let indents = if number == 0 {
            first
        } else {
            blank || !line.is_empty()
        };
        out.push_str(if number > 0 { "\n" } else { "" });
        out.push_str(if indents { &width } else { "" });
        out.push_str(line);
        check_size(out.len())?;
    }
    Ok(like(&value, out.into()))
}

/// Jinja2's `title`: a word starts after a blank, a hyphen or an opening bracket.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut starts = true;
    for character in text.chars() {
        if starts {
            out.extend(character.to_uppercase());
        } else {
            out.extend(character.to_lowercase());
        }
        starts = methods::is_space(character) || "-({[<".contains(character);
    }
    out
}

fn trim(value: Value, characters: Option<Value>) -> Result<Value, Error> {
    let characters = characters.filter(|set| !set.is_none());
    let set = characters.as_ref().map(str).transpose()?;
    let is_cut = |c: char| {
        set.as_ref()
            .map_or_else(|| methods::is_space(c), |set| set.contains(c))
    };
    let text = str(&value)?;
    Ok(like(&value, text.trim_matches(is_cut).into()))
}

fn join(
    state: &mut State,
    values: Value,
    arguments: Rest<Value>,
    kwargs: Kwargs,
) -> Result<String, Error> {
    let [separator, attribute] = bind(["d", "attribute"], &arguments, &kwargs)?;
    let separator = separator.unwrap_or_else(|| Value::from(""));
    let values = match attribute.filter(|attribute| !attribute.is_none()) {
        None => values,
        Some(attribute) => {
            let by = Kwargs::from_iter([("attribute", attribute)]);
            state.apply_filter("map", &[values, by.into()])?
        }
    };
    let separator = str(&separator)?.into_owned();
    let mut out = String::new();
    for (number, value) in iterate(values)?.try_iter()?.enumerate() {
        out.push_str(if number > 0 { &separator } else { "" });
        out.push_str(&str(&value)?);
        check_size(out.len())?;
    }
    Ok(out)
}

fn replace(value: Value, old: Value, new: Value, count: Option<i64>) -> Result<String, Error> {
    let count = count.and_then(|count| usize::try_from(count).ok());
    methods::replace(&str(&value)?, &str(&old)?, &str(&new)?, count)
}

fn center(value: Value, width: Option<usize>) -> Result<Value, Error> {
    let text = str(&value)?;
    let width = width.unwrap_or(80);
    check_size(width)?;
    let missing = width.saturating_sub(text.chars().count());
    let before = missing / 2 + (missing & width & 1);
    let after = " ".repeat(missing - before);
    let text = format!("{}{text}{after}", " ".repeat(before));
    Ok(like(&value, text.into()))
}

fn format(value: Value, arguments: Rest<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    let named: Vec<(String, Value)> = kwargs
        .args()
        .map(|name| Ok((name.to_owned(), kwargs.get(name)?)))
        .collect::<Result<_, Error>>()?;
    if !named.is_empty() && !arguments.is_empty() {
        return Err(type_error(
            "can't handle positional and keyword arguments at the same time",
        ));
    }
    let values = if named.is_empty() {
        Value::from(minijinja::value::Tuple::from(arguments.to_vec()))
    } else {
        Value::from_pairs(named)
    };
    let text = like(&value, str(&value)?.into_owned().into());
    operators::remainder(text, values)
}

fn wordcount(text: &str) -> usize {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
        .count()
}

/// Jinja2's `truncate(s, length=255, killwords=False, end='...', leeway=5)`.
fn truncate(value: Value, arguments: Rest<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    let argument = |at: usize, name: &str| -> Result<Option<Value>, Error> {
        match arguments.get(at) {
            Some(value) => Ok(Some(value.clone())),
            None => kwargs.get(name),
        }
    };
    let number = |given: Option<Value>, default: usize| given.map_or(Ok(default), usize::try_from);
    let length = number(argument(0, "length")?, 255)?;
    let kill_words = argument(1, "killwords")?.is_some_and(|value| value.is_true());
    let end = argument(2, "end")?.unwrap_or_else(|| Value::from("..."));
    let leeway = number(argument(3, "leeway")?.filter(|value| !value.is_none()), 5)?;
    kwargs.assert_all_used()?;
    let (end, text) = (str(&end)?, value.as_str());
    let Some(text) = text else {
        let count = super::length(value.clone())?;
        return if count <= length + leeway {
            Ok(value)
        } else {
            Err(type_error("only a text can be truncated"))
        };
    };
    let own = length.checked_sub(end.chars().count());
    let own = own.ok_or_else(|| type_error("the ending is longer than the length"))?;
    if text.chars().count() <= length + leeway {
        return Ok(value);
    }
    let kept: String = text.chars().take(own).collect();
    let kept = if kill_words {
        &kept[..]
    } else {
        kept.rsplit_once(' ').map_or(&kept[..], |(kept, _)| kept)
    };
    Ok(like(&value, format!("{kept}{end}").into()))
}
