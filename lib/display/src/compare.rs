//! Comparisons: how several tokenizers cut one text, and what several templates make of one
//! conversation.

use std::{collections::BTreeSet, fmt::Write};

use serde::{Deserialize, Serialize};
use wire::{
    mime::Bundle,
    text::{Encoding, RenderedChat},
};

use crate::{
    RichDisplay, chat,
    html::{self, PRE},
    rendered,
    tokens::{self, segments},
    units,
};

/// Stretches of text that are aligned at most.
const MOST_ROWS: usize = 300;

/// One text, cut by several tokenizers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenizerComparison {
    /// The text.
    pub text: String,
    /// Name and tokens of each.
    pub encodings: Vec<(String, Encoding)>,
}

/// One conversation, rendered by the templates of several tokenizers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TemplateComparison {
    /// Name and rendering of each; or why its template refuses.
    pub chats: Vec<(String, Result<RenderedChat, String>)>,
}

impl RichDisplay for TokenizerComparison {
    fn bundle(&self) -> Bundle {
        rendered(self.to_text(), self.to_html())
    }
}

/// A stretch of the text that no tokenizer's token crosses, and its pieces by each.
struct Aligned {
    range: (usize, usize),
    pieces: Vec<Vec<String>>,
}

impl TokenizerComparison {
    /// Cuts the text where all tokenizers cut it.
    fn aligned(&self) -> Vec<Aligned> {
        let length = self.text.len();
        let mut common: Option<BTreeSet<usize>> = None;
        for (_, encoding) in &self.encodings {
            let own: BTreeSet<usize> = segments(encoding)
                .iter()
                .filter(|segment| segment.span.0 < segment.span.1)
                .flat_map(|segment| [segment.span.0, segment.span.1])
                .chain([0, length])
                .collect();
            common = Some(match common {
                Some(common) => common.intersection(&own).copied().collect(),
                None => own,
            });
        }
        let cuts: Vec<usize> = common.unwrap_or_default().into_iter().collect();
        let pieces = |encoding: &Encoding, (start, end): (usize, usize)| {
            let inside = segments(encoding);
            let inside = inside.iter().filter(|segment| {
                segment.span.0 < segment.span.1 && segment.span.0 >= start && segment.span.1 <= end
            });
            inside
                .map(|segment| {
                    let text = html::visible_inline(&tokens::slice(&encoding.text, segment.span));
                    match segment.tokens.len() {
                        1 => text,
                        count => format!("{text} ×{count}"),
                    }
                })
                .collect::<Vec<_>>()
        };
        let ranges = cuts
            .windows(2)
            .take(MOST_ROWS)
            .map(|pair| (pair[0], pair[1]));
        ranges
            .map(|range| Aligned {
                range,
                pieces: self
                    .encodings
                    .iter()
                    .map(|(_, encoding)| pieces(encoding, range))
                    .collect(),
            })
            .collect()
    }

    fn counts(&self) -> Vec<Vec<String>> {
        let characters = self.text.chars().count();
        self.encodings
            .iter()
            .map(|(name, encoding)| {
                let count = encoding.tokens.len();
                let special = encoding.tokens.iter().filter(|token| token.special).count();
                let rate = characters as f64 / count.max(1) as f64;
                vec![
                    name.clone(),
                    count.to_string(),
                    special.to_string(),
                    format!("{rate:.1}"),
                ]
            })
            .collect()
    }

    fn to_text(&self) -> String {
        let mut text = format!("{} tokenizers", self.encodings.len());
        for (name, encoding) in &self.encodings {
            let pieces: Vec<String> = segments(encoding)
                .iter()
                .map(|segment| {
                    if segment.span.0 == segment.span.1 {
                        format!("[{}]", segment.tokens[0].piece)
                    } else {
                        html::visible_inline(&tokens::slice(&encoding.text, segment.span))
                    }
                })
                .collect();
            let count = units::plural(encoding.tokens.len(), "token");
            let _ = write!(text, "\n{name}: {count}\n  {}", pieces.join("│"));
        }
        text
    }

    fn to_html(&self) -> String {
        let counts: Vec<Vec<String>> = self
            .counts()
            .into_iter()
            .map(|row| row.iter().map(|cell| html::escape(cell)).collect())
            .collect();
        let header = ["tokenizer", "tokens", "special", "characters a token"];
        let mut html = format!("<div>{}", html::table("", &header, &counts));
        for (name, encoding) in &self.encodings {
            let _ = write!(
                html,
                "<p><b>{}</b> · {}</p><div dir=\"auto\" style=\"{PRE}\">{}</div>",
                html::escape(name),
                html::escape(&tokens::summary(encoding)),
                tokens::coloured(encoding)
            );
        }
        html.push_str(&html::details(
            "Piece by piece",
            self.text.len() <= 400,
            &self.alignment(),
        ));
        html.push_str("</div>");
        html
    }

    /// Stretch by stretch, with the stretches that are cut differently marked.
    fn alignment(&self) -> String {
        let names = self.encodings.iter().map(|(name, _)| name.as_str());
        let header: Vec<&str> = ["text"].into_iter().chain(names).chain([""]).collect();
        let rows: Vec<Vec<String>> = self
            .aligned()
            .into_iter()
            .map(|Aligned { range, pieces }| {
                let same = pieces.windows(2).all(|pair| pair[0] == pair[1]);
                let text = html::visible_inline(&tokens::slice(&self.text, range));
                let cell = |text: &str| format!("<code>{}</code>", html::escape(text));
                let mut row = vec![cell(&text)];
                row.extend(pieces.iter().map(|pieces| cell(&pieces.join(" │ "))));
                row.push(if same {
                    String::new()
                } else {
                    "differ".to_owned()
                });
                row
            })
            .collect();
        html::table("", &header, &rows)
    }
}

impl RichDisplay for TemplateComparison {
    fn bundle(&self) -> Bundle {
        let mut text = String::new();
        for (name, chat) in &self.chats {
            let body = match chat {
                Ok(chat) => format!(
                    "{}\n{}",
                    units::plural(chat.encoding.tokens.len(), "token"),
                    chat.text
                ),
                Err(refusal) => refusal.clone(),
            };
            let _ = writeln!(text, "── {name}: {body}");
        }
        let names: Vec<&str> = self.chats.iter().map(|(name, _)| name.as_str()).collect();
        let cells = self.chats.iter().map(|(_, chat)| match chat {
            Ok(chat) => {
                let tokens = units::plural(chat.encoding.tokens.len(), "token");
                format!("<p><b>{tokens}</b></p>{}", chat::blocks(chat))
            }
            Err(refusal) => html::pre(refusal),
        });
        let html = html::table("", &names, &[cells.collect()]);
        rendered(text.trim_end().to_owned(), html)
    }
}
