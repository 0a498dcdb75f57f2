//! The bar of a command that loads or downloads, which becomes the line that says it is done, or where it
//! stopped.

use std::time::{Duration, Instant};

use display::{Loaded, Pace, RichDisplay};
use jupyter::{CellError, Publisher, Stream};
use wire::{
    host::{Event, Progress, Request, Response},
    mime::Bundle,
    model::ModelInfo,
};

use super::{Commands, host};

/// Fifteen frames a second; the last is always drawn.
const INTERVAL: Duration = Duration::from_millis(67);

/// A bar.
pub(super) struct Bar<'a> {
    out: &'a Publisher,
    pace: Pace,
    display_id: String,
    started: Instant,
    drawn: Option<Instant>,
    /// There is news since the last frame.
    is_stale: bool,
}

impl<'a> Bar<'a> {
    /// One that shows nothing yet. `name` is what was asked for.
    pub fn new(out: &'a Publisher, name: &str) -> Self {
        Self {
            out,
            pace: Pace::new(name.to_owned(), Instant::now()),
            display_id: format!("warmcell-load-{}", uuid::Uuid::new_v4()),
            started: Instant::now(),
            drawn: None,
            is_stale: false,
        }
    }

    /// Asks the model host, and shows meanwhile how far it is and what it has to say.
    pub fn ask(&mut self, commands: &Commands, request: Request) -> Result<Response, CellError> {
        let answer = host::ask(commands, request, &mut |event| self.hear(event));
        match &answer {
            // [`Self::loaded`] has the last frame.
            Ok(Response::Model(_)) => {}
            Ok(_) => self.finish(),
            Err(_) => self.stop(),
        }
        answer
    }

    /// Takes what comes before the answer; tokens are not its matter.
    pub fn hear(&mut self, event: Event) {
        match event {
            Event::Progress(news) => self.draw(news),
            Event::Notice(line) => self.out.stream(Stream::Stderr, &format!("{line}\n")),
            _ => {}
        }
    }

    /// Whether it shows anything.
    pub fn is_drawn(&self) -> bool {
        self.drawn.is_some()
    }

    /// The last frame, if it shows anything: what was loaded on the way, or what was not drawn yet.
    pub fn finish(&mut self) {
        match self.pace.loaded() {
            Some(loaded) => {
                self.is_stale = false;
                self.show(loaded.bundle());
            }
            None => self.draw_newest(),
        }
    }

    fn draw_newest(&mut self) {
        if std::mem::take(&mut self.is_stale) {
            self.show(self.pace.progress(Instant::now()).bundle());
        }
    }

    /// Says where it stopped, if it shows anything.
    pub fn stop(&mut self) {
        self.is_stale = false;
        if self.is_drawn() {
            self.show(self.pace.stopped().bundle());
        }
    }

    /// What was loaded, in the bar's place.
    pub fn loaded(&mut self, info: ModelInfo) {
        let seconds = self.started.elapsed().as_secs_f64();
        self.show(Loaded { info, seconds }.bundle());
    }

    fn draw(&mut self, news: Progress) {
        self.pace.news(news, Instant::now());
        self.is_stale = true;
        if self.drawn.is_none_or(|drawn| drawn.elapsed() >= INTERVAL) {
            self.draw_newest();
        }
    }

    fn show(&mut self, bundle: Bundle) {
        if self.drawn.replace(Instant::now()).is_none() {
            self.out.display(bundle, Some(&self.display_id));
        } else {
            self.out.update_display(bundle, &self.display_id);
        }
    }
}
