//! The preview of a chat template: each message under its role, what the template added apart from
//! it, special tokens framed, and the exact text folded below.

use std::{fmt::Write, ops::Range};

use serde_json::Value;
use wire::{
    mime::Bundle,
    text::{ChatMessage, RenderedChat},
};

use crate::{
    RichDisplay,
    html::{self, BLUE, GREY, PRE},
    rendered, units,
};

impl RichDisplay for RenderedChat {
    fn bundle(&self) -> Bundle {
        rendered(self.text.clone(), html(self))
    }
}

/// A stretch of the rendered text, and whose it is.
struct Part<'a> {
    /// The message it is the content of; `None` for what the template added.
    message: Option<&'a ChatMessage>,
    range: Range<usize>,
}

/// Finds the messages' contents in the rendered text, in order. A template may trim a content, or
/// write it otherwise (tool calls); what is not found counts as the template's.
fn parts(chat: &RenderedChat) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut from = 0;
    for message in &chat.messages {
        for content in contents(message) {
            let content = content.trim();
            let Some(start) = chat.text[from..].find(content).map(|offset| from + offset) else {
                continue;
            };
            if content.is_empty() {
                continue;
            }
            if start > from {
                parts.push(Part {
                    message: None,
                    range: from..start,
                });
            }
            from = start + content.len();
            parts.push(Part {
                message: Some(message),
                range: start..from,
            });
        }
    }
    if from < chat.text.len() {
        parts.push(Part {
            message: None,
            range: from..chat.text.len(),
        });
    }
    parts
}

/// The texts of a message: its content, or the text parts of a list.
fn contents(message: &ChatMessage) -> Vec<&str> {
    match &message.content {
        Value::String(text) => vec![text],
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part.get("text").and_then(Value::as_str))
            .collect(),
        _ => Vec::new(),
    }
}

fn summary(chat: &RenderedChat) -> String {
    let ending = if chat.add_generation_prompt {
        "ends with the header of the answer"
    } else {
        "without the header of the answer (add_generation_prompt)"
    };
    format!(
        "{} · {} · {ending}",
        units::plural(chat.messages.len(), "message"),
        units::plural(chat.encoding.tokens.len(), "token")
    )
}

fn html(chat: &RenderedChat) -> String {
    let mut html = format!("<div><p><b>{}</b></p>", html::escape(&summary(chat)));
    let rows: Vec<Vec<String>> = parts(chat)
        .into_iter()
        .map(|part| {
            let (label, background) = match part.message {
                Some(message) => (format!("<b>{}</b>", html::escape(&message.role)), BLUE),
                None => ("<i>template</i>".to_owned(), GREY),
            };
            let text = framed(chat, part.range);
            vec![
                label,
                format!("<div dir=\"auto\" style=\"{PRE} background: {background};\">{text}</div>"),
            ]
        })
        .collect();
    html.push_str(&html::table("", &["from", "text"], &rows));
    let exact = format!(
        "<pre style=\"white-space: pre-wrap;\">{}</pre>",
        html::escape(&chat.text)
    );
    html.push_str(&html::details("Exact text", false, &exact));
    html.push_str("</div>");
    html
}

/// The text of a range with marks for white space and frames around special tokens.
fn framed(chat: &RenderedChat, range: Range<usize>) -> String {
    let mut html = String::new();
    let mut from = range.start;
    for token in chat.encoding.tokens.iter().filter(|token| token.special) {
        let (start, end) = (token.bytes.0 as usize, token.bytes.1 as usize);
        if start < from || end > range.end || start >= end {
            continue;
        }
        let (Some(before), Some(name)) = (chat.text.get(from..start), chat.text.get(start..end))
        else {
            continue;
        };
        html.push_str(&marked(before));
        let _ = write!(
            html,
            "{}",
            html::special(name, &format!("special token, id: {}", token.id))
        );
        from = end;
    }
    html.push_str(&marked(chat.text.get(from..range.end).unwrap_or_default()));
    html
}

/// Line breaks are what template bugs are made of; single spaces are left as they are to be read.
fn marked(text: &str) -> String {
    html::escape(&text.replace('\n', "↵\n").replace('\t', "→"))
}
