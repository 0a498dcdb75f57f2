//! The bar that a load shows while it takes long. A load of what is resident shows nothing.

use std::{
    collections::BTreeSet,
    io::{IsTerminal, Write},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use ::display::{Loaded, Pace, RichDisplay};
use wire::host::{Progress, Request, Response};

use crate::{cell::kernel, show};

/// Loads that end before this show no bar.
const PATIENCE: Duration = Duration::from_millis(150);
/// About fifteen updates a second; the newest wins.
const INTERVAL: Duration = Duration::from_millis(67);

/// Shows how far a request is.
pub(crate) struct Watch {
    pace: Pace,
    started: Instant,
    /// When to look again although no event came; `None` once there is nothing to show any more.
    next_frame: Option<Instant>,
    is_stale: bool,
    is_generation: bool,
    output: Option<Output>,
}

enum Output {
    Display(show::LiveDisplay),
    Terminal,
}

impl Watch {
    pub fn new(request: &Request) -> Self {
        let now = Instant::now();
        // Only a request that loads has a bar: the others are short or show their own output.
        let name = match request {
            Request::LoadModel(spec)
            | Request::Generate { model: spec, .. }
            | Request::Forward { model: spec, .. }
            | Request::SaveModel { model: spec, .. }
            | Request::QuantizationReport { model: spec } => Some(&spec.source.repo),
            Request::RunPipeline(run) => Some(&run.model.source.repo),
            Request::LoadTokenizer(source) => Some(&source.repo),
            _ => None,
        };
        Self {
            pace: Pace::new(name.cloned().unwrap_or_default(), now),
            started: now,
            next_frame: matches!(
                request,
                Request::LoadModel(_)
                    | Request::SaveModel { .. }
                    | Request::QuantizationReport { .. }
            )
            .then(|| now + PATIENCE),
            is_stale: true,
            is_generation: matches!(request, Request::Generate { .. }),
            output: None,
        }
    }

    /// When [`Self::tick`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.next_frame.filter(|_| self.is_stale)
    }

    pub fn progress(&mut self, news: Progress) {
        self.pace.news(news, Instant::now());
        self.is_stale = true;
        // A generation that has to load first has a bar as soon as the load is news.
        let due = *self.next_frame.get_or_insert(self.started + PATIENCE);
        if Instant::now() >= due {
            self.tick();
        }
    }

    /// Draws the newest frame.
    pub fn tick(&mut self) {
        self.draw(&self.pace.progress(Instant::now()));
        self.next_frame = Some(Instant::now() + INTERVAL);
        self.is_stale = false;
    }

    /// A line for the user, where it does not get between a cell's results.
    /// What a generation has to say it says once a process, as transformers' `warning_once` does: in a loop
    /// it would be the same line each time.
    pub fn notice(&self, line: &str) {
        static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
        if self.is_generation {
            let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
            if !said.insert(line.to_owned()) {
                return;
            }
        }
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    /// The request is done: draws the last frame, if any was drawn, and shows no more.
    pub fn finish(&mut self, response: &Response) {
        match response {
            Response::Model(info) => self.end(&Loaded {
                info: info.clone(),
                seconds: self.started.elapsed().as_secs_f64(),
            }),
            _ => self.give_way(),
        }
    }

    /// What was loaded is at work: the last frame, and no more.
    pub fn give_way(&mut self) {
        match self.pace.loaded() {
            Some(loaded) => self.end(&loaded),
            None => self.end(&self.pace.progress(Instant::now())),
        }
    }

    /// It failed, or was ended: says where.
    pub fn stop(&mut self) {
        self.end(&self.pace.stopped());
    }

    fn end(&mut self, frame: &dyn RichDisplay) {
        self.next_frame = None;
        if self.output.is_none() {
            return;
        }
        self.draw(frame);
        // What comes later, every token among it, is not the bar's.
        if let Some(Output::Terminal) = self.output.take() {
            let _ = writeln!(std::io::stderr());
        }
    }

    fn draw(&mut self, frame: &dyn RichDisplay) {
        let bundle = frame.bundle();
        match &self.output {
            Some(Output::Display(live)) => drop(live.update(bundle)),
            Some(Output::Terminal) => draw_line(bundle.get("text/plain").unwrap_or_default()),
            None if kernel::is_connected() => {
                self.output = show::LiveDisplay::start(bundle).ok().map(Output::Display);
            }
            None if std::io::stderr().is_terminal() => {
                self.output = Some(Output::Terminal);
                draw_line(bundle.get("text/plain").unwrap_or_default());
            }
            None => {}
        }
    }
}

fn draw_line(line: &str) {
    // `ESC [ K` clears what a longer line left.
    let _ = write!(std::io::stderr(), "\r{line}\x1b[K");
}
