//! How deeply the values of a template may hold one another. Whatever prints, compares or drops a value
//! walks it by recursion; a loop that puts a list into a list at each turn would make that walk longer
//! than the stack. Only a variable carries a value from turn to turn, so that is where it is looked at,
//! by calls that [`super::compile`] puts before the instructions which store.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use minijinja::{
    Environment, Error, ErrorKind, Value,
    value::{Tuple, ValueKind},
};

use super::python::View;

/// Before a variable is set: the value.
pub const STORE: &str = "=";
/// Before an attribute of a namespace is set: the value and the namespace.
pub const STORE_ATTRIBUTE: &str = ".=";

/// Values within values; JSON schemas of tools have ten.
const DEEPEST: usize = 100;
/// Values that a template's stores may have looked at in all.
const MOST: usize = 4_000_000;

/// Adds the calls.
pub fn add_to(environment: &mut Environment<'_>) {
    let looked_at = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&looked_at);
    environment.add_function(STORE, move |value: Value| settled(value, &seen, false));
    environment.add_function(STORE_ATTRIBUTE, move |value: Value, target: Value| {
        let value = settled(value, &looked_at, true)?;
        Ok::<_, Error>(Value::from(Tuple::from([target, value])))
    });
}

/// The value, if it may be stored. What is computed at each look at it becomes a list: a chain of such
/// would be computed by recursion.
fn settled(value: Value, looked_at: &AtomicUsize, outlives_turn: bool) -> Result<Value, Error> {
    let is_computed =
        value.kind() == ValueKind::Iterable && value.downcast_object_ref::<View>().is_none();
    let value = if is_computed {
        Value::from(value.try_iter()?.collect::<Vec<_>>())
    } else {
        value
    };
    let mut walk = Walk {
        looked_at,
        outlives_turn,
    };
    walk.visit(&value, 0)?;
    Ok(value)
}

struct Walk<'a> {
    looked_at: &'a AtomicUsize,
    outlives_turn: bool,
}

impl Walk<'_> {
    fn visit(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > DEEPEST {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("a value holds values that hold values, more than {DEEPEST} deep"),
            ));
        }
        if self.looked_at.fetch_add(1, Ordering::Relaxed) > MOST {
            return Err(Error::from(ErrorKind::OutOfFuel));
        }
        if self.outlives_turn && is_opaque(value) {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                "a namespace can hold texts, numbers, lists and dictionaries, and no function or \
                 namespace",
            ));
        }
        match value.kind() {
            ValueKind::Seq | ValueKind::Iterable => {
                for item in value.try_iter()? {
                    self.visit(&item, depth + 1)?;
                }
            }
            ValueKind::Map => {
                for key in value.try_iter()? {
                    let item = value.get_item(&key)?;
                    self.visit(&item, depth + 1)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether it is a macro, a loop or the like, which hold variables where nobody can look; or another
/// namespace, which may come to hold this one later.
fn is_opaque(value: &Value) -> bool {
    let Some(object) = value.as_object() else {
        return false;
    };
    // minijinja does not export the types of its own.
    let name = object.type_name();
    value.kind() == ValueKind::Plain
        || ["::Macro", "::Loop", "::Module", "::Variadic", "::Namespace"]
            .iter()
            .any(|kind| name.ends_with(kind))
}
