//! How the last expression of a cell is shown, chosen by its type at compile time: its rich display,
//! else an `evcxr_display` of its own, else its `Debug` form.
//!
//! The choice rests on method lookup. `(expression).__warmcell_ref()` gives a [`Ref`], whose inherent
//! methods exist only for rich types; for others lookup goes through `Deref` to the value, where an
//! inherent `evcxr_display` goes before the trait [`DebugDisplay`].

use std::{fmt::Debug, ops::Deref};

use ::display::{RichDisplay, limited};
use wire::{cell::CellMessage, mime::Bundle};

use crate::show::print_unless_sent;

/// A borrowed value on its way to the page. Not `Debug`, or the fallback would show the wrapper.
#[expect(
    missing_debug_implementations,
    reason = "lookup must pass by this type to the value"
)]
pub struct Ref<'a, T: ?Sized>(&'a T);

/// Borrows a value of any type, sized or not.
pub trait ByRef {
    /// The value, borrowed.
    fn __warmcell_ref(&self) -> Ref<'_, Self>;
}

impl<T: ?Sized> ByRef for T {
    fn __warmcell_ref(&self) -> Ref<'_, Self> {
        Ref(self)
    }
}

impl<T: ?Sized> Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0
    }
}

impl<T: RichDisplay + ?Sized> Ref<'_, T> {
    /// Shows the value as the cell's result.
    pub fn evcxr_display(&self) {
        show_result(&|| self.0.bundle());
    }

    /// The value's rendering.
    pub fn warmcell_bundle(&self) -> Bundle {
        self.0.bundle()
    }
}

/// The fallback: the `Debug` form, of a long one the two ends.
pub trait DebugDisplay {
    /// Shows the value as the cell's result.
    fn evcxr_display(&self);
    /// The value's rendering.
    fn warmcell_bundle(&self) -> Bundle;
}

impl<T: Debug + ?Sized> DebugDisplay for T {
    fn evcxr_display(&self) {
        show_result(&|| debug_bundle(&self));
    }

    fn warmcell_bundle(&self) -> Bundle {
        debug_bundle(&self)
    }
}

/// Not generic, like the next one: what is compiled here is not compiled in every cell.
fn debug_bundle(value: &dyn Debug) -> Bundle {
    Bundle::text(limited::debug_text(value))
}

fn show_result(bundle: &dyn Fn() -> Bundle) {
    let bundle = bundle();
    if !bundle.data.is_empty() {
        print_unless_sent(CellMessage::Result { bundle });
    }
}
