//! Boxes that hold widgets, and the output widget, which holds what is printed and shown.

use std::fmt;

use ::display::{
    RichDisplay, Show,
    widgets::{Kind, reference},
};
use serde_json::{Value, json};
use wire::{mime::Bundle, widget::WidgetCall};

use super::{
    handle::{Handle, Widget, send},
    instead,
};
use crate::show;

macro_rules! boxes {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $($(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Handle);

        impl $name {
            /// A box of these.
            pub fn new<'a>(children: impl IntoIterator<Item = &'a dyn Widget>) -> Self {
                let children: Vec<Handle> =
                    children.into_iter().map(|child| child.handle().clone()).collect();
                if matches!(Kind::$name, Kind::VBox) {
                    Handle::align(&children);
                }
                let names: Vec<Value> = children.iter().map(|child| reference(child.id())).collect();
                Self(Handle::holding(children, Kind::$name, json!({ "children": names })))
            }
        }

        impl Widget for $name {
            fn handle(&self) -> &Handle {
                &self.0
            }
        }

        impl RichDisplay for $name {
            fn bundle(&self) -> Bundle {
                instead::bundle(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("children", &self.0.children()).finish()
            }
        })*
    };
}

boxes! {
    /// Widgets one below the other.
    VBox;
    /// Widgets side by side.
    HBox;
}

/// A place on the page for what is printed and shown.
#[derive(Clone)]
pub struct Output(Handle);

impl Output {
    /// An empty one.
    pub fn new() -> Self {
        Self(Handle::new(
            Kind::Output,
            json!({ "msg_id": "", "outputs": [] }),
        ))
    }

    /// Runs a function; what it prints and shows comes here.
    pub fn capture<T>(&self, run: impl FnOnce() -> T) -> T {
        self.0.open();
        send(WidgetCall::Capture {
            id: Some(self.0.id().to_owned()),
        });
        let _captured = Captured;
        run()
    }

    /// Shows a value here.
    pub fn display(&self, value: impl Show) {
        self.capture(|| show::display(value));
    }

    /// Empties it; with `wait` once something new comes.
    pub fn clear(&self, wait: bool) {
        self.capture(|| show::clear_output(wait));
    }
}

/// Gives the cell its own output back, also when it panics.
struct Captured;

impl Drop for Captured {
    fn drop(&mut self) {
        send(WidgetCall::Capture { id: None });
    }
}

impl Default for Output {
    fn default() -> Self {
        Self::new()
    }
}

impl Widget for Output {
    fn handle(&self) -> &Handle {
        &self.0
    }
}

impl RichDisplay for Output {
    fn bundle(&self) -> Bundle {
        instead::bundle(&self.0)
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Output").field(&self.0).finish()
    }
}
