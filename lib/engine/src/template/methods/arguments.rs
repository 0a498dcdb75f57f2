//! What a method is called with, by place or by name.

use minijinja::{Error, Value, value::Kwargs};

use super::super::python::{type_error, type_name};

/// Positional and named arguments of a call.
pub(super) struct Arguments<'a> {
    pub positional: &'a [Value],
    pub named: Option<Kwargs>,
}

impl<'a> Arguments<'a> {
    pub fn new(args: &'a [Value]) -> Result<Self, Error> {
        let (positional, named) = match args.split_last() {
            Some((last, rest)) if last.is_kwargs() => (rest, Some(Kwargs::try_from(last.clone())?)),
            _ => (args, None),
        };
        Ok(Self { positional, named })
    }

    pub fn get(&self, at: usize, name: &str) -> Option<Value> {
        let named = || self.named.as_ref()?.get(name).ok();
        self.positional.get(at).cloned().or_else(named)
    }

    /// A text; `None` when absent or Python's `None`.
    pub fn text(&self, at: usize, name: &str) -> Result<Option<String>, Error> {
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

    pub fn required(&self, at: usize) -> Result<String, Error> {
        self.text(at, "")?
            .ok_or_else(|| type_error("a str argument is missing"))
    }

    pub fn number(&self, at: usize, name: &str) -> Result<Option<i64>, Error> {
        self.get(at, name)
            .filter(|value| !value.is_none())
            .map(i64::try_from)
            .transpose()
    }

    pub fn at_most(&self, count: usize) -> Result<(), Error> {
        if self.positional.len() > count {
            return Err(type_error(format!(
                "expected at most {count} arguments, got {}",
                self.positional.len()
            )));
        }
        Ok(())
    }
}
