//! What is to be read of a widget where none can be shown: on GitHub, on paper, in a notebook that is opened
//! again. Its name and its value; of a box those of what it holds, of an output what it shows.

use serde_json::Value;
use wire::{mime::Bundle, widget::WidgetState};

use super::view;
use crate::html::{escape, pre};

/// What shows a widget, with its words beside it. `read` gives widgets as they are.
pub fn instead<'a>(id: &str, read: &dyn Fn(&str) -> Option<&'a WidgetState>) -> Bundle {
    let words = lines(id, read);
    let texts: Vec<&str> = words.iter().map(|words| words.text.as_str()).collect();
    let html: String = words.iter().map(|words| words.html.as_str()).collect();
    let html = if words.len() == 1 {
        html
    } else {
        format!("<div>{html}</div>")
    };
    view(id, Bundle::text(texts.join("\n")).with("text/html", html))
}

/// The option of a list that is chosen.
pub fn chosen(options: &Value, index: &Value) -> String {
    let index = index.as_u64().and_then(|index| usize::try_from(index).ok());
    let label = index.and_then(|index| options.get(index)?.as_str());
    label.unwrap_or_default().to_owned()
}

struct Words {
    text: String,
    html: String,
}

impl Words {
    fn of(text: String) -> Self {
        let style = if text.contains('\n') {
            " style=\"white-space: pre-wrap;\""
        } else {
            ""
        };
        let html = format!("<p{style}>{}</p>", escape(&text));
        Self { text, html }
    }

    fn preformatted(text: &str) -> Self {
        Self {
            text: text.strip_suffix('\n').unwrap_or(text).to_owned(),
            html: pre(text),
        }
    }
}

fn lines<'a>(id: &str, read: &dyn Fn(&str) -> Option<&'a WidgetState>) -> Vec<Words> {
    let Some(state) = read(id) else {
        return Vec::new();
    };
    let get = |name: &str| state.get(name).unwrap_or(&Value::Null);
    let model = get("_model_name").as_str().unwrap_or_default();
    let kind = model.strip_suffix("Model").unwrap_or(model);
    let text = match kind {
        "VBox" | "HBox" => {
            let children = get("children").as_array().into_iter().flatten();
            let ids = children.filter_map(|child| child.as_str()?.strip_prefix("IPY_MODEL_"));
            return ids.flat_map(|id| lines(id, read)).collect();
        }
        "Output" => {
            let outputs = get("outputs").as_array().into_iter().flatten();
            return outputs.filter_map(output).collect();
        }
        "HTML" => {
            let html = get("value").as_str().unwrap_or_default().to_owned();
            let text = html.clone();
            return vec![Words { text, html }];
        }
        "Button" => format!("Button: {}", plain(get("description"))),
        "Dropdown" => named(state, kind, &chosen(get("_options_labels"), get("index"))),
        _ => named(state, kind, &plain(get("value"))),
    };
    vec![Words::of(text)]
}

/// One of the outputs of an output widget, as notebooks store them.
fn output(output: &Value) -> Option<Words> {
    if let Some(text) = output["text"].as_str() {
        return Some(Words::preformatted(text));
    }
    if let Some(name) = output["ename"].as_str() {
        return Some(Words::of(format!("{name}: {}", plain(&output["evalue"]))));
    }
    let text = output["data"]["text/plain"].as_str()?;
    let words = Words::preformatted(text);
    Some(match output["data"]["text/html"].as_str() {
        Some(html) => Words {
            html: html.to_owned(),
            ..words
        },
        None => words,
    })
}

/// A value under the widget's description, or under its kind where it has none.
fn named(state: &WidgetState, kind: &str, value: &str) -> String {
    let description = plain(state.get("description").unwrap_or(&Value::Null));
    let name = match description.as_str() {
        "" => kind,
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
    use std::collections::HashMap;

    use serde_json::json;

    use super::{
        super::{Kind, reference},
        *,
    };

    #[test]
    fn an_output_reads_as_what_it_shows() {
        let outputs = json!([
            { "output_type": "stream", "name": "stdout", "text": "a < b\n" },
            { "output_type": "display_data", "data": { "text/plain": "7", "text/html": "<b>7</b>" } },
            { "output_type": "error", "ename": "panic", "evalue": "<boom>" },
        ]);
        let slider = Kind::IntSlider.state(json!({ "value": 3 }));
        let output = Kind::Output.state(json!({ "outputs": outputs }));
        let children = json!({ "children": [reference("slider"), reference("output")] });
        let widgets = HashMap::from([
            ("box", Kind::VBox.state(children)),
            ("slider", slider),
            ("output", output),
        ]);
        let bundle = instead("box", &|id| widgets.get(id));
        assert_eq!(
            bundle.get("text/plain"),
            Some("IntSlider: 3\na < b\n7\npanic: <boom>")
        );
        let printed = pre("a < b\n");
        assert!(printed.contains("font-family: monospace"), "{printed}");
        assert_eq!(
            bundle.get("text/html"),
            Some(
                format!(
                    "<div><p>IntSlider: 3</p>{printed}<b>7</b><p>panic: &lt;boom&gt;</p></div>"
                )
                .as_str()
            )
        );
    }

    #[test]
    fn lines_of_a_text_stay_lines() {
        let text = Kind::Textarea.state(json!({ "value": "one\ntwo", "description": "text" }));
        let bundle = instead("text", &|_| Some(&text));
        assert_eq!(
            bundle.get("text/html"),
            Some("<p style=\"white-space: pre-wrap;\">text: one\ntwo</p>")
        );
    }
}
