//! Operators as Python has them, where minijinja's differ: `~` and `%` on texts, comparisons between
//! types that have no order, loops over what is not iterable, methods named without a call, and macros
//! with `varargs` and `kwargs`. Called by the instructions that [`super::compile`] exchanges; their names
//! cannot be written in a template.

#![expect(
    clippy::needless_pass_by_value,
    reason = "minijinja calls with values of its own"
)]

use std::{cmp::Ordering, sync::Arc};

use minijinja::{
    Environment, Error, ErrorKind, State, Value,
    value::{Kwargs, Object, Tuple, ValueKind},
};

use super::{
    format::percent,
    markup,
    python::{str, type_error, type_name},
};

pub const ADD: &str = "+";
pub const CONCAT: &str = "~";
pub const REMAINDER: &str = "%";
pub const LESS: &str = "<";
pub const LESS_EQUAL: &str = "<=";
pub const GREATER: &str = ">";
pub const GREATER_EQUAL: &str = ">=";
pub const EQUAL: &str = "==";
pub const NOT_EQUAL: &str = "!=";
pub const IN: &str = "in";
/// Comparisons in a chain: `a < b < c` keeps `b`.
pub const CHAINED: [&str; 6] = [
    "< kept",
    "<= kept",
    "> kept",
    ">= kept",
    "in kept",
    "not in kept",
];
pub const ITERATE: &str = "for";
pub const SUBSCRIPT: &str = "[]";
pub const ATTRIBUTE: &str = ".";
/// Macros that read `varargs`, `kwargs`, or both.
pub const VARIADIC: [&str; 3] = ["macro *", "macro **", "macro * **"];

/// Adds the operators.
pub fn add_to(environment: &mut Environment<'_>) {
    environment.add_function(ADD, markup::operands);
    environment.add_function(CONCAT, concat);
    environment.add_function(REMAINDER, remainder);
    for (name, kept, holds) in [
        (LESS, CHAINED[0], Ordering::is_lt as fn(Ordering) -> bool),
        (LESS_EQUAL, CHAINED[1], Ordering::is_le),
        (GREATER, CHAINED[2], Ordering::is_gt),
        (GREATER_EQUAL, CHAINED[3], Ordering::is_ge),
    ] {
        environment.add_function(name, move |a: Value, b: Value| {
            order(name, &a, &b).map(holds)
        });
        environment.add_function(kept, move |a: Value, b: Value| {
            let result = order(name, &a, &b).map(holds)?;
            Ok::<_, Error>(Value::from(Tuple::from([Value::from(result), b])))
        });
    }
    environment.add_function(EQUAL, |a: Value, b: Value| equal(&a, &b));
    environment.add_function(NOT_EQUAL, |a: Value, b: Value| {
        Ok::<_, Error>(!equal(&a, &b)?)
    });
    environment.add_function(IN, |item: Value, container: Value| {
        contains(&container, &item)
    });
    for (name, wanted) in [(CHAINED[4], true), (CHAINED[5], false)] {
        environment.add_function(name, move |item: Value, container: Value| {
            let result = contains(&container, &item)? == wanted;
            Ok::<_, Error>(Value::from(Tuple::from([Value::from(result), container])))
        });
    }
    environment.add_function(ITERATE, iterate);
    environment.add_function(ATTRIBUTE, attribute);
    environment.add_function(SUBSCRIPT, subscript);
    for (at, name) in VARIADIC.into_iter().enumerate() {
        let (varargs, kwargs) = (at != 1, at != 0);
        environment.add_function(name, move |inner: Value| {
            Value::from_object(Variadic {
                inner,
                varargs,
                kwargs,
            })
        });
    }
}

fn concat(left: Value, right: Value) -> Result<String, Error> {
    let (left, right) = (str(&left)?, str(&right)?);
    super::python::check_size(left.len() + right.len())?;
    Ok([left, right].concat())
}

pub fn remainder(left: Value, right: Value) -> Result<Value, Error> {
    if let Some(format) = left.as_str() {
        if left.is_safe() {
            let escaped = markup::escaped_arguments(&right)?;
            return percent(format, &escaped).map(Value::from_safe_string);
        }
        return percent(format, &right).map(Value::from);
    }
    for operand in [&left, &right] {
        if operand.is_undefined() {
            return Err(Error::from(ErrorKind::UndefinedError));
        }
    }
    let unsupported = || {
        type_error(format!(
            "unsupported operand type(s) for %: '{}' and '{}'",
            type_name(&left),
            type_name(&right)
        ))
    };
    let is_whole = |value: &Value| value.is_integer() || value.kind() == ValueKind::Bool;
    if is_whole(&left) && is_whole(&right) {
        let (a, b) = (whole(&left)?, whole(&right)?);
        let rest = a
            .checked_rem(b)
            .ok_or_else(|| type_error("integer modulo by zero"))?;
        return Ok(Value::from(if rest != 0 && (rest < 0) != (b < 0) {
            rest + b
        } else {
            rest
        }));
    }
    let number = |value: &Value| {
        if is_whole(value) {
            whole(value).map(|number| number as f64)
        } else {
            f64::try_from(value.clone())
        }
    };
    let (a, b) = (
        number(&left).map_err(|_| unsupported())?,
        number(&right).map_err(|_| unsupported())?,
    );
    if b == 0.0 {
        return Err(type_error("float modulo by zero"));
    }
    let rest = a % b;
    Ok(Value::from(if rest != 0.0 && (rest < 0.0) != (b < 0.0) {
        rest + b
    } else {
        rest
    }))
}

/// An integer or a truth value as an integer.
pub fn whole(value: &Value) -> Result<i128, Error> {
    if value.kind() == ValueKind::Bool {
        return Ok(i128::from(value.is_true()));
    }
    i128::try_from(value.clone())
}

/// Numbers, texts, lists and tuples have an order among themselves, nothing else has.
pub fn order(operator: &str, left: &Value, right: &Value) -> Result<Ordering, Error> {
    if left.is_undefined() || right.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    let class = |value: &Value| match type_name(value) {
        "bool" | "int" | "float" => Some("number"),
        name @ ("str" | "list" | "tuple") => Some(name),
        _ => None,
    };
    match (class(left), class(right)) {
        (Some("list" | "tuple"), Some("list" | "tuple")) if class(left) == class(right) => {
            for (a, b) in left.try_iter()?.zip(right.try_iter()?) {
                if !equal(&a, &b)? {
                    return order(operator, &a, &b);
                }
            }
            Ok(left.len().cmp(&right.len()))
        }
        (Some("number"), Some("number")) => {
            // Truth values count as 0 and 1.
            let number = |value: &Value| {
                if value.kind() == ValueKind::Bool {
                    Value::from(u8::from(value.is_true()))
                } else {
                    value.clone()
                }
            };
            Ok(number(left).cmp(&number(right)))
        }
        (Some(a), Some(b)) if a == b => Ok(left.cmp(right)),
        _ => Err(type_error(format!(
            "'{operator}' not supported between instances of '{}' and '{}'",
            type_name(left),
            type_name(right)
        ))),
    }
}

/// `left == right`, in a bounded number of steps: a list that holds another twice, which holds another
/// twice, has more items than can be compared.
pub fn equal(left: &Value, right: &Value) -> Result<bool, Error> {
    equal_within(left, right, &mut 500_000)
}

fn equal_within(left: &Value, right: &Value, steps: &mut u32) -> Result<bool, Error> {
    let is_list = |value: &Value| matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable);
    *steps = steps
        .checked_sub(1)
        .ok_or_else(|| super::python::too_large("a comparison"))?;
    if is_list(left) && is_list(right) {
        if left.is_tuple() != right.is_tuple() || left.len() != right.len() {
            return Ok(false);
        }
        for (a, b) in left.try_iter()?.zip(right.try_iter()?) {
            if !equal_within(&a, &b, steps)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    if left.kind() == ValueKind::Map
        && right.kind() == ValueKind::Map
        && is_plain_map(left)
        && is_plain_map(right)
    {
        if left.len() != right.len() {
            return Ok(false);
        }
        for key in left.try_iter()? {
            let other = right.get_item(&key)?;
            if other.is_undefined() || !equal_within(&left.get_item(&key)?, &other, steps)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    Ok(left == right)
}

/// Whether one of the items is equal.
fn holds(items: &Value, wanted: &Value) -> Result<bool, Error> {
    for item in items.try_iter()? {
        if equal(&item, wanted)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `item in container`.
pub fn contains(container: &Value, item: &Value) -> Result<bool, Error> {
    match container.kind() {
        ValueKind::Undefined => Ok(false),
        ValueKind::String => match item.as_str() {
            Some(text) => Ok(container.as_str().unwrap_or_default().contains(text)),
            None if item.is_undefined() => Err(Error::from(ErrorKind::UndefinedError)),
            None => Err(type_error(format!(
                "'in <string>' requires string as left operand, not {}",
                type_name(item)
            ))),
        },
        ValueKind::Map => Ok(container.try_iter()?.any(|key| key == *item)),
        ValueKind::Seq | ValueKind::Iterable => holds(container, item),
        _ => Err(type_error(format!(
            "argument of type '{}' is not iterable",
            type_name(container)
        ))),
    }
}

/// Lets through what a `for` can run over; a text becomes its characters.
pub fn iterate(value: Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            Ok(text
                .chars()
                .map(|character| character.to_string())
                .collect())
        }
        ValueKind::None | ValueKind::Bool | ValueKind::Number => Err(type_error(format!(
            "'{}' object is not iterable",
            type_name(&value)
        ))),
        _ => Ok(value),
    }
}

/// Names that are a dictionary's methods before they are its keys.
pub fn is_dict_method(name: &str) -> bool {
    matches!(
        name,
        "clear"
            | "copy"
            | "fromkeys"
            | "get"
            | "items"
            | "keys"
            | "pop"
            | "popitem"
            | "setdefault"
            | "update"
            | "values"
    )
}

fn attribute(value: Value, name: String) -> Result<Value, Error> {
    if value.kind() == ValueKind::Map
        && value.downcast_object_ref::<Method>().is_none()
        && is_plain_map(&value)
    {
        return Ok(Value::from_object(Method { owner: value, name }));
    }
    value.get_attr(&name)
}

/// `value['items']`: the key, or else the method.
fn subscript(value: Value, key: Value) -> Result<Value, Error> {
    let found = value.get_item(&key)?;
    match key.as_str() {
        Some(name) if found.is_undefined() => attribute(value, name.to_owned()),
        _ => Ok(found),
    }
}

/// A dictionary, and no object of the engine's (`loop`, a namespace, a macro).
pub fn is_plain_map(value: &Value) -> bool {
    let engines = [
        "minijinja::vm",
        "minijinja::value::namespace",
        "warmcell",
        "engine::",
    ];
    value.as_object().is_some_and(|object| {
        !engines
            .iter()
            .any(|prefix| object.type_name().starts_with(prefix))
    })
}

/// A method that was named and not called.
#[derive(Debug)]
struct Method {
    owner: Value,
    name: String,
}

impl Object for Method {
    fn repr(self: &Arc<Self>) -> minijinja::value::ObjectRepr {
        minijinja::value::ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, state: &mut State, args: &[Value]) -> Result<Value, Error> {
        self.owner.call_method(state, &self.name, args)
    }
}

/// A macro whose last two arguments are `varargs` and `kwargs`.
#[derive(Debug)]
struct Variadic {
    inner: Value,
    varargs: bool,
    kwargs: bool,
}

impl Object for Variadic {
    fn call(self: &Arc<Self>, state: &mut State, args: &[Value]) -> Result<Value, Error> {
        let (args, kwargs) = match args.split_last() {
            Some((last, rest)) if last.is_kwargs() => (rest, Some(Kwargs::try_from(last.clone())?)),
            _ => (args, None),
        };
        let names: Vec<Value> = self.inner.get_attr("arguments")?.try_iter()?.collect();
        let own = names.len().saturating_sub(2);
        let (given, further) = args.split_at(args.len().min(own));
        let mut of_macro = Vec::new();
        let mut extra = Vec::new();
        for key in kwargs.iter().flat_map(Kwargs::args) {
            let value: Value = kwargs
                .as_ref()
                .map_or(Ok(Value::UNDEFINED), |kwargs| kwargs.get(key))?;
            let is_own =
                key == "caller" || names[..own].iter().any(|name| name.as_str() == Some(key));
            if is_own { &mut of_macro } else { &mut extra }.push((key.to_owned(), value));
        }
        if !self.varargs && !further.is_empty() || !self.kwargs && !extra.is_empty() {
            return Err(type_error(format!(
                "macro {} takes other arguments",
                self.inner.get_attr("name")?
            )));
        }
        of_macro.push(("varargs".to_owned(), Value::from(Tuple::from(further))));
        of_macro.push(("kwargs".to_owned(), Value::from_pairs(extra)));
        let mut args = given.to_vec();
        args.push(of_macro.into_iter().collect::<Kwargs>().into());
        self.inner.call(state, &args)
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.inner.get_item(key).ok()
    }
}
