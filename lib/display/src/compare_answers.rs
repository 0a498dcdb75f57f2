//! One prompt continued by several models, side by side: the texts, how long they took, how fast they
//! came, and what each model takes.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use wire::{mime::Bundle, model::ModelInfo};

use crate::{
    RichDisplay,
    html::{self, PRE},
    markdown, rendered, units,
};

/// What several models made of one prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GenerationComparison {
    /// The models in order, each with its answer, or with why it has none.
    pub answers: Vec<(ModelInfo, Result<ComparedAnswer, String>)>,
}

/// What one of them made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComparedAnswer {
    /// The added text.
    pub text: String,
    /// Tokens that were added.
    pub tokens: usize,
    /// From the request to the last token.
    pub seconds: f64,
    /// From the request to the first token: the prompt is read, which is part of `seconds` and not of
    /// the speed.
    #[serde(default)]
    pub first_token_seconds: f64,
    /// After the first token; `None` when there is only one.
    pub tokens_per_second: Option<f64>,
    /// Whether it answers a conversation, and is Markdown then.
    #[serde(default)]
    pub is_chat: bool,
}

impl GenerationComparison {
    fn rows(&self) -> Vec<Vec<String>> {
        let row = |(info, answer): &(ModelInfo, Result<ComparedAnswer, String>)| {
            let figures = match answer {
                Ok(answer) => [
                    answer.tokens.to_string(),
                    units::seconds(answer.seconds),
                    units::seconds(answer.first_token_seconds),
                    answer
                        .tokens_per_second
                        .map_or("–".to_owned(), |speed| format!("{speed:.1}")),
                ],
                Err(_) => ["–"; 4].map(str::to_owned),
            };
            let model = [
                info.name.clone(),
                info.quantization.clone(),
                units::bytes(info.bytes),
            ];
            model.into_iter().chain(figures).collect()
        };
        self.answers.iter().map(row).collect()
    }
}

const HEADER: [&str; 7] = [
    "model",
    "weights",
    "memory",
    "tokens",
    "time",
    "first token",
    "tokens/s after it",
];

impl RichDisplay for GenerationComparison {
    fn bundle(&self) -> Bundle {
        let mut text = String::new();
        for (row, (_, answer)) in self.rows().into_iter().zip(&self.answers) {
            let figures = HEADER.iter().zip(&row).skip(1);
            let figures: Vec<String> = figures
                .map(|(name, value)| format!("{name} {value}"))
                .collect();
            let body = match answer {
                Ok(answer) => &answer.text,
                Err(reason) => reason,
            };
            let _ = writeln!(text, "── {} · {}\n{body}", row[0], figures.join(" · "));
        }
        let names: Vec<&str> = self
            .answers
            .iter()
            .map(|(info, _)| info.name.as_str())
            .collect();
        let cells = self.answers.iter().map(|(_, answer)| {
            let body = match answer {
                Ok(answer) if answer.is_chat => return markdown::block(&answer.text),
                Ok(answer) => &answer.text,
                Err(reason) => reason,
            };
            format!(
                "<div dir=\"auto\" style=\"{PRE}\">{}</div>",
                html::escape(body)
            )
        });
        let rows: Vec<Vec<String>> = self
            .rows()
            .into_iter()
            .map(|row| row.iter().map(|cell| html::breakable(cell)).collect())
            .collect();
        let html = format!(
            "<div>{}{}</div>",
            html::table("", &HEADER, &rows),
            html::table("", &names, &[cells.collect()])
        );
        rendered(text.trim_end().to_owned(), html)
    }
}
