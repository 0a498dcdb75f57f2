//! How far a download or a load is, and the line that stands there when it is done.

use std::time::{Duration, Instant};

use wire::{
    host::{Progress, Stage},
    mime::Bundle,
    model::ModelInfo,
};

use crate::{RichDisplay, html, rendered, units};

/// Speeds are not told before they mean something.
const SETTLED: Duration = Duration::from_millis(300);

/// What is known of a load, stage by stage.
#[derive(Clone, Debug)]
pub struct Pace {
    name: String,
    stage_started: Instant,
    /// Bytes that were done when the stage began: a resumed download brings some along.
    stage_from: u64,
    news: Option<Progress>,
}

impl Pace {
    /// Of a load of this name, before the first news.
    pub fn new(name: String, now: Instant) -> Self {
        Self {
            name,
            stage_started: now,
            stage_from: 0,
            news: None,
        }
    }

    /// Takes news.
    pub fn news(&mut self, news: Progress, now: Instant) {
        let stage = self.news.as_ref().map(|old| (old.stage, &old.subject));
        if stage != Some((news.stage, &news.subject)) {
            self.stage_started = now;
            self.stage_from = news.done;
        }
        self.news = Some(news);
    }

    /// How far it is.
    pub fn progress(&self, now: Instant) -> LoadProgress {
        let elapsed = now.saturating_duration_since(self.stage_started);
        let settled = self.news.as_ref().filter(|_| elapsed > SETTLED);
        LoadProgress {
            news: self.news.clone(),
            name: self.name.clone(),
            speed: settled.map(|news| {
                news.done.saturating_sub(self.stage_from) as f64 / elapsed.as_secs_f64()
            }),
        }
    }
}

/// A load under way.
#[derive(Clone, Debug)]
pub struct LoadProgress {
    /// The last news of it; `None` before the first.
    pub news: Option<Progress>,
    /// What was asked for.
    pub name: String,
    /// Bytes a second over the current stage, when known.
    pub speed: Option<f64>,
}

impl LoadProgress {
    fn line(&self) -> String {
        let Some(news) = &self.news else {
            return format!("Loading {} …", self.name);
        };
        let verb = match news.stage {
            Stage::Download => "Downloading",
            Stage::Verify => "Checking",
            Stage::Load => "Loading",
            Stage::Quantize => "Quantising",
            Stage::Save => "Saving",
            Stage::Compare => "Comparing",
        };
        let done = units::bytes(news.done);
        let amount = match news.total {
            Some(total) if total > 0 => {
                let percent = (news.done.min(total) as f64 / total as f64 * 100.0) as u64;
                format!("{percent} % · {done} of {}", units::bytes(total))
            }
            _ => done,
        };
        let speed = self
            .speed
            .map(|speed| format!(" · {}/s", units::bytes(speed as u64)))
            .unwrap_or_default();
        let left = self.seconds_left(news);
        let left = left.map(|seconds| format!(" · {} left", units::seconds(seconds)));
        let left = left.unwrap_or_default();
        format!("{verb} {} · {amount}{speed}{left}", news.subject)
    }

    fn seconds_left(&self, news: &Progress) -> Option<f64> {
        let speed = self.speed.filter(|speed| *speed >= 1.0)?;
        let left = news
            .total?
            .checked_sub(news.done)
            .filter(|left| *left > 0)?;
        Some(left as f64 / speed)
    }
}

impl RichDisplay for LoadProgress {
    fn bundle(&self) -> Bundle {
        let line = self.line();
        let bar = match self
            .news
            .as_ref()
            .and_then(|news| Some((news.done, news.total.filter(|&total| total > 0)?)))
        {
            Some((done, total)) => format!(
                "<progress value=\"{}\" max=\"{total}\"></progress>",
                done.min(total)
            ),
            None => "<progress></progress>".to_owned(),
        };
        let html = format!("<div>{bar} {}</div>", html::escape(&line));
        rendered(line, html)
    }
}

/// A load that is done: takes the place of its progress bar.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What was loaded.
    pub info: ModelInfo,
    /// Seconds it took, downloads included.
    pub seconds: f64,
}

impl RichDisplay for Loaded {
    fn bundle(&self) -> Bundle {
        let line = format!(
            "Loaded {} on {} · {} in {} · {}",
            self.info.name,
            self.info.device,
            units::bytes(self.info.bytes),
            self.info.quantization,
            units::seconds(self.seconds)
        );
        // The bar stays, so that the output keeps its height when the last frame replaces the others.
        let html = format!(
            "<div><progress value=\"1\" max=\"1\"></progress> {}</div>",
            html::escape(&line)
        );
        rendered(line, html)
    }
}
