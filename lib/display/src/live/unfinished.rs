//! A text whose writer has died: what its widgets show is all that is left of it, and is taken from there.

use std::time::Instant;

use wire::{
    mime::Bundle,
    widget::{WidgetCall, WidgetState},
};

use super::{LiveText, TEXT};
use crate::html;

/// Ends the text of this name as one that failed. `read` gives the widgets as they are.
pub fn end_unfinished<'a>(
    id: &str,
    read: impl Fn(&str) -> Option<&'a WidgetState>,
) -> (Vec<WidgetCall>, Bundle) {
    let mut text = LiveText::new(id.to_owned(), Instant::now());
    let value = |id: String| Some(read(&id)?.get("value")?.as_str()?.to_owned());
    text.pieces = 0;
    while let Some(shown) = value(text.piece(text.pieces)) {
        text.text.push_str(&letters(&shown));
        text.pieces += 1;
    }
    let status = value(text.part("status")).unwrap_or_default();
    text.tokens = number_in(&status);
    text.fail()
}

/// What a piece was made of.
fn letters(piece: &str) -> String {
    let open = format!("<div dir=\"auto\" style=\"{TEXT}\">");
    let inner = piece
        .strip_prefix(&open)
        .and_then(|rest| rest.strip_suffix("</div>"));
    html::unescape(inner.unwrap_or_default())
}

/// The first number of a line.
fn number_in(line: &str) -> usize {
    let digits = line.chars().skip_while(|letter| !letter.is_ascii_digit());
    let digits: String = digits.take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn what_the_widgets_show_is_kept() {
        let start = Instant::now();
        let mut live = LiveText::new("w".to_owned(), start);
        let mut widgets: HashMap<String, WidgetState> = HashMap::new();
        let mut carry_out = |calls: Vec<WidgetCall>| {
            for call in calls {
                let (WidgetCall::Open { id, state } | WidgetCall::Update { id, state }) = call
                else {
                    continue;
                };
                widgets.entry(id).or_default().extend(state);
            }
        };
        carry_out(live.open().0);
        live.push("**a** & <b> \"c\" 'd'\n", start);
        for _ in 0..2_000 {
            live.push("word\n", start);
        }
        carry_out(live.frame(start));
        assert!(live.pieces > 1);
        let (calls, bundle) = end_unfinished("w", |id| widgets.get(id));
        let text = bundle.get("text/plain").expect("is there");
        assert!(text.starts_with("**a** & <b> \"c\" 'd'\nword\n"), "{text}");
        assert_eq!(text.matches("word").count(), 2_000);
        assert!(text.ends_with("(2001 tokens · not finished)"), "{text}");
        assert!(!bundle.data.contains_key(crate::widgets::VIEW));
        assert_eq!(calls, live.fail().0, "as its writer would have ended it");
    }
}
