//! A finished generation: the text, how many tokens came how fast, and why it ended.

use wire::{
    generate::{FinishReason, Generated},
    mime::Bundle,
};

use crate::{
    RichDisplay,
    html::{self, PRE},
    rendered, units,
};

impl RichDisplay for Generated {
    fn bundle(&self) -> Bundle {
        let summary = summary(self);
        let html = format!(
            "<div><div dir=\"auto\" style=\"{PRE}\">{}</div><p><small>{}</small></p></div>",
            html::escape(&self.text),
            html::escape(&summary)
        );
        rendered(format!("{}\n({summary})", self.text), html)
    }
}

fn summary(generated: &Generated) -> String {
    let reason = match generated.finish_reason {
        FinishReason::EndOfSequence => "ended by itself",
        FinishReason::StopString => "ended at a stop string",
        FinishReason::Length => "ended at the limit of tokens",
        FinishReason::Cancelled => "was cancelled",
    };
    let mut parts = vec![
        format!(
            "{} after {} of prompt",
            units::plural(generated.ids.len(), "token"),
            generated.prompt_ids.len()
        ),
        reason.to_owned(),
    ];
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
