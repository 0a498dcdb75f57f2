//! Controls with a value, buttons and bars, with the names and defaults of `ipywidgets`.

use std::fmt;

use ::display::{
    RichDisplay,
    widgets::{Kind, chosen},
};
use serde_json::{Value, json};
use wire::{mime::Bundle, widget::WidgetAction};

use super::{
    handle::{Handle, Widget},
    instead,
};

/// A control of a value, with the attributes that can be set.
macro_rules! control {
    ($(#[$doc:meta])* $name:ident: $value:ty, $kind:expr, $new:expr;
     $($(#[$attribute_doc:meta])* $attribute:ident: $type:ty),*) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Handle);

        impl $name {
            /// One with this value.
            pub fn new(value: impl Into<$value>) -> Self {
                let value: $value = value.into();
                let new: fn($value) -> Value = $new;
                Self(Handle::new($kind, new(value)))
            }

            /// What stands beside it.
            #[must_use]
            pub fn description(self, description: &str) -> Self {
                self.0.describe(description);
                self
            }

            $($(#[$attribute_doc])*
            #[must_use]
            pub fn $attribute(self, $attribute: $type) -> Self {
                self.0.set(stringify!($attribute), $attribute);
                self
            })*

            /// Whether the user can change it.
            pub fn set_enabled(&self, enabled: bool) {
                self.0.set("disabled", !enabled);
            }

            /// The value, as the user left it.
            pub fn value(&self) -> $value {
                serde_json::from_value(self.0.get("value")).unwrap_or_default()
            }

            /// Changes the value.
            pub fn set_value(&self, value: impl Into<$value>) {
                let value: $value = value.into();
                self.0.set("value", value);
            }

            /// Calls a function with the new value whenever the user has changed it, once no cell runs.
            /// Of changes that follow each other quickly it gets the last.
            pub fn observe(&self, mut changed: impl FnMut($value) + Send + 'static) {
                self.0.observe(move |action| {
                    if let WidgetAction::Changed(state) = action
                        && let Some(value) = state.get("value")
                        && let Ok(value) = serde_json::from_value(value.clone())
                    {
                        changed(value);
                    }
                });
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
                f.debug_struct(stringify!($name)).field("value", &self.value()).finish()
            }
        }
    };
}

control! {
    /// A slider of a whole number, from 0 to 100 unless told otherwise.
    IntSlider: i64, Kind::IntSlider, |value| json!({ "value": value, "min": 0, "max": 100, "step": 1 });
    /// The smallest value.
    min: i64,
    /// The largest value.
    max: i64,
    /// From one value to the next.
    step: i64
}

control! {
    /// A slider of a number, from 0 to 100 in steps of 0.1 unless told otherwise.
    FloatSlider: f64, Kind::FloatSlider,
    |value| json!({ "value": value, "min": 0.0, "max": 100.0, "step": 0.1, "readout_format": ".2f" });
    /// The smallest value.
    min: f64,
    /// The largest value.
    max: f64,
    /// From one value to the next.
    step: f64
}

control! {
    /// A check box.
    Checkbox: bool, Kind::Checkbox, |value| json!({ "value": value });
}

control! {
    /// A line of text. Its value changes when the user leaves it or presses Enter.
    Text: String, Kind::Text, |value| json!({ "value": value, "continuous_update": false });
    /// What stands in it while it is empty.
    placeholder: &str
}

control! {
    /// Lines of text. Its value changes when the user leaves them.
    Textarea: String, Kind::Textarea, |value| json!({ "value": value, "continuous_update": false });
    /// What stands in it while it is empty.
    placeholder: &str,
    /// How many lines are seen.
    rows: u32
}

control! {
    /// A bar of a whole number, from 0 to 100 unless told otherwise.
    IntProgress: i64, Kind::IntProgress, |value| json!({ "value": value, "min": 0, "max": 100 });
    /// Where it is empty.
    min: i64,
    /// Where it is full.
    max: i64
}

control! {
    /// A bar of a number, from 0 to 100 unless told otherwise.
    FloatProgress: f64, Kind::FloatProgress, |value| json!({ "value": value, "min": 0.0, "max": 100.0 });
    /// Where it is empty.
    min: f64,
    /// Where it is full.
    max: f64
}

control! {
    /// A piece of HTML, which goes to the page as it is: escape what is not yours.
    Html: String, Kind::Html, |value| json!({ "value": value });
}

/// A list of which one is chosen.
#[derive(Clone)]
pub struct Dropdown(Handle);

impl Dropdown {
    /// A list of these, the first chosen.
    pub fn new<T: Into<String>>(options: impl IntoIterator<Item = T>) -> Self {
        let options: Vec<String> = options.into_iter().map(Into::into).collect();
        let index = (!options.is_empty()).then_some(0);
        Self(Handle::new(
            Kind::Dropdown,
            json!({ "_options_labels": options, "index": index }),
        ))
    }

    /// What stands beside it.
    #[must_use]
    pub fn description(self, description: &str) -> Self {
        self.0.describe(description);
        self
    }

    /// The chosen one; empty when there is none.
    pub fn value(&self) -> String {
        chosen(&self.0.get("_options_labels"), &self.0.get("index"))
    }

    /// Chooses one; what is not in the list changes nothing.
    pub fn set_value(&self, value: &str) {
        let options = self.0.get("_options_labels");
        let mut labels = options.as_array().into_iter().flatten();
        if let Some(index) = labels.position(|label| label == value) {
            self.0.set("index", index);
        }
    }

    /// Calls a function with what the user has chosen, once no cell runs.
    pub fn observe(&self, mut changed: impl FnMut(String) + Send + 'static) {
        let options = self.0.get("_options_labels");
        self.0.observe(move |action| {
            if let WidgetAction::Changed(state) = action
                && let Some(index) = state.get("index")
            {
                changed(chosen(&options, index));
            }
        });
    }
}

impl Widget for Dropdown {
    fn handle(&self) -> &Handle {
        &self.0
    }
}

impl RichDisplay for Dropdown {
    fn bundle(&self) -> Bundle {
        instead::bundle(&self.0)
    }
}

impl fmt::Debug for Dropdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dropdown")
            .field("value", &self.value())
            .finish()
    }
}

/// A button.
#[derive(Clone)]
pub struct Button(Handle);

impl Button {
    /// One that says this.
    pub fn new(description: &str) -> Self {
        Self(Handle::new(
            Kind::Button,
            json!({ "description": description }),
        ))
    }

    /// What is told of it under the pointer.
    #[must_use]
    pub fn tooltip(self, tooltip: &str) -> Self {
        self.0.set("tooltip", tooltip);
        self
    }

    /// Whether it can be clicked.
    pub fn set_enabled(&self, enabled: bool) {
        self.0.set("disabled", !enabled);
    }

    /// How often it was clicked so far, also while a cell runs.
    pub fn clicks(&self) -> u64 {
        self.0.clicks()
    }

    /// Calls a function for every click, once no cell runs.
    pub fn on_click(&self, mut clicked: impl FnMut() + Send + 'static) {
        self.0.observe(move |action| {
            if *action == WidgetAction::Clicked {
                clicked();
            }
        });
    }
}

impl Widget for Button {
    fn handle(&self) -> &Handle {
        &self.0
    }
}

impl RichDisplay for Button {
    fn bundle(&self) -> Bundle {
        instead::bundle(&self.0)
    }
}

impl fmt::Debug for Button {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Button").field(&self.0).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `get_state()` of ipywidgets 8.1.9 has them: `FloatSlider` and `FloatProgress` ended at 10.
    #[test]
    fn defaults_are_those_of_ipywidgets() {
        let of = |widget: &dyn Widget, names: &[&str]| -> Vec<Value> {
            names.iter().map(|name| widget.handle().get(name)).collect()
        };
        let range = ["value", "min", "max"];
        assert_eq!(of(&IntSlider::new(0), &range), [0, 0, 100]);
        assert_eq!(of(&IntProgress::new(0), &range), [0, 0, 100]);
        assert_eq!(of(&FloatSlider::new(0.0), &range), [0.0, 0.0, 100.0]);
        assert_eq!(of(&FloatProgress::new(0.0), &range), [0.0, 0.0, 100.0]);
        let steps = ["step", "readout_format"];
        assert_eq!(
            of(&FloatSlider::new(0.0), &steps),
            [json!(0.1), json!(".2f")]
        );
        assert_eq!(of(&IntSlider::new(0), &["step"]), [1]);
        // What is not set is the front end's own default, the same.
        assert_eq!(of(&Checkbox::new(false), &["indent"]), [Value::Null]);
    }
}
