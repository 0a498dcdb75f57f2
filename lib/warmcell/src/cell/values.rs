//! Variables in short, for `%vars` and Shift-Tab: how a value is described is chosen by its type when
//! the cell that makes the variable is compiled, and kept beside the value for the cells after it.
//!
//! The choice rests on method lookup: for `&&Probe<T>` the methods of `&Probe<T>`, which ask more of
//! the type, go before those of `Probe<T>`.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    fmt::{self, Debug, Write as _},
    panic::{AssertUnwindSafe, catch_unwind},
};

use wire::cell::{Extent, VariableValue};

/// Letters of a value that are kept.
const MOST_LETTERS: usize = 80;

/// In scope of every cell, for the choice.
pub mod scope {
    pub use super::{ByDebug, ByItems, BySize, Unseen};
}

/// Asks a value's type what it can do.
#[derive(Debug)]
pub struct Probe<'a, T>(pub &'a T);

/// Writes a value; `None` for a type without a `Debug` form.
pub type Shown<T> = Option<fn(&T, &mut fmt::Formatter<'_>) -> fmt::Result>;

/// Says how much a value holds.
pub type Measured<T> = fn(&T) -> Extent;

/// How values of a variable are described, whatever their type.
pub type Form = Box<dyn Fn(&dyn Any, &str) -> Option<VariableValue>>;

/// For types with a `Debug` form.
pub trait ByDebug<T> {
    /// That form.
    fn shown(&self) -> Shown<T>;
}

impl<T: Debug> ByDebug<T> for &Probe<'_, T> {
    fn shown(&self) -> Shown<T> {
        Some(T::fmt)
    }
}

/// For all others.
pub trait Unseen<T> {
    /// Nothing.
    fn shown(&self) -> Shown<T>;
}

impl<T> Unseen<T> for Probe<'_, T> {
    fn shown(&self) -> Shown<T> {
        None
    }
}

/// For types that count what they hold.
pub trait ByItems<T> {
    /// Their count.
    fn measured(&self) -> Measured<T>;
}

macro_rules! counted {
    ($([$($parameter:ident),*] $type:ty, $unit:ident;)+) => {$(
        impl<$($parameter),*> ByItems<$type> for &Probe<'_, $type> {
            fn measured(&self) -> Measured<$type> {
                |value| Extent::$unit(value.len() as u64)
            }
        }
    )+};
}

counted! {
    [T] Vec<T>, Items;
    [T] Box<[T]>, Items;
    [T] VecDeque<T>, Items;
    [K, V, S] HashMap<K, V, S>, Items;
    [T, S] HashSet<T, S>, Items;
    [K, V] BTreeMap<K, V>, Items;
    [T] BTreeSet<T>, Items;
    [] String, Bytes;
    [] &'static str, Bytes;
}

/// For all others.
pub trait BySize<T> {
    /// What the value itself takes.
    fn measured(&self) -> Measured<T>;
}

impl<T> BySize<T> for Probe<'_, T> {
    fn measured(&self) -> Measured<T> {
        |_| Extent::Bytes(size_of::<T>() as u64)
    }
}

/// The form of a variable of this type.
pub fn form<T: 'static>(shown: Shown<T>, measured: Measured<T>) -> Option<Form> {
    Some(Box::new(move |value, name| {
        let own = super::own::text(value);
        let value = value.downcast_ref::<T>()?;
        let text = match own {
            Some(own) => Some(short(&move |formatter| formatter.write_str(&own))),
            None => shown.map(|shown| short(&move |formatter| shown(value, formatter))),
        };
        Some(VariableValue {
            name: name.to_owned(),
            value: text,
            extent: Some(measured(value)),
        })
    }))
}

/// Calls a `Debug` of the user's, which may write without end or panic.
fn short(write: &dyn Fn(&mut fmt::Formatter<'_>) -> fmt::Result) -> String {
    let mut short = Short::default();
    let written = catch_unwind(AssertUnwindSafe(|| {
        write!(short, "{}", fmt::from_fn(write)).is_ok()
    }));
    match written {
        Ok(true) => short.text,
        Ok(false) => short.text + "…",
        Err(_) => {
            super::forget_panic();
            "(its Debug form panics)".to_owned()
        }
    }
}

/// Takes some letters, on one line, and then refuses.
#[derive(Default)]
struct Short {
    text: String,
    letters: usize,
}

impl fmt::Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            if self.letters == MOST_LETTERS {
                return Err(fmt::Error);
            }
            self.letters += 1;
            self.text
                .push(if letter.is_control() { ' ' } else { letter });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{scope::*, *};

    macro_rules! described {
        ($value:expr) => {{
            let value = $value;
            let probe = &&Probe(&value);
            let form = form(probe.shown(), probe.measured()).expect("a form");
            let VariableValue { value, extent, .. } = form(&value, "x").expect("of its type");
            (value, extent.expect("known"))
        }};
    }

    struct Opaque;

    struct Endless;

    impl Debug for Endless {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            loop {
                formatter.write_str("한 ")?;
            }
        }
    }

    struct Faulty;

    impl Debug for Faulty {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("on purpose")
        }
    }

    #[test]
    fn a_value_is_described_by_what_its_type_can_do() {
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(described!(5_i32), (text("5"), Extent::Bytes(4)));
        assert_eq!(described!(vec![1, 2]), (text("[1, 2]"), Extent::Items(2)));
        assert_eq!(
            described!("한".to_owned()),
            (text("\"한\""), Extent::Bytes(3))
        );
        assert_eq!(described!(vec![Opaque]), (None, Extent::Items(1)));
        assert_eq!(described!(Opaque), (None, Extent::Bytes(0)));
    }

    #[test]
    fn what_writes_without_end_or_panics_is_cut() {
        let (endless, _) = described!(Endless);
        let endless = endless.expect("has a form");
        assert!(
            endless.starts_with("한 한") && endless.ends_with('…'),
            "{endless}"
        );
        assert_eq!(endless.chars().count(), MOST_LETTERS + 1);
        let (faulty, _) = described!(Faulty);
        assert_eq!(faulty.as_deref(), Some("(its Debug form panics)"));
    }

    #[test]
    fn a_value_of_another_type_is_not_described() {
        let number = 1_i32;
        let probe = &&Probe(&number);
        let form = form(probe.shown(), probe.measured()).expect("a form");
        assert_eq!(form(&"text", "x"), None);
    }
}
