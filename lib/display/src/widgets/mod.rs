//! Widgets of `@jupyter-widgets/controls`, the ones that JupyterLab, VS Code and Colab bring along: their
//! attributes, and the bundle that shows one. What is still to be read where no widget can be shown is
//! the caller's to add; [`instead`] knows it of any of them.

mod instead;

use serde_json::{Value, json};
use wire::{mime::Bundle, widget::WidgetState};

pub use instead::{chosen, instead};

/// The MIME type of a widget on a page.
pub const VIEW: &str = "application/vnd.jupyter.widget-view+json";

/// The modules that models come from, with the versions of ipywidgets 8.
const CONTROLS: (&str, &str) = ("@jupyter-widgets/controls", "2.0.0");
const BASE: (&str, &str) = ("@jupyter-widgets/base", "2.0.0");
const OUTPUT: (&str, &str) = ("@jupyter-widgets/output", "1.0.0");

/// A kind of widget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A button.
    Button,
    /// A check box.
    Checkbox,
    /// A list of which one is chosen.
    Dropdown,
    /// A bar of a number with a point.
    FloatProgress,
    /// A slider of a number with a point.
    FloatSlider,
    /// Widgets side by side.
    HBox,
    /// A piece of HTML.
    Html,
    /// A bar of a whole number.
    IntProgress,
    /// A slider of a whole number.
    IntSlider,
    /// What is printed and shown.
    Output,
    /// A line of text.
    Text,
    /// Lines of text.
    Textarea,
    /// Widgets one below the other.
    VBox,
    /// How a widget is laid out; shown by no page itself.
    Layout,
    /// How a check box looks, its description above all; of the next ones the same.
    CheckboxStyle,
    /// Of a list.
    DescriptionStyle,
    /// Of a piece of HTML.
    HtmlStyle,
    /// Of a bar.
    ProgressStyle,
    /// Of a slider.
    SliderStyle,
    /// Of text.
    TextStyle,
}

impl Kind {
    /// ipywidgets' name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Button => "Button",
            Self::Checkbox => "Checkbox",
            Self::Dropdown => "Dropdown",
            Self::FloatProgress => "FloatProgress",
            Self::FloatSlider => "FloatSlider",
            Self::HBox => "HBox",
            Self::Html => "HTML",
            Self::IntProgress => "IntProgress",
            Self::IntSlider => "IntSlider",
            Self::Output => "Output",
            Self::Text => "Text",
            Self::Textarea => "Textarea",
            Self::VBox => "VBox",
            Self::Layout => "Layout",
            Self::CheckboxStyle => "CheckboxStyle",
            Self::DescriptionStyle => "DescriptionStyle",
            Self::HtmlStyle => "HTMLStyle",
            Self::ProgressStyle => "ProgressStyle",
            Self::SliderStyle => "SliderStyle",
            Self::TextStyle => "TextStyle",
        }
    }

    /// The style that ipywidgets gives it; `None` where nothing stands beside it.
    pub fn style(self) -> Option<Self> {
        match self {
            Self::Checkbox => Some(Self::CheckboxStyle),
            Self::Dropdown => Some(Self::DescriptionStyle),
            Self::FloatProgress | Self::IntProgress => Some(Self::ProgressStyle),
            Self::FloatSlider | Self::IntSlider => Some(Self::SliderStyle),
            Self::Html => Some(Self::HtmlStyle),
            Self::Text | Self::Textarea => Some(Self::TextStyle),
            _ => None,
        }
    }

    fn is_style(self) -> bool {
        matches!(
            self,
            Self::CheckboxStyle
                | Self::DescriptionStyle
                | Self::HtmlStyle
                | Self::ProgressStyle
                | Self::SliderStyle
                | Self::TextStyle
        )
    }

    /// The attributes by which a front end finds the widget's code, and these.
    pub fn state(self, attributes: Value) -> WidgetState {
        let (name, view) = match self {
            // Progress bars of both numbers have one view.
            Self::IntProgress | Self::FloatProgress => (self.name(), "Progress"),
            // All styles have one view, of the base.
            style if style.is_style() => (style.name(), "Style"),
            other => (other.name(), other.name()),
        };
        let (module, version) = match self {
            Self::Layout => BASE,
            Self::Output => OUTPUT,
            _ => CONTROLS,
        };
        let (view_module, view_version) = if self.is_style() {
            BASE
        } else {
            (module, version)
        };
        let mut state = WidgetState::from_iter([
            ("_model_module".to_owned(), module.into()),
            ("_model_module_version".to_owned(), version.into()),
            ("_model_name".to_owned(), format!("{name}Model").into()),
            ("_view_module".to_owned(), view_module.into()),
            ("_view_module_version".to_owned(), view_version.into()),
            ("_view_name".to_owned(), format!("{view}View").into()),
        ]);
        if let Value::Object(attributes) = attributes {
            state.extend(attributes);
        }
        state
    }
}

/// How an attribute names another widget.
pub fn reference(id: &str) -> Value {
    format!("IPY_MODEL_{id}").into()
}

/// A widget on the page, and for pages that have none the contents of `instead`.
pub fn view(id: &str, instead: Bundle) -> Bundle {
    let content = json!({ "model_id": id, "version_major": 2, "version_minor": 0 });
    instead.with(VIEW, content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_names_its_module_and_view() {
        let state = Kind::IntProgress.state(json!({ "value": 3 }));
        assert_eq!(state["_model_name"], "IntProgressModel");
        assert_eq!(state["_view_name"], "ProgressView");
        assert_eq!(state["_view_module"], "@jupyter-widgets/controls");
        assert_eq!(state["value"], 3);
        let style = Kind::IntSlider.style().expect("has one").state(json!({}));
        assert_eq!(style["_model_name"], "SliderStyleModel");
        assert_eq!(style["_model_module"], "@jupyter-widgets/controls");
        assert_eq!(style["_view_name"], "StyleView");
        assert_eq!(style["_view_module"], "@jupyter-widgets/base");
        assert_eq!(Kind::Button.style(), None);
        let output = Kind::Output.state(json!({}));
        assert_eq!(output["_model_module"], "@jupyter-widgets/output");
    }
}
