//! A finished generation: the text, how many tokens came how fast, and why it ended.

use std::fmt::Write;

use wire::{
    generate::{FinishReason, Generated},
    mime::Bundle,
};

use crate::{
    RichDisplay,
    html::{self, PRE},
    logprobs, markdown, rendered, table, units,
};

impl RichDisplay for Generated {
    fn bundle(&self) -> Bundle {
        one(self, false)
    }
}

/// A sequence by itself. An answer to a conversation is Markdown, as where it is shown while it comes; what
/// goes on from a text stays as it is, and so do tokens beside their probabilities.
fn one(generated: &Generated, is_answer: bool) -> Bundle {
    let summary = summary(generated);
    let mut text = format!("{}\n({summary})", generated.text);
    let as_it_is = |html: &str| format!("<div dir=\"auto\" style=\"{PRE}\">{html}</div>");
    let (shown, below) = match &generated.details.logprobs {
        Some(logprobs) => {
            let bundle = logprobs.bundle();
            let table = bundle.get("text/plain").unwrap_or_default();
            let _ = write!(text, "\n{table}");
            let shaded = as_it_is(&logprobs::shaded(logprobs));
            (shaded, logprobs::below(logprobs))
        }
        None if is_answer => (markdown::block(&generated.text), String::new()),
        None => (as_it_is(&html::escape(&generated.text)), String::new()),
    };
    let summary = html::figures(&summary);
    let html = format!("<div>{shown}<p><small>{summary}</small></p>{below}</div>");
    rendered(text, html)
}

/// The sequences of one generation: one as its text, several as a table.
#[derive(Clone, Copy, Debug)]
pub struct Sequences<'a> {
    /// In the order of their prompts, of each the best first.
    pub all: &'a [Generated],
    /// Whether they answer conversations, and are Markdown then.
    pub are_answers: bool,
}

impl RichDisplay for Sequences<'_> {
    fn bundle(&self) -> Bundle {
        if let [only] = self.all {
            return one(only, self.are_answers);
        }
        let prompts = self.prompts();
        let rows = self.all.iter().zip(&prompts).enumerate();
        let rows: Vec<Row<'_>> = rows
            .map(|(index, (generated, prompt))| Row {
                index,
                generated,
                prompt: prompt.as_deref(),
            })
            .collect();
        let count = prompts.iter().flatten().count();
        let mut caption = units::plural(self.all.len(), "sequence");
        if count > 1 {
            let _ = write!(caption, " of {}", units::plural(count, "prompt"));
        }
        let has_scores = self.all.iter().any(|one| one.details.score.is_some());
        let columns = [
            ("#", true),
            ("prompt", count > 1),
            ("text", true),
            ("tokens", true),
            ("end", true),
            ("score", has_scores),
        ];
        let columns: Vec<&str> = columns
            .into_iter()
            .filter_map(|(name, is_shown)| is_shown.then_some(name))
            .collect();
        self.with_logprobs(self.table(&caption, &columns, &rows))
    }
}

/// A sequence in the table. The prompt stands beside the first of its sequences.
struct Row<'a> {
    index: usize,
    generated: &'a Generated,
    prompt: Option<&'a str>,
}

impl Row<'_> {
    fn cell(&self, column: &str) -> String {
        let generated = self.generated;
        match column {
            "#" => self.index.to_string(),
            "prompt" => self.prompt.unwrap_or_default().to_owned(),
            "text" => generated.text.clone(),
            "tokens" => generated.ids.len().to_string(),
            "end" => reason(generated.finish_reason).to_owned(),
            _ => generated
                .details
                .score
                .map_or(String::new(), |score| format!("{score:.4}")),
        }
    }

    fn html(&self, column: &str, are_answers: bool) -> String {
        let cell = self.cell(column);
        match column {
            "text" if are_answers => markdown::block(&cell),
            "text" | "prompt" => html::text_block(&cell, ""),
            _ => html::escape(&cell),
        }
    }
}

impl Sequences<'_> {
    /// Of each sequence that is the first of its prompt, that prompt.
    fn prompts(self) -> Vec<Option<String>> {
        let mut before: Option<&Generated> = None;
        let prompts = self.all.iter().map(|one| {
            let is_new = before.is_none_or(|before| before.prompt_ids != one.prompt_ids);
            before = Some(one);
            is_new.then(|| middle_left_out(&one.prompt_text))
        });
        prompts.collect()
    }

    fn table(self, caption: &str, columns: &[&str], rows: &[Row<'_>]) -> Bundle {
        let header = columns.iter().map(|&name| name.to_owned()).collect();
        let lines = rows
            .iter()
            .map(|row| columns.iter().map(|column| row.cell(column)).collect());
        let lines: Vec<Vec<String>> = std::iter::once(header).chain(lines).collect();
        let cells: Vec<Vec<String>> = rows
            .iter()
            .map(|row| {
                let cells = columns.iter();
                cells
                    .map(|column| row.html(column, self.are_answers))
                    .collect()
            })
            .collect();
        rendered(
            format!("{caption}\n{}", table::columns(&lines)),
            html::table(caption, columns, &cells),
        )
    }

    /// The same with each sequence's probabilities below, folded, where they were asked for.
    fn with_logprobs(self, table: Bundle) -> Bundle {
        let known = self.all.iter().enumerate();
        let known = known.filter_map(|(index, one)| Some((index, one.details.logprobs.as_ref()?)));
        let known: Vec<(usize, Bundle)> = known
            .map(|(index, logprobs)| (index, logprobs.bundle()))
            .collect();
        if known.is_empty() {
            return table;
        }
        let content = |bundle: &Bundle, mime| bundle.get(mime).unwrap_or_default().to_owned();
        let mut text = content(&table, "text/plain");
        let mut html = format!("<div>{}", content(&table, "text/html"));
        for (index, bundle) in known {
            let _ = write!(text, "\n── {index}: {}", content(&bundle, "text/plain"));
            html.push_str(&html::details(
                &format!("Probabilities of sequence {index}"),
                false,
                &content(&bundle, "text/html"),
            ));
        }
        html.push_str("</div>");
        rendered(text, html)
    }
}

/// Characters of a prompt's beginning that stand beside its sequences, and of its end, where conversations
/// differ.
const PROMPT_START: usize = 30;
const PROMPT_END: usize = 90;

/// The two ends of a prompt.
fn middle_left_out(prompt: &str) -> String {
    let prompt = prompt.trim();
    let count = prompt.chars().count();
    if count <= PROMPT_START + PROMPT_END {
        return prompt.to_owned();
    }
    let start: String = prompt.chars().take(PROMPT_START).collect();
    let end: String = prompt.chars().skip(count - PROMPT_END).collect();
    format!("{start}…{end}")
}

fn reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::EndOfSequence => "ended by itself",
        FinishReason::StopString => "ended at a stop string",
        FinishReason::Length => "ended at the limit of tokens",
        FinishReason::Time => "ended at the limit of time",
        FinishReason::Cancelled => "was stopped",
    }
}

/// How much came how fast, and why it ended.
pub(crate) fn summary(generated: &Generated) -> String {
    let mut parts = vec![
        format!(
            "{} after {} of prompt{}",
            units::plural(generated.ids.len(), "token"),
            generated.prompt_ids.len(),
            match generated.details.reused {
                0 => String::new(),
                reused => format!(", {reused} of them from before"),
            }
        ),
        reason(generated.finish_reason).to_owned(),
    ];
    if generated.details.drafted > 0 {
        parts.push(format!(
            "{} of {} guesses right",
            generated.details.accepted, generated.details.drafted
        ));
    }
    let timing = generated.timing;
    if generated.ids.len() > 1 && timing.decode > 0.0 {
        parts.push(format!(
            "{:.1} tokens/s",
            (generated.ids.len() - 1) as f64 / timing.decode
        ));
    }
    if timing.first_token > 0.0 {
        parts.push(format!(
            "first token after {}",
            units::seconds(timing.first_token)
        ));
    }
    parts.join(" · ")
}
