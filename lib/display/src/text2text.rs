//! Texts that were written about others, beside them: source and result with their lengths, a batch as one
//! table.

use wire::text2text::{Text2TextTask, WrittenText};

use crate::{
    html::{self, GREEN},
    units,
};

/// Characters of a source that are shown before the rest is folded away, and in a table.
const SHOWN: usize = 1200;
const SHORT: usize = 300;

/// As text: what was written, and how long both are.
pub fn text(inputs: &[String], found: &[Vec<WrittenText>]) -> String {
    let parts = found.iter().zip(inputs).map(|(texts, input)| {
        let lines = texts.iter().map(|one| {
            format!(
                "{}\n  ({} from {})",
                one.text,
                length(&one.text, one.tokens),
                source(input, one)
            )
        });
        lines.collect::<Vec<_>>().join("\n")
    });
    let parts: Vec<String> = parts.collect();
    if let [one] = parts.as_slice() {
        return one.clone();
    }
    let parts = parts.iter().zip(inputs).map(|(part, input)| {
        let input = cut(input, 120).replace('\n', "↵").replace('\r', "␍");
        format!("{input}\n  {}", part.replace('\n', "\n  "))
    });
    parts.collect::<Vec<_>>().join("\n")
}

/// As HTML: side by side.
pub fn html(inputs: &[String], found: &[Vec<WrittenText>], task: Text2TextTask) -> String {
    let result = match task {
        Text2TextTask::Summarization => "summary",
        Text2TextTask::Translation => "translation",
        Text2TextTask::Text2TextGeneration => "result",
    };
    let shown = if found.len() == 1 { SHOWN } else { SHORT };
    let rows = inputs.iter().zip(found).map(|(input, texts)| {
        let first = texts.first();
        let lengths = first.map_or_else(String::new, |one| source(input, one));
        let written = texts.iter().map(|one| {
            let length = length(&one.text, one.tokens);
            cell(&html::escape(&one.text), &length, GREEN)
        });
        vec![
            cell(&folded(input, shown), &lengths, ""),
            written.collect::<String>(),
        ]
    });
    html::table("", &["source", result], &rows.collect::<Vec<_>>())
}

/// A text with its length under it.
fn cell(text: &str, length: &str, background: &str) -> String {
    html::text_block_of_html(text, background) + &html::remark(length)
}

/// A text, escaped, its rest folded away.
fn folded(text: &str, most: usize) -> String {
    let Some((end, _)) = text.char_indices().nth(most) else {
        return html::escape(text);
    };
    let rest = html::escape(&text[end..]);
    let more = units::plural(text[end..].chars().count(), "more character");
    format!(
        "{}…{}",
        html::escape(&text[..end]),
        html::details(&more, false, &rest)
    )
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn source(input: &str, one: &WrittenText) -> String {
    length(input, one.source_tokens)
}

fn length(text: &str, tokens: u32) -> String {
    let words = units::plural(text.split_whitespace().count(), "word");
    format!("{words}, {}", units::plural(tokens as usize, "token"))
}
