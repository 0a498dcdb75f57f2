//! Texts that were continued and conversations that were answered, several of them as one table: what was given
//! beside what was added.

use serde_json::Value;
use wire::{
    mime::Bundle,
    text_generation::{GeneratedText, GenerationInput},
};

use crate::{html, units};

/// What an input is called in a table: the text, or a conversation's last message.
pub fn name(input: &GenerationInput) -> String {
    match input {
        GenerationInput::Text(text) => text.clone(),
        GenerationInput::Chat(messages) => messages.last().map_or_else(String::new, |last| {
            format!("{}: {}", last.role, words(last.content.as_ref()))
        }),
    }
}

fn words(content: Option<&Value>) -> String {
    content.map_or_else(String::new, |content| {
        content
            .as_str()
            .map_or_else(|| content.to_string(), str::to_owned)
    })
}

/// A generated text by itself.
pub fn generated_text(text: &str) -> Bundle {
    let escaped = html::escape(text);
    let html = format!("<div dir=\"auto\" style=\"white-space: pre-wrap;\">{escaped}</div>");
    Bundle::text(text).with("text/html", html)
}

/// As text: each result, under what it continues where there are several.
pub fn text(inputs: &[String], found: &[Vec<GeneratedText>]) -> String {
    let parts = found.iter().map(|texts| {
        let texts = texts.iter().map(|one| one.text.as_str());
        texts.collect::<Vec<_>>().join("\n")
    });
    let parts: Vec<String> = parts.collect();
    if let [one] = parts.as_slice() {
        return one.clone();
    }
    let parts = parts.iter().zip(inputs).map(|(part, input)| {
        let input = input.replace('\n', "↵").replace('\r', "␍");
        format!("{input}\n  {}", part.replace('\n', "\n  "))
    });
    parts.collect::<Vec<_>>().join("\n")
}

/// As HTML: a row an input.
pub fn html(inputs: &[String], found: &[Vec<GeneratedText>]) -> String {
    let rows = inputs.iter().zip(found).map(|(input, texts)| {
        let written = texts.iter().map(|one| {
            let length = units::plural(one.tokens as usize, "new token");
            cell(&one.text, &length)
        });
        let given = texts.first().map_or_else(String::new, |one| {
            units::plural(one.prompt_tokens as usize, "token")
        });
        vec![cell(input, &given), written.collect::<String>()]
    });
    html::table("", &["prompt", "result"], &rows.collect::<Vec<_>>())
}

fn cell(text: &str, length: &str) -> String {
    format!(
        "<div dir=\"auto\" style=\"white-space: pre-wrap; overflow-wrap: anywhere; padding: 2px 4px;\">{}</div>\
         <small>{}</small>",
        html::escape(text),
        html::escape(length)
    )
}
