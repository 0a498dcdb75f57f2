//! Filters whose values minijinja computes as Jinja2 does, but whose arguments it takes in one way only:
//! here each argument may be given by its place or by the name that it has in Python.

#![expect(
    clippy::needless_pass_by_value,
    reason = "minijinja calls with values of its own"
)]

use minijinja::{
    Environment, Error, State, Value,
    filters::{batch, dictsort, max, min, slice, sort, unique},
    value::{Kwargs, Rest},
};

use super::{
    operators::{iterate, order},
    python::{str, type_error},
};

/// Adds the filters.
pub fn add_to(environment: &mut Environment<'_>) {
    environment.add_filter("default", default);
    environment.add_filter("d", default);
    environment.add_filter("dictsort", sorted_items);
    environment.add_filter("sort", sorted);
    for (name, filter) in [
        (
            "unique",
            unique as fn(&State, Value, Kwargs) -> Result<Value, Error>,
        ),
        ("max", max),
        ("min", min),
    ] {
        environment.add_filter(
            name,
            move |state: &State, value: Value, given: Rest<Value>, named: Kwargs| {
                let [case_sensitive, attribute] =
                    bind(["case_sensitive", "attribute"], &given, &named)?;
                let attribute = path(attribute.as_ref())?;
                let case_sensitive = truth(("case_sensitive", case_sensitive));
                filter(
                    state,
                    value,
                    with([case_sensitive, ("attribute", attribute)]),
                )
            },
        );
    }
    for (name, count, filter) in [
        (
            "batch",
            "linecount",
            batch as fn(&State, Value, usize, Option<Value>) -> Result<Value, Error>,
        ),
        ("slice", "slices", slice),
    ] {
        environment.add_filter(
            name,
            move |state: &State, value: Value, given: Rest<Value>, named: Kwargs| {
                let [number, fill_with] = bind([count, "fill_with"], &given, &named)?;
                let number = number.ok_or_else(|| {
                    type_error(format!("missing 1 required positional argument: '{count}'"))
                })?;
                let fill_with = fill_with.filter(|value| !value.is_none());
                filter(state, value, usize::try_from(number)?, fill_with)
            },
        );
    }
}

/// The arguments of a call by the names of the parameters, in the order of these.
pub fn bind<const N: usize>(
    names: [&'static str; N],
    given: &[Value],
    kwargs: &Kwargs,
) -> Result<[Option<Value>; N], Error> {
    if given.len() > N {
        return Err(type_error(format!(
            "takes {N} arguments at most, and {} were given",
            given.len()
        )));
    }
    let mut bound = [const { None }; N];
    for (at, name) in names.into_iter().enumerate() {
        let by_name = kwargs.has(name).then(|| kwargs.get(name)).transpose()?;
        if by_name.is_some() && at < given.len() {
            return Err(type_error(format!(
                "got multiple values for argument '{name}'"
            )));
        }
        bound[at] = given.get(at).cloned().or(by_name);
    }
    kwargs.assert_all_used()?;
    Ok(bound)
}

/// The arguments that are given, as minijinja takes them.
fn with(arguments: impl IntoIterator<Item = (&'static str, Option<Value>)>) -> Kwargs {
    arguments
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

/// Any value stands for true or false in Python.
fn truth((name, value): (&'static str, Option<Value>)) -> (&'static str, Option<Value>) {
    (name, value.map(|value| Value::from(value.is_true())))
}

/// An attribute, or an index, as minijinja's path to it.
fn path(attribute: Option<&Value>) -> Result<Option<Value>, Error> {
    let attribute = attribute.filter(|attribute| !attribute.is_none());
    let attribute = attribute.map(str).transpose()?;
    Ok(attribute.map(|attribute| Value::from(attribute.into_owned())))
}

/// Jinja2's `default(value, default_value='', boolean=False)`.
fn default(value: Value, given: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let [other, boolean] = bind(["default_value", "boolean"], &given, &named)?;
    let replaces_false = boolean.is_some_and(|boolean| boolean.is_true());
    if value.is_undefined() || replaces_false && !value.is_true() {
        return Ok(other.unwrap_or_else(|| Value::from("")));
    }
    Ok(value)
}

/// Jinja2's `dictsort(value, case_sensitive=False, by='key', reverse=False)`.
fn sorted_items(
    state: &mut State,
    value: Value,
    given: Rest<Value>,
    named: Kwargs,
) -> Result<Value, Error> {
    let [case_sensitive, by, reverse] = bind(["case_sensitive", "by", "reverse"], &given, &named)?;
    let by = by.as_ref().map(str).transpose()?;
    if by
        .as_ref()
        .is_some_and(|by| !matches!(&**by, "key" | "value"))
    {
        return Err(type_error(
            "you can only sort by either \"key\" or \"value\"",
        ));
    }
    // The items count as steps, which the function alone would not have them do.
    state.apply_filter("list", std::slice::from_ref(&value))?;
    let flags = [("case_sensitive", case_sensitive), ("reverse", reverse)].map(truth);
    let by = [("by", by.map(Value::from))];
    dictsort(&value, with(flags.into_iter().chain(by)))
}

/// Sorts, after a look whether the items have an order.
fn sorted(state: &State, value: Value, given: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let [reverse, case_sensitive, attribute] =
        bind(["reverse", "case_sensitive", "attribute"], &given, &named)?;
    let attribute = path(attribute.as_ref())?;
    let value = iterate(value)?;
    if attribute.is_none() {
        let items: Vec<Value> = value.try_iter()?.collect();
        for pair in items.windows(2) {
            order("<", &pair[0], &pair[1])?;
        }
    }
    let flags = [("reverse", reverse), ("case_sensitive", case_sensitive)].map(truth);
    let arguments = flags.into_iter().chain([("attribute", attribute)]);
    sort(state, value, with(arguments))
}
