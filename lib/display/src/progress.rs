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
    started: Instant,
    /// When the last news came.
    newest: Instant,
    news: Option<Progress>,
}

impl Pace {
    /// Of a load of this name, before the first news.
    pub fn new(name: String, now: Instant) -> Self {
        Self {
            name,
            stage_started: now,
            stage_from: 0,
            started: now,
            newest: now,
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
        self.newest = now;
    }

    /// What was loaded on the way to something else, which is at work now or done; `None` where the last
    /// news was not of a load.
    pub fn loaded(&self) -> Option<LoadedOnTheWay> {
        let news = self.news.as_ref();
        let news = news.filter(|news| matches!(news.stage, Stage::Load | Stage::Quantize))?;
        let name = match self.name.as_str() {
            "" => &news.subject,
            name => name,
        };
        let took = self.newest.saturating_duration_since(self.started);
        Some(LoadedOnTheWay {
            name: name.to_owned(),
            bytes: news.total.unwrap_or(news.done),
            seconds: took.as_secs_f64(),
        })
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
            is_stopped: false,
        }
    }

    /// Where it was when it was stopped or failed. A load that was done is done: what failed came later.
    pub fn stopped(&self) -> LoadProgress {
        let is_done = |news: &Progress| {
            news.stage != Stage::Download && news.total.is_some_and(|total| news.done >= total)
        };
        LoadProgress {
            news: self.news.clone(),
            name: self.name.clone(),
            speed: None,
            is_stopped: !self.news.as_ref().is_some_and(is_done),
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
    /// It goes no further: it failed, or the user ended it.
    pub is_stopped: bool,
}

impl LoadProgress {
    fn line(&self) -> String {
        let Some(news) = &self.news else {
            let end = if self.is_stopped { "· stopped" } else { "…" };
            return format!("Loading {} {end}", self.name);
        };
        let verb = verb(news.stage);
        let done = units::bytes(news.done);
        let amount = match news.total {
            Some(total) if total > 0 => {
                let percent = (news.done.min(total) as f64 / total as f64 * 100.0) as u64;
                format!("{percent} % · {done} of {}", units::bytes(total))
            }
            _ => done,
        };
        if self.is_stopped {
            return format!("{verb} {} · stopped at {amount}", news.subject);
        }
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

/// What is being done in a stage.
fn verb(stage: Stage) -> &'static str {
    match stage {
        Stage::Download => "Downloading",
        Stage::Verify => "Checking",
        Stage::Load => "Loading",
        Stage::Quantize => "Quantising",
        Stage::Save => "Saving",
        Stage::Compare => "Comparing",
    }
}

/// A few words on what is being done, for a line beside something else; `None` once it is done.
pub fn activity(news: &Progress) -> Option<String> {
    let verb = verb(news.stage).to_lowercase();
    let percent = news.total.filter(|&total| total > 0).map(|total| {
        let percent = news.done.min(total) as f64 / total as f64 * 100.0;
        percent as u64
    });
    let is_last = matches!(news.stage, Stage::Load | Stage::Quantize);
    match percent {
        Some(100) if is_last => None,
        Some(percent) => Some(format!("{verb} {} · {percent} %", news.subject)),
        None => Some(format!("{verb} {}", news.subject)),
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
        let took = if self.info.was_resident {
            format!("{:.1} ms: it was in memory", self.seconds * 1e3)
        } else {
            units::seconds(self.seconds)
        };
        let line = format!(
            "Loaded {} on {} · {} in {} · {took}",
            self.info.name,
            self.info.device,
            units::bytes(self.info.bytes),
            self.info.quantization,
        );
        done(line)
    }
}

/// The same of a load that nobody asked for in itself, of which less is known.
#[derive(Clone, Debug)]
pub struct LoadedOnTheWay {
    name: String,
    bytes: u64,
    seconds: f64,
}

impl RichDisplay for LoadedOnTheWay {
    fn bundle(&self) -> Bundle {
        let (bytes, seconds) = (units::bytes(self.bytes), units::seconds(self.seconds));
        done(format!("Loaded {} · {bytes} · {seconds}", self.name))
    }
}

/// The bar stays, so that the output keeps its height when the last frame replaces the others.
fn done(line: String) -> Bundle {
    let html = format!(
        "<div><progress value=\"1\" max=\"1\"></progress> {}</div>",
        html::escape(&line)
    );
    rendered(line, html)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(stage: Stage, done: u64) -> Progress {
        Progress {
            stage,
            subject: "model.safetensors".to_owned(),
            done,
            total: Some(2000),
        }
    }

    #[test]
    fn a_bar_says_where_it_was_stopped() {
        let start = Instant::now();
        let mut pace = Pace::new("a/b".to_owned(), start);
        let line = |progress: LoadProgress| progress.bundle().get("text/plain").map(str::to_owned);
        assert_eq!(
            line(pace.stopped()).as_deref(),
            Some("Loading a/b · stopped")
        );
        pace.news(news(Stage::Download, 0), start);
        let later = start + Duration::from_secs(2);
        pace.news(news(Stage::Download, 860), later);
        let running = line(pace.progress(later)).unwrap_or_default();
        assert!(running.contains("430 B/s · 2.65 s left"), "{running}");
        assert_eq!(
            line(pace.stopped()).as_deref(),
            Some("Downloading model.safetensors · stopped at 43 % · 860 B of 2.0 kB")
        );
        let html = pace.stopped().bundle();
        let html = html.get("text/html").unwrap_or_default();
        assert!(html.contains("value=\"860\" max=\"2000\""), "{html}");
        pace.news(news(Stage::Load, 2000), later);
        let done = line(pace.stopped()).unwrap_or_default();
        assert!(
            done.starts_with("Loading model.safetensors · 100 %"),
            "{done}"
        );
    }

    /// It stayed at "Loading … · 100 %" under the answer.
    #[test]
    fn a_load_on_the_way_to_an_answer_ends_as_loaded() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let mut pace = Pace::new("a/b".to_owned(), start);
        assert!(pace.loaded().is_none());
        pace.news(news(Stage::Download, 2000), after(100));
        assert!(pace.loaded().is_none());
        pace.news(news(Stage::Load, 2000), after(300));
        let bundle = pace.loaded().map(|loaded| loaded.bundle());
        let bundle = bundle.unwrap_or_default();
        assert_eq!(
            bundle.get("text/plain"),
            Some("Loaded a/b · 2.0 kB · 0.30 s")
        );
        pace.news(news(Stage::Save, 2000), after(400));
        assert!(pace.loaded().is_none());
    }

    #[test]
    fn what_is_done_is_no_activity() {
        let words = |stage, done| activity(&news(stage, done));
        let some = |words: &str| Some(words.to_owned());
        assert_eq!(
            words(Stage::Download, 2000),
            some("downloading model.safetensors · 100 %")
        );
        assert_eq!(
            words(Stage::Load, 20),
            some("loading model.safetensors · 1 %")
        );
        assert_eq!(words(Stage::Load, 2000), None);
    }
}
