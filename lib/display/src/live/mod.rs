//! A text while a model writes it: a widget whose text grows, with a button that stops it and how fast it
//! comes; and what stands in its place when it is done, which needs no widget.
//!
//! Long texts go to the page in pieces: what is settled is not sent again with every frame.

mod unfinished;

use std::time::{Duration, Instant};

use serde_json::json;
use wire::{generate::Generated, mime::Bundle, widget::WidgetCall};

use crate::{
    generation::summary,
    html, markdown, rendered, units,
    widgets::{Kind, reference, view},
};

pub use unfinished::end_unfinished;

/// About fifteen frames a second.
const INTERVAL: Duration = Duration::from_millis(67);
/// How often what a notebook saves of a growing text is renewed: pages draw the text anew for it.
const RENEWAL: Duration = Duration::from_secs(20);
/// From so many bytes on a piece is settled at the next line's end.
const PIECE: usize = 4 << 10;
/// From so many on at the next space.
const LONGEST_PIECE: usize = 16 << 10;
const TEXT: &str = "white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.5;";

/// A text that grows.
#[derive(Debug)]
pub struct LiveText {
    /// What the names of its widgets begin with.
    id: String,
    text: String,
    tokens: usize,
    /// Where the piece starts that still grows.
    settled: usize,
    pieces: usize,
    first_token: Option<Instant>,
    next_frame: Instant,
    next_renewal: Instant,
    is_stale: bool,
    is_stopping: bool,
    /// What is done before the first token, where it is not the reading of the prompt.
    activity: Option<String>,
}

impl LiveText {
    /// A text without a word. `id` is unique among all widgets.
    pub fn new(id: String, now: Instant) -> Self {
        Self {
            id,
            text: String::new(),
            tokens: 0,
            settled: 0,
            pieces: 1,
            first_token: None,
            next_frame: now,
            next_renewal: now + RENEWAL,
            is_stale: false,
            is_stopping: false,
            activity: None,
        }
    }

    /// The widgets, and what shows them.
    pub fn open(&self) -> (Vec<WidgetCall>, Bundle) {
        let stop = json!({
            "description": "Stop", "icon": "stop", "tooltip": "End this text here and keep it",
            "layout": reference(&self.part("narrow")),
        });
        let calls = vec![
            open(self.part("wide"), Kind::Layout, json!({ "width": "100%" })),
            open(
                self.part("narrow"),
                Kind::Layout,
                json!({ "width": "auto", "flex": "0 0 auto" }),
            ),
            self.open_piece(0),
            open(
                self.part("text"),
                Kind::VBox,
                json!({ "children": [reference(&self.piece(0))], "layout": reference(&self.part("wide")) }),
            ),
            open(self.part("stop"), Kind::Button, stop),
            open(
                self.part("status"),
                Kind::Html,
                json!({ "value": self.status() }),
            ),
            open(
                self.part("bar"),
                Kind::HBox,
                json!({ "children": [reference(&self.part("stop")), reference(&self.part("status"))] }),
            ),
            open(
                self.id.clone(),
                Kind::VBox,
                json!({
                    "children": [reference(&self.part("text")), reference(&self.part("bar"))],
                    "layout": reference(&self.part("wide")),
                }),
            ),
        ];
        (calls, self.bundle())
    }

    /// The button.
    pub fn stop_button(&self) -> String {
        self.part("stop")
    }

    /// All its widgets, the outermost first.
    pub fn widgets(&self) -> Vec<String> {
        let parts = ["text", "bar", "stop", "status", "wide", "narrow"];
        let mut all = vec![self.id.clone()];
        all.extend(parts.map(|part| self.part(part)));
        all.extend((0..self.pieces).map(|piece| self.piece(piece)));
        all
    }

    /// One more token, and the text that became known with it.
    pub fn push(&mut self, text: &str, now: Instant) {
        // Models often begin with empty lines, which would stand there as a gap.
        self.text.push_str(if self.text.is_empty() {
            text.trim_start()
        } else {
            text
        });
        self.tokens += 1;
        self.first_token.get_or_insert(now);
        self.is_stale = true;
    }

    /// What is done until the first token comes: a model may have to be loaded. `None` for the reading of
    /// the prompt.
    pub fn wait_for(&mut self, activity: Option<String>) {
        self.is_stale |= self.activity != activity;
        self.activity = activity;
    }

    /// When the next frame is due: also without news, since the button may have been pressed.
    pub fn due(&self) -> Instant {
        self.next_frame
    }

    /// The next frame: what the widgets are told, if there is anything.
    pub fn frame(&mut self, now: Instant) -> Vec<WidgetCall> {
        self.next_frame = now + INTERVAL;
        if !std::mem::take(&mut self.is_stale) {
            return Vec::new();
        }
        let mut calls = Vec::new();
        while let Some(end) = self.settle() {
            calls.push(self.show_piece(end));
            self.settled = end;
            calls.push(self.open_piece(self.pieces));
            self.pieces += 1;
            let children: Vec<_> = (0..self.pieces)
                .map(|piece| reference(&self.piece(piece)))
                .collect();
            calls.push(update(self.part("text"), json!({ "children": children })));
        }
        calls.push(self.show_piece(self.text.len()));
        calls.push(update(
            self.part("status"),
            json!({ "value": self.status_at(now) }),
        ));
        calls
    }

    /// What shows it from now on, when it is time that a saved notebook has more of it: a page that is
    /// loaded again knows no more than that.
    pub fn renewed(&mut self, now: Instant) -> Option<Bundle> {
        if now < self.next_renewal {
            return None;
        }
        self.next_renewal = now + RENEWAL;
        Some(self.bundle())
    }

    /// The button was pressed.
    pub fn stopping(&mut self) -> Vec<WidgetCall> {
        if std::mem::replace(&mut self.is_stopping, true) {
            return Vec::new();
        }
        vec![update(
            self.part("stop"),
            json!({ "description": "Stopping", "disabled": true }),
        )]
    }

    /// The finished text, in the widgets, and without them.
    pub fn finish(&self, generated: &Generated) -> (Vec<WidgetCall>, Bundle) {
        self.end(&summary(generated))
    }

    /// What came before a failure, likewise.
    pub fn fail(&self) -> (Vec<WidgetCall>, Bundle) {
        self.end(&format!(
            "{} · not finished",
            units::plural(self.tokens, "token")
        ))
    }

    /// What came, with a line of its own below.
    pub fn end(&self, summary: &str) -> (Vec<WidgetCall>, Bundle) {
        let small = format!("<small>{}</small>", html::escape(summary));
        let body = markdown::block(&self.text);
        let calls = vec![
            update(self.piece(0), json!({ "value": body })),
            update(
                self.part("text"),
                json!({ "children": [reference(&self.piece(0))] }),
            ),
            update(self.part("status"), json!({ "value": small })),
            update(
                self.part("bar"),
                json!({ "children": [reference(&self.part("status"))] }),
            ),
        ];
        let text = format!("{}\n({summary})", self.text.trim());
        (
            calls,
            rendered(text, format!("<div>{body}<p>{small}</p></div>")),
        )
    }

    /// Where the growing piece can end, once it is long.
    fn settle(&self) -> Option<usize> {
        let rest = &self.text.as_bytes()[self.settled..];
        if rest.len() < PIECE {
            return None;
        }
        let line = rest.iter().rposition(|byte| *byte == b'\n');
        let space = || rest.iter().rposition(|byte| *byte == b' ');
        let at = line.or_else(|| (rest.len() >= LONGEST_PIECE).then(space).flatten())?;
        Some(self.settled + at + 1)
    }

    fn open_piece(&self, number: usize) -> WidgetCall {
        open(
            self.piece(number),
            Kind::Html,
            json!({ "value": "", "layout": reference(&self.part("wide")) }),
        )
    }

    /// Shows the last piece up to here.
    fn show_piece(&self, end: usize) -> WidgetCall {
        let text = html::escape(&self.text[self.settled..end]);
        let value = format!("<div dir=\"auto\" style=\"{TEXT}\">{text}</div>");
        update(self.piece(self.pieces - 1), json!({ "value": value }))
    }

    fn status(&self) -> String {
        self.status_at(self.next_frame)
    }

    fn status_at(&self, now: Instant) -> String {
        let Some(first) = self.first_token else {
            let activity = self.activity.as_deref().unwrap_or("reading the prompt");
            return format!("<small>{}</small>", html::escape(activity));
        };
        let seconds = now.saturating_duration_since(first).as_secs_f64();
        let tokens = units::plural(self.tokens, "token");
        if self.tokens < 2 || seconds < 0.2 {
            return format!("<small>{tokens}</small>");
        }
        let speed = (self.tokens - 1) as f64 / seconds;
        format!("<small>{tokens} · {speed:.1} tokens/s</small>")
    }

    /// For a notebook that is saved now.
    fn bundle(&self) -> Bundle {
        let note = "a text was being written when this notebook was saved";
        let small = format!("<p><small>{note}</small></p>");
        let text = self.text.trim();
        let instead = if text.is_empty() {
            rendered(note.to_owned(), small)
        } else {
            let body = format!(
                "<div dir=\"auto\" style=\"{TEXT}\">{}</div>",
                html::escape(text)
            );
            rendered(
                format!("{text}\n({note})"),
                format!("<div>{body}{small}</div>"),
            )
        };
        view(&self.id, instead)
    }

    fn part(&self, name: &str) -> String {
        format!("{}-{name}", self.id)
    }

    fn piece(&self, number: usize) -> String {
        format!("{}-{number}", self.id)
    }
}

fn open(id: String, kind: Kind, attributes: serde_json::Value) -> WidgetCall {
    WidgetCall::Open {
        id,
        state: kind.state(attributes),
    }
}

fn update(id: String, attributes: serde_json::Value) -> WidgetCall {
    let state = match attributes {
        serde_json::Value::Object(state) => state,
        _ => serde_json::Map::new(),
    };
    WidgetCall::Update { id, state }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<'a>(calls: &'a [WidgetCall], name: &str) -> Option<&'a str> {
        calls.iter().rev().find_map(|call| match call {
            WidgetCall::Update { id, state } if id == name => state.get("value")?.as_str(),
            _ => None,
        })
    }

    #[test]
    fn a_text_grows_and_its_speed_is_told() {
        let start = Instant::now();
        let mut live = LiveText::new("w".to_owned(), start);
        live.push("Hel", start);
        live.push("lo <b>", start + Duration::from_secs(1));
        let calls = live.frame(start + Duration::from_secs(1));
        assert!(
            value(&calls, "w-0")
                .expect("is there")
                .contains("Hello &lt;b&gt;")
        );
        assert!(
            value(&calls, "w-status")
                .expect("is there")
                .contains("2 tokens · 1.0 tokens/s")
        );
        assert!(
            live.frame(start + Duration::from_secs(2)).is_empty(),
            "no news"
        );
    }

    #[test]
    fn what_is_waited_for_is_told_until_the_first_token() {
        let start = Instant::now();
        let mut live = LiveText::new("w".to_owned(), start);
        let status = |live: &mut LiveText| {
            let calls = live.frame(start);
            value(&calls, "w-status").unwrap_or_default().to_owned()
        };
        live.wait_for(Some("loading <a>".to_owned()));
        assert_eq!(status(&mut live), "<small>loading &lt;a&gt;</small>");
        assert_eq!(status(&mut live), "", "no news");
        live.wait_for(None);
        assert_eq!(status(&mut live), "<small>reading the prompt</small>");
        live.push("a", start);
        assert_eq!(status(&mut live), "<small>1 token</small>");
    }

    #[test]
    fn what_is_settled_is_not_sent_again() {
        let start = Instant::now();
        let mut live = LiveText::new("w".to_owned(), start);
        let mut sent = 0;
        for number in 0..20_000 {
            live.push(if number % 12 == 11 { "word\n" } else { "word " }, start);
            if number % 10 == 0 {
                let frame = live.frame(start);
                let bytes =
                    |call: &WidgetCall| serde_json::to_string(call).expect("is there").len();
                sent += frame.iter().map(bytes).max().unwrap_or(0);
            }
        }
        // Whole texts would be 100 MB.
        assert!(sent < 12_000_000, "{sent}");
        assert!(live.widgets().len() > 20);
    }

    #[test]
    fn what_a_notebook_saves_meanwhile_is_the_text_so_far() {
        let start = Instant::now();
        let mut live = LiveText::new("w".to_owned(), start);
        live.push("Once <i>", start);
        assert!(live.renewed(start).is_none(), "too early");
        let bundle = live.renewed(start + RENEWAL).expect("is due");
        assert!(live.renewed(start + RENEWAL).is_none(), "once");
        assert!(bundle.data.contains_key(crate::widgets::VIEW));
        let html = bundle.get("text/html").expect("is there");
        assert!(html.contains("Once &lt;i&gt;") && html.contains("was being written"));
    }

    #[test]
    fn a_press_is_told_once_and_the_end_needs_no_widget() {
        let mut live = LiveText::new("w".to_owned(), Instant::now());
        live.push("**bold** <script>", Instant::now());
        assert_eq!(live.stopping().len(), 1);
        assert!(live.stopping().is_empty());
        let (_, bundle) = live.fail();
        let html = bundle.get("text/html").expect("is there");
        assert!(html.contains("<strong>bold</strong>") && !html.contains("<script"));
        assert!(
            bundle
                .get("text/plain")
                .expect("is there")
                .contains("1 token · not finished")
        );
        assert!(!bundle.data.contains_key(crate::widgets::VIEW));
    }
}
