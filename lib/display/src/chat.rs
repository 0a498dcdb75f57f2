//! The preview of a chat template: each message under its role, what the template added apart from
//! it, special tokens framed, the header of the answer and what the assistant wrote marked, and the
//! exact text folded below.

use std::{fmt::Write, ops::Range};

use serde_json::Value;
use wire::{
    mime::Bundle,
    text::{ChatMessage, ContentSpan, RenderedChat},
};

use crate::{
    RichDisplay,
    html::{self, BLUE, GREEN, GREY, ORANGE, PRE, VIOLET},
    rendered, units,
};

impl RichDisplay for RenderedChat {
    fn bundle(&self) -> Bundle {
        rendered(self.text.clone(), html(self))
    }
}

/// A stretch of the rendered text, and whose it is.
struct Part<'a> {
    whose: Whose<'a>,
    range: Range<usize>,
}

enum Whose<'a> {
    Message(&'a ChatMessage),
    Template,
    /// The template's, for the answer that is to come.
    Header,
}

impl Whose<'_> {
    fn label(&self) -> String {
        match self {
            Self::Message(message) => format!("<b>{}</b>", html::escape(&message.role)),
            Self::Template => "<i>template</i>".to_owned(),
            Self::Header => "<i>header of the answer</i>".to_owned(),
        }
    }

    fn background(&self) -> &'static str {
        match self {
            Self::Message(message) => match message.role.as_str() {
                "system" | "developer" => VIOLET,
                "assistant" | "model" => GREEN,
                "tool" | "ipython" => ORANGE,
                _ => BLUE,
            },
            Self::Template => GREY,
            Self::Header => ORANGE,
        }
    }
}

fn parts(chat: &RenderedChat) -> Vec<Part<'_>> {
    let contents = if chat.contents.is_empty() {
        found(chat)
    } else {
        chat.contents.clone()
    };
    let header = chat
        .header
        .map_or(chat.text.len(), |(start, _)| start as usize);
    let mut parts = Vec::new();
    let template = |range: Range<usize>, parts: &mut Vec<Part<'_>>| {
        let cut = header.clamp(range.start, range.end);
        for (whose, range) in [
            (Whose::Template, range.start..cut),
            (Whose::Header, cut..range.end),
        ] {
            if !range.is_empty() {
                parts.push(Part { whose, range });
            }
        }
    };
    let mut from = 0;
    for ContentSpan { message, bytes } in contents {
        let range = bytes.0 as usize..bytes.1 as usize;
        let Some(message) = chat.messages.get(message as usize) else {
            continue;
        };
        if range.start < from || chat.text.get(range.clone()).is_none() {
            continue;
        }
        template(from..range.start, &mut parts);
        from = range.end;
        parts.push(Part {
            whose: Whose::Message(message),
            range,
        });
    }
    template(from..chat.text.len(), &mut parts);
    parts
}

/// Looks for the messages' contents in the text, in order, for a template that rewrites some of them. A
/// content that is also its role's name is the second such text.
fn found(chat: &RenderedChat) -> Vec<ContentSpan> {
    let mut spans = Vec::new();
    let mut from = 0;
    for (index, message) in chat.messages.iter().enumerate() {
        for content in contents(message) {
            let content = content.trim();
            let role = chat.text[from..].find(&message.role);
            let after_role = role.map_or(from, |at| from + at + message.role.len());
            let at = |from: usize| chat.text[from..].find(content).map(|at| from + at);
            if content.is_empty() {
                continue;
            }
            if let Some(start) = at(after_role).or_else(|| at(from)) {
                from = start + content.len();
                let bytes = (start as u32, from as u32);
                spans.push(ContentSpan {
                    message: index as u32,
                    bytes,
                });
            }
        }
    }
    spans
}

/// The texts of a message: its content, or the text parts of a list.
fn contents(message: &ChatMessage) -> Vec<&str> {
    match &message.content {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(parts)) => parts
            .iter()
            .filter_map(|part| part.get("text").and_then(Value::as_str))
            .collect(),
        _ => Vec::new(),
    }
}

fn summary(chat: &RenderedChat) -> String {
    let ending = match (chat.add_generation_prompt, chat.continue_final_message) {
        (true, _) => "ends with the header of the answer (add_generation_prompt)",
        (false, true) => "the last message is open (continue_final_message)",
        (false, false) => "without the header of the answer (add_generation_prompt)",
    };
    let mut summary = format!(
        "{} · {} · {ending}",
        units::plural(chat.messages.len(), "message"),
        units::plural(chat.encoding.tokens.len(), "token")
    );
    if let Some(mask) = &chat.assistant_mask {
        let marked = mask.iter().filter(|&&mark| mark == 1).count();
        let _ = write!(
            summary,
            " · {} in the assistant's mask (underlined)",
            units::plural(marked, "token")
        );
    }
    summary
}

/// What a cell of a comparison holds too: the parts under each other.
pub(crate) fn blocks(chat: &RenderedChat) -> String {
    let rows: Vec<Vec<String>> = parts(chat)
        .into_iter()
        .map(|Part { whose, range }| {
            let tokens = chat.encoding.tokens.iter();
            // A token that spans two parts counts where it ends: `▁user` is the user's.
            let inside = tokens.filter(|token| {
                token.bytes.0 < token.bytes.1 && range.contains(&(token.bytes.1 as usize - 1))
            });
            let tokens = units::plural(inside.count(), "token");
            let text = shaded(chat, range);
            let background = whose.background();
            vec![
                format!("<div>{}</div><small>{tokens}</small>", whose.label()),
                format!("<div dir=\"auto\" style=\"{PRE} padding: 2px 6px; border-radius: 3px; background: {background};\">{text}</div>"),
            ]
        })
        .collect();
    html::table("", &["from", "text"], &rows)
}

fn html(chat: &RenderedChat) -> String {
    let mut html = format!("<div><p><b>{}</b></p>", html::escape(&summary(chat)));
    html.push_str(&blocks(chat));
    let exact = html::pre(&chat.text);
    html.push_str(&html::details("Exact text", false, &exact));
    html.push_str("</div>");
    html
}

/// The text of a range, with what the assistant wrote underlined and shaded.
fn shaded(chat: &RenderedChat, range: Range<usize>) -> String {
    let mut html = String::new();
    let mut from = range.start;
    for &(start, end) in chat.generation.iter().flatten() {
        let (start, end) = (
            (start as usize).clamp(from, range.end),
            (end as usize).clamp(from, range.end),
        );
        if start < end {
            html.push_str(&framed(chat, from..start));
            let inner = framed(chat, start..end);
            let _ = write!(
                html,
                "<ins style=\"background: {GREEN};\" title=\"in the assistant's mask\">{inner}</ins>"
            );
            from = end;
        }
    }
    html.push_str(&framed(chat, from..range.end));
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
        let title = format!("special token, id: {}", token.id);
        html.push_str(&html::special(name, &title));
        from = end;
    }
    html.push_str(&marked(chat.text.get(from..range.end).unwrap_or_default()));
    html
}

/// Line breaks are what template bugs are made of; single spaces are left as they are to be read.
fn marked(text: &str) -> String {
    html::escape(&text.replace('\n', "↵\n").replace('\t', "→"))
}
