//! Texts that were continued and conversations that were answered, several of them as one table: what was given
//! beside what was added.

use serde_json::Value;
use wire::{
    mime::Bundle,
    text_generation::{GeneratedText, GenerationInput},
};

use crate::{html, markdown, units};

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

/// A text that answers a conversation by itself: Markdown.
pub fn generated_answer(text: &str) -> Bundle {
    Bundle::text(text).with("text/html", markdown::block(text))
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

/// As HTML: a row an input. What answers a conversation is Markdown.
pub fn html(inputs: &[GenerationInput], found: &[Vec<GeneratedText>]) -> String {
    let rows = inputs.iter().zip(found).map(|(input, texts)| {
        let written = texts.iter().map(|one| {
            let text = match input {
                GenerationInput::Text(_) => html::text_block(&one.text, ""),
                GenerationInput::Chat(_) => markdown::block(&one.text),
            };
            text + &html::remark(&units::plural(one.tokens as usize, "new token"))
        });
        let given = texts.first().map_or_else(String::new, |one| {
            html::remark(&units::plural(one.prompt_tokens as usize, "token"))
        });
        vec![
            html::text_block(&name(input), "") + &given,
            written.collect::<String>(),
        ]
    });
    html::table("", &["prompt", "result"], &rows.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// It stood there with its fences, where a streamer had shown the same as a page.
    #[test]
    fn an_answer_is_markdown_and_a_continued_text_stays_as_it_is() {
        let input = |input| serde_json::from_value::<GenerationInput>(input).expect("is one");
        let inputs = [
            input(json!({ "Chat": [{ "role": "user", "content": "**a**" }] })),
            input(json!({ "Text": "**b**" })),
        ];
        let written = GeneratedText {
            text: "- one **two**\n".to_owned(),
            messages: None,
            token_ids: Vec::new(),
            tokens: 3,
            prompt_tokens: 2,
            streamed: None,
        };
        let html = html(&inputs, &[vec![written.clone()], vec![written.clone()]]);
        assert!(html.contains("<li>one <strong>two</strong></li>"), "{html}");
        assert!(html.contains(">- one **two**\n</div>"), "{html}");
        assert!(html.contains("user: **a**") && html.contains(">**b**<"));
        let answer = generated_answer(&written.text);
        let html = answer.get("text/html").expect("has HTML");
        assert!(html.contains("<strong>two</strong>"), "{html}");
        assert_eq!(answer.get("text/plain"), Some("- one **two**\n"));
    }
}
