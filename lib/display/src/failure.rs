//! A failure: what failed, and the next step.

use wire::{Failure, mime::Bundle};

use crate::{RichDisplay, html, rendered};

impl RichDisplay for Failure {
    fn bundle(&self) -> Bundle {
        let mut html = format!(
            "<div style=\"border-left: 4px solid rgba(219, 68, 55, 0.8); padding-left: 8px;\"><p><b>{}</b>: {}</p>",
            self.kind.name(),
            html::escape(&self.message)
        );
        if let Some(hint) = &self.hint {
            html.push_str("<p><i>hint:</i> ");
            html.push_str(&html::escape(hint));
            html.push_str("</p>");
        }
        html.push_str("</div>");
        rendered(format!("{}: {self}", self.kind.name()), html)
    }
}
