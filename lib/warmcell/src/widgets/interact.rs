//! `interact`: controls, and under them what a function makes of their values.

use std::sync::{Arc, Mutex, PoisonError};

use ::display::Show;

use super::{
    Checkbox, Dropdown, FloatSlider, IntSlider, Output, Text, Textarea, VBox, handle::Widget,
    instead,
};
use crate::show;

/// Controls that a function is run with: one, or a tuple of up to three.
pub trait Controls: Clone + Send + 'static {
    /// Their values.
    type Values;
    /// The values, as the user left them.
    fn values(&self) -> Self::Values;
    /// Calls a function when one of them changes.
    #[doc(hidden)]
    fn observe_all(&self, changed: Arc<dyn Fn() + Send + Sync>);
    /// They, in order.
    #[doc(hidden)]
    fn widgets(&self) -> Vec<&dyn Widget>;
}

macro_rules! single {
    ($($name:ident: $value:ty;)*) => {
        $(impl Controls for $name {
            type Values = $value;
            fn values(&self) -> $value {
                self.value()
            }
            fn observe_all(&self, changed: Arc<dyn Fn() + Send + Sync>) {
                self.observe(move |_| changed());
            }
            fn widgets(&self) -> Vec<&dyn Widget> {
                vec![self]
            }
        })*
    };
}

single! {
    Checkbox: bool;
    Dropdown: String;
    FloatSlider: f64;
    IntSlider: i64;
    Text: String;
    Textarea: String;
}

macro_rules! several {
    ($(($($name:ident $index:tt),*))*) => {
        $(impl<$($name: Controls),*> Controls for ($($name,)*) {
            type Values = ($($name::Values,)*);
            fn values(&self) -> Self::Values {
                ($(self.$index.values(),)*)
            }
            fn observe_all(&self, changed: Arc<dyn Fn() + Send + Sync>) {
                $(self.$index.observe_all(Arc::clone(&changed));)*
            }
            fn widgets(&self) -> Vec<&dyn Widget> {
                let mut all = Vec::new();
                $(all.extend(self.$index.widgets());)*
                all
            }
        })*
    };
}

several! { (A 0, B 1) (A 0, B 1, C 2) }

/// Shows controls and, below them, what `run` gives for their values, prints and shows; again whenever the
/// user changes one. It runs when no cell does; of changes that come while it runs the last counts.
///
/// ```no_run
/// use warmcell::widgets::*;
/// # use warmcell::prelude::*;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let model = AutoModelForCausalLM::from_pretrained("x").load()?;
/// let temperature = FloatSlider::new(0.7).min(0.1).max(2.0);
/// interact(&temperature, move |value| {
///     model.generate("Once upon a time").do_sample(true).temperature(value).run()
/// });
/// # Ok(())
/// # }
/// ```
pub fn interact<C: Controls, T: Show>(
    controls: &C,
    mut run: impl FnMut(C::Values) -> T + Send + 'static,
) {
    let output = Output::new();
    let mut all = controls.widgets();
    all.push(&output);
    let page = VBox::new(all);
    let shown = show::display_with_id(&page);
    let now = controls.clone();
    let run = Mutex::new(move || {
        output.clear(true);
        let values = now.values();
        output.capture(|| show::display(run(values)));
    });
    let run = Arc::new(move || (run.lock().unwrap_or_else(PoisonError::into_inner))());
    // Before the first run, which may take long: what is changed meanwhile counts.
    let again = Arc::clone(&run);
    controls.observe_all(Arc::new(move || again()));
    run();
    // A notebook that is opened again has the values and the result of now; those of later the kernel adds.
    shown.update(instead::bundle(page.handle()));
}
