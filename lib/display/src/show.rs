//! What `display(value)` takes: everything with a rich display, and the standard library's types by
//! their `Debug` form, of a long one the two ends. A blanket over `Debug` cannot stand beside one over
//! `RichDisplay`, so other `Debug` types go through the macro `display!`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    fmt::Debug,
    time::Duration,
};

use wire::mime::Bundle;

use crate::{RichDisplay, limited};

/// A value that `display` can show.
#[diagnostic::on_unimplemented(
    message = "`display` cannot show `{Self}`",
    note = "write `display!(value)` to show the `Debug` form of any type, or implement `RichDisplay` for it"
)]
pub trait Show {
    /// The rendering.
    fn show(&self) -> Bundle;
}

impl<T: RichDisplay + ?Sized> Show for T {
    fn show(&self) -> Bundle {
        self.bundle()
    }
}

macro_rules! show_debug {
    ($({$($generics:tt)*} $type:ty;)*) => {
        $(impl<$($generics)*> Show for $type {
            fn show(&self) -> Bundle {
                Bundle::text(limited::debug_text(&self))
            }
        })*
    };
}

show_debug! {
    {} bool; {} char; {} f32; {} f64;
    {} i8; {} i16; {} i32; {} i64; {} i128; {} isize;
    {} u8; {} u16; {} u32; {} u64; {} u128; {} usize;
    {} Duration;
    {T: Debug} [T];
    {T: Debug, const N: usize} [T; N];
    {T: Debug} Vec<T>; {T: Debug} VecDeque<T>;
    {T: Debug} BTreeSet<T>; {K: Debug, V: Debug} BTreeMap<K, V>;
    {T: Debug, S} HashSet<T, S>; {K: Debug, V: Debug, S} HashMap<K, V, S>;
    {A: Debug, B: Debug} (A, B); {A: Debug, B: Debug, C: Debug} (A, B, C);
}

/// Text shows as it reads, not quoted.
impl Show for str {
    fn show(&self) -> Bundle {
        Bundle::text(limited::plain_text(self))
    }
}

impl Show for &str {
    fn show(&self) -> Bundle {
        Bundle::text(limited::plain_text(self))
    }
}

impl Show for String {
    fn show(&self) -> Bundle {
        Bundle::text(limited::plain_text(self))
    }
}

impl Show for &String {
    fn show(&self) -> Bundle {
        Bundle::text(limited::plain_text(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `display(&numbers)` of 25 MB stopped the browser, where the last line of a cell did not.
    #[test]
    fn a_long_value_shows_its_two_ends_whatever_its_type() {
        let numbers: Vec<i32> = (0..100_000).collect();
        let text = "한국어 ".repeat(100_000);
        let shown = [
            numbers.show(),
            numbers[..].show(),
            numbers.iter().collect::<BTreeSet<_>>().show(),
            numbers
                .iter()
                .map(|&n| (n, n))
                .collect::<BTreeMap<_, _>>()
                .show(),
            (1, numbers.clone()).show(),
            text.show(),
            text.as_str().show(),
        ];
        for bundle in shown {
            let text = bundle.get("text/plain").unwrap_or_default();
            assert!(text.len() < 80_000, "{} bytes", text.len());
            assert!(text.contains(" in all; `println!` prints all of it …\n"));
        }
        assert_eq!("short\n".show().get("text/plain"), Some("short\n"));
    }
}
