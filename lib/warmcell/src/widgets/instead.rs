//! What is to be read of a widget where none can be shown: on GitHub, on paper, in a notebook that is opened
//! again. Its name and its value, and of a box those of what it holds.

use ::display::{
    html::escape,
    widgets::{Kind, view},
};
use serde_json::Value;
use wire::mime::Bundle;

use super::{controls::chosen, handle::Handle};

/// What shows a widget, with its words beside it.
pub(super) fn bundle(widget: &Handle) -> Bundle {
    widget.open();
    beside(widget, &lines(widget))
}

/// The same with something below the words: what an output widget shows.
pub(super) fn bundle_with(widget: &Handle, shown: &Bundle) -> Bundle {
    widget.open();
    let mut words = lines(widget);
    if let Some(text) = shown.get("text/plain") {
        let html = shown.get("text/html").map(str::to_owned);
        words.push(Words {
            text: text.to_owned(),
            html: html.unwrap_or_else(|| format!("<pre>{}</pre>", escape(text))),
        });
    }
    beside(widget, &words)
}

struct Words {
    text: String,
    html: String,
}

fn beside(widget: &Handle, words: &[Words]) -> Bundle {
    let texts: Vec<&str> = words.iter().map(|words| words.text.as_str()).collect();
    let html: String = words.iter().map(|words| words.html.as_str()).collect();
    let html = if words.len() == 1 {
        html
    } else {
        format!("<div>{html}</div>")
    };
    view(
        widget.id(),
        Bundle::text(texts.join("\n")).with("text/html", html),
    )
}

fn lines(widget: &Handle) -> Vec<Words> {
    let kind = widget.kind();
    if matches!(kind, Kind::VBox | Kind::HBox) {
        return widget.children().iter().flat_map(lines).collect();
    }
    let value = widget.get("value");
    let text = match kind {
        // What it shows is not known here.
        Kind::Output => return Vec::new(),
        Kind::Html => {
            let html = value.as_str().unwrap_or_default();
            return vec![Words {
                text: html.to_owned(),
                html: html.to_owned(),
            }];
        }
        Kind::Button => format!("Button: {}", plain(&widget.get("description"))),
        Kind::Dropdown => {
            let options = widget.get("_options_labels");
            named(widget, &chosen(&options, &widget.get("index")))
        }
        _ => named(widget, &plain(&value)),
    };
    let html = format!("<p>{}</p>", escape(&text));
    vec![Words { text, html }]
}

/// A value under the widget's description, or under its kind where it has none.
fn named(widget: &Handle, value: &str) -> String {
    let description = plain(&widget.get("description"));
    let name = match description.as_str() {
        "" => widget.kind().name(),
        description => description,
    };
    format!("{name}: {value}")
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use crate::widgets::{Checkbox, Dropdown, HBox, IntSlider, Output, VBox, Widget};
    use ::display::RichDisplay;

    #[test]
    fn a_box_reads_as_what_it_holds() {
        let slider = IntSlider::new(3).description("a < b");
        let (agree, list) = (Checkbox::new(true), Dropdown::new(["one", "two"]));
        list.set_value("two");
        let inner = HBox::new([&agree as &dyn Widget, &list]);
        let outer = VBox::new([&slider as &dyn Widget, &inner, &Output::new()]).bundle();
        assert_eq!(
            outer.get("text/plain"),
            Some("a < b: 3\nCheckbox: true\nDropdown: two")
        );
        assert_eq!(
            outer.get("text/html"),
            Some("<div><p>a &lt; b: 3</p><p>Checkbox: true</p><p>Dropdown: two</p></div>")
        );
    }
}
