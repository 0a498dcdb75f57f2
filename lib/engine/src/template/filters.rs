//! Filters and tests whose values differ from minijinja's or that it lacks, as Jinja2 3.1.6 has them.

#![expect(
    clippy::needless_pass_by_value,
    reason = "minijinja calls with values of its own"
)]

use minijinja::{
    Environment, Error, State, Value,
    value::{Kwargs, Rest, ValueKind},
};
use minijinja_contrib::filters as contrib;

use super::{
    json,
    markup::{escape, like},
    methods,
    operators::{self, contains, equal, iterate, order, whole},
    parameters::bind,
    python::{check_size, repr, str, type_error, type_name},
};

/// Adds the filters and tests.
pub fn add_to(environment: &mut Environment<'_>) {
    environment.add_filter("tojson", json::tojson);
    environment.add_filter("indent", indent);
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
    environment.add_filter("trim", trim);
    environment.add_filter("join", join);
    environment.add_filter("replace", replace);
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_filter("round", round);
    environment.add_filter("center", center);
    environment.add_filter("format", format);
    environment.add_filter("length", length);
    environment.add_filter("count", length);
    environment.add_filter("wordcount", |value: Value| {
        Ok::<_, Error>(wordcount(&str(&value)?))
    });
    environment.add_filter("truncate", truncate);
    environment.add_filter("pprint", |value: Value| repr(&value));
    environment.add_filter("escape", escape);
    environment.add_filter("e", escape);
    environment.add_filter("forceescape", |value: Value| {
        escape(Value::from(str(&value)?.into_owned()))
    });
    environment.add_filter("safe", |value: Value| {
        Ok::<_, Error>(Value::from_safe_string(str(&value)?.into_owned()))
    });
    environment.add_filter("filesizeformat", contrib::filesizeformat);
    environment.add_filter("striptags", contrib::striptags);
    environment.add_test("iterable", |value: Value| {
        iterate(value.clone()).is_ok() && !is_plain(&value)
    });
    environment.add_test("sequence", is_sequence);
    environment.add_test("callable", is_callable);
    environment.add_test("mapping", |value: Value| {
        value.kind() == ValueKind::Map && !is_callable(value)
    });
    environment.add_test("integer", |value: Value| {
        value.kind() == ValueKind::Number && value.is_integer()
    });
    environment.add_test("odd", |value: Value| {
        Ok::<_, Error>(remainder(&value, 2)? == 1)
    });
    environment.add_test("even", |value: Value| {
        Ok::<_, Error>(remainder(&value, 2)? == 0)
    });
    environment.add_test("divisibleby", |value: Value, by: i128| {
        Ok::<_, Error>(remainder(&value, by)? == 0)
    });
    environment.add_test("in", |item: Value, container: Value| {
        contains(&container, &item)
    });
    environment.add_test("lower", |value: Value| {
        is_cased(&value, char::is_lowercase, char::is_uppercase)
    });
    environment.add_test("upper", |value: Value| {
        is_cased(&value, char::is_uppercase, char::is_lowercase)
    });
    environment.add_test("number", |value: Value| {
        matches!(value.kind(), ValueKind::Number | ValueKind::Bool)
    });
    for name in ["eq", "equalto", "=="] {
        environment.add_test(name, |a: Value, b: Value| equal(&a, &b));
    }
    for name in ["ne", "!="] {
        environment.add_test(name, |a: Value, b: Value| Ok::<_, Error>(!equal(&a, &b)?));
    }
    for (names, operator) in [
        (["gt", "greaterthan", ">"], ">"),
        (["lt", "lessthan", "<"], "<"),
        (["ge", "ge", ">="], ">="),
        (["le", "le", "<="], "<="),
    ] {
        for name in names {
            environment.add_test(name, move |a: Value, b: Value| {
                let order = order(operator, &a, &b)?;
                Ok::<_, Error>(match operator {
                    ">" => order.is_gt(),
                    "<" => order.is_lt(),
                    ">=" => order.is_ge(),
                    _ => order.is_le(),
                })
            });
        }
    }
}

/// `value % by`; fails for what is no number. A float that is not whole leaves neither 0 nor 1.
fn remainder(value: &Value, by: i128) -> Result<i128, Error> {
    if value.kind() == ValueKind::Number && !value.is_integer() {
        let number = f64::try_from(value.clone())?;
        return Ok(if number.fract() == 0.0 {
            (number as i128).rem_euclid(by.max(1))
        } else {
            -1
        });
    }
    let number = whole(value).map_err(|_| {
        type_error(format!(
            "unsupported operand type(s) for %: '{}' and 'int'",
            type_name(value)
        ))
    })?;
    number
        .checked_rem_euclid(by)
        .ok_or_else(|| type_error("integer modulo by zero"))
}

fn is_cased(
    value: &Value,
    wanted: fn(char) -> bool,
    other: fn(char) -> bool,
) -> Result<bool, Error> {
    let text = str(value)?;
    Ok(text.chars().any(wanted) && !text.chars().any(other))
}

fn is_plain(value: &Value) -> bool {
    value.kind() == ValueKind::Plain
}

/// `x is sequence`: what has a length and items.
fn is_sequence(value: Value) -> bool {
    matches!(
        value.kind(),
        ValueKind::Seq
            | ValueKind::Iterable
            | ValueKind::Map
            | ValueKind::String
            | ValueKind::Undefined
    ) && !is_callable(value)
}

/// `x is callable`. An undefined value is, in Jinja2.
fn is_callable(value: Value) -> bool {
    let is_function = || {
        let name = value
            .as_object()
            .map(minijinja::value::DynObject::type_name)
            .unwrap_or_default();
        name.contains("BoxedFunction")
            || name.contains("Macro")
            || name.contains("template::operators")
            || name.contains("Loop")
    };
    value.is_undefined() || is_function()
}

fn length(value: Value) -> Result<usize, Error> {
    let has_length = matches!(
        value.kind(),
        ValueKind::Seq
            | ValueKind::Iterable
            | ValueKind::Map
            | ValueKind::String
            | ValueKind::Undefined
    );
    match value.len() {
        _ if !has_length => Err(type_error(format!(
            "object of type '{}' has no len()",
            type_name(&value)
        ))),
        Some(length) => Ok(length),
        None if value.is_undefined() => Ok(0),
        None => Ok(value.try_iter()?.count()),
    }
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

/// Jinja2's `int(value, default=0, base=10)`.
fn int(
    value: Value,
    default: Option<Value>,
    base: Option<u32>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let default = match default {
        Some(default) => default,
        None => kwargs
            .get::<Option<Value>>("default")?
            .unwrap_or_else(|| Value::from(0)),
    };
    let base = match base {
        Some(base) => base,
        None => kwargs.get::<Option<u32>>("base")?.unwrap_or(10),
    };
    kwargs.assert_all_used()?;
    let parsed = match value.kind() {
        ValueKind::Bool => Some(i128::from(value.is_true())),
        ValueKind::Number if value.is_integer() => return Ok(value),
        ValueKind::Number => truncated(f64::try_from(value)?),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default().trim().replace('_', "");
            let prefix = match base {
                16 => "0x",
                8 => "0o",
                2 => "0b",
                _ => "",
            };
            let digits = text.strip_prefix(prefix).unwrap_or(&text);
            let whole = (2..=36)
                .contains(&base)
                .then(|| i128::from_str_radix(digits, base).ok())
                .flatten();
            whole.or_else(|| truncated(text.parse().ok()?))
        }
        _ => None,
    };
    Ok(parsed.map_or(default, Value::from))
}

fn truncated(number: f64) -> Option<i128> {
    number.is_finite().then(|| number.trunc() as i128)
}

/// Jinja2's `float(value, default=0.0)`.
fn float(value: Value, default: Option<f64>) -> f64 {
    let parsed = match value.kind() {
        ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        ValueKind::Number => f64::try_from(value).ok(),
        ValueKind::String => value
            .as_str()
            .and_then(|text| text.trim().replace('_', "").parse().ok()),
        _ => None,
    };
    parsed.or(default).unwrap_or(0.0)
}

/// Jinja2's `round(value, precision=0, method='common')`, half to even as Python's.
fn round(
    value: Value,
    precision: Option<i32>,
    method: Option<String>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let precision = precision.or(kwargs.get("precision")?).unwrap_or(0);
    let method = method
        .or(kwargs.get("method")?)
        .unwrap_or_else(|| "common".to_owned());
    kwargs.assert_all_used()?;
    let is_number = matches!(value.kind(), ValueKind::Number | ValueKind::Bool);
    if !is_number {
        return Err(type_error(format!(
            "type {} doesn't define __round__ method",
            type_name(&value)
        )));
    }
    let is_whole = value.kind() == ValueKind::Bool || value.is_integer();
    let number = if is_whole {
        whole(&value)? as f64
    } else {
        f64::try_from(value)?
    };
    let scale = 10f64.powi(precision.clamp(-300, 300));
    let rounded = match method.as_str() {
        // Python rounds the exact decimal value, which Rust's formatting does too.
        "common" if precision >= 0 => format!("{number:.*}", precision.min(300) as usize)
            .parse()
            .unwrap_or(number),
        "common" => (number * scale).round_ties_even() / scale,
        "ceil" => (number * scale).ceil() / scale,
        "floor" => (number * scale).floor() / scale,
        _ => return Err(type_error("method must be common, ceil or floor")),
    };
    // Python's `round` of an integer stays one.
    if is_whole && method == "common" {
        return Ok(Value::from(rounded as i128));
    }
    Ok(Value::from(rounded))
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
        let count = self::length(value.clone())?;
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
