//! Jinja's tests, what stands behind `is`, where they differ from minijinja's or it lacks them, as Jinja2
//! 3.1.6 has them.

#![expect(
    clippy::needless_pass_by_value,
    reason = "minijinja calls with values of its own"
)]

use minijinja::{Environment, Error, Value, value::ValueKind};

use super::{
    operators::{contains, equal, iterate, order, whole},
    python::{str, type_error, type_name},
};

/// Adds the tests.
pub fn add_to(environment: &mut Environment<'_>) {
    add_kinds(environment);
    add_numbers(environment);
    add_comparisons(environment);
    environment.add_test("in", |item: Value, container: Value| {
        contains(&container, &item)
    });
    environment.add_test("lower", |value: Value| {
        is_cased(&value, char::is_lowercase, char::is_uppercase)
    });
    environment.add_test("upper", |value: Value| {
        is_cased(&value, char::is_uppercase, char::is_lowercase)
    });
}

fn add_kinds(environment: &mut Environment<'_>) {
    environment.add_test("iterable", |value: Value| {
        iterate(value.clone()).is_ok() && !is_plain(&value)
    });
    environment.add_test("sequence", is_sequence);
    environment.add_test("callable", is_callable);
    environment.add_test("mapping", |value: Value| {
        value.kind() == ValueKind::Map && !is_callable(value)
    });
}

fn add_numbers(environment: &mut Environment<'_>) {
    environment.add_test("number", |value: Value| {
        matches!(value.kind(), ValueKind::Number | ValueKind::Bool)
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
}

fn add_comparisons(environment: &mut Environment<'_>) {
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
