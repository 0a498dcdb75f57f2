//! A finished generation: the text, how many tokens came how fast, and why it ended.

use std::fmt::Write;

use wire::{
    generate::{FinishReason, Generated},
    mime::Bundle,
};

use crate::{
    RichDisplay, Table,
    html::{self, PRE},
    logprobs, rendered, units,
};

impl RichDisplay for Generated {
    fn bundle(&self) -> Bundle {
        let summary = summary(self);
        let mut text = format!("{}\n({summary})", self.text);
        let (shown, below) = match &self.details.logprobs {
            Some(logprobs) => {
                let bundle = logprobs.bundle();
                let table = bundle.get("text/plain").unwrap_or_default();
                let _ = write!(text, "\n{table}");
                (logprobs::shaded(logprobs), logprobs::below(logprobs))
            }
            None => (html::escape(&self.text), String::new()),
        };
        let html = format!(
            "<div><div dir=\"auto\" style=\"{PRE}\">{shown}</div><p><small>{}</small></p>{below}</div>",
            html::escape(&summary)
        );
        rendered(text, html)
    }
}

/// Several sequences of one generation, as a table.
#[derive(Clone, Copy, Debug)]
pub struct Sequences<'a>(
    /// In the order of their prompts, the best first.
    pub &'a [Generated],
);

impl RichDisplay for Sequences<'_> {
    fn bundle(&self) -> Bundle {
        let has_scores = self.0.iter().any(|one| one.details.score.is_some());
        let mut header = vec!["#", "text", "tokens", "end"];
        if has_scores {
            header.push("score");
        }
        let row = |(index, one): (usize, &Generated)| {
            let mut row = vec![
                index.to_string(),
                one.text.clone(),
                one.ids.len().to_string(),
                reason(one.finish_reason).to_owned(),
            ];
            if has_scores {
                row.push(
                    one.details
                        .score
                        .map_or(String::new(), |score| format!("{score:.4}")),
                );
            }
            row
        };
        let table = Table {
            caption: units::plural(self.0.len(), "sequence"),
            header,
            rows: self.0.iter().enumerate().map(row).collect(),
        };
        self.with_logprobs(table.bundle())
    }
}

impl Sequences<'_> {
    /// The same with each sequence's probabilities below, folded, where they were asked for.
    fn with_logprobs(self, table: Bundle) -> Bundle {
        let known = self.0.iter().enumerate();
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
