//! A text that the model host writes for a command, as it comes: in a widget with a button that stops it
//! where a front end shows widgets, else printed.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ::host::client;
use display::{LiveText, activity};
use jupyter::{CellError, Publisher, Stream};
use wire::{
    cell::KernelMessage,
    generate::Generated,
    host::{Event, Request, Response},
    mime::Bundle,
    widget::{WidgetAnswer, WidgetCall},
};

use super::{Commands, bar::Bar, host};
use crate::widgets::Widgets;

/// How often the button is looked at, and a request cancelled whose text is to end.
const LOOK: Duration = Duration::from_millis(50);

/// What became of a text.
pub(super) struct Written {
    /// The generation; of a text that the user stopped, what there is.
    pub generated: Generated,
    /// Whether the user stopped it by the button.
    pub is_stopped: bool,
}

/// Asks for one sequence and shows it while it comes. `name` is the model's, for the bar of its load.
pub(super) fn write(
    commands: &Commands,
    request: Request,
    name: &str,
    out: &Publisher,
) -> Result<Written, CellError> {
    let (answer, page) = ask(commands, request, name, out);
    let generated = answer.and_then(only);
    if let Some(page) = &page {
        page.close(generated.as_ref().ok());
    }
    Ok(Written {
        generated: generated?,
        is_stopped: page.is_some_and(|page| page.is_stopped()),
    })
}

/// The same of any request that brings a text: its answer, and the page that the text is on, which is still
/// to be closed. It is printed where there is none.
pub(super) fn ask<'a>(
    commands: &'a Commands,
    request: Request,
    name: &str,
    out: &'a Publisher,
) -> (Result<Response, CellError>, Option<Page<'a>>) {
    let mut bar = Bar::new(out, name);
    let is_shown = commands.widgets.has_front_end();
    let page = is_shown.then(|| Page::open(&commands.widgets, out));
    let answer = match &page {
        Some(page) => ask_for_page(commands, request, page, &mut bar),
        None => print(commands, request, &mut bar, out),
    };
    match &answer {
        Ok(_) => bar.finish(),
        Err(_) => bar.stop(),
    }
    (answer, page)
}

fn ask_for_page(
    commands: &Commands,
    request: Request,
    page: &Page<'_>,
    bar: &mut Bar<'_>,
) -> Result<Response, CellError> {
    let (socket, session) = (&commands.place.host_socket, &commands.place.session);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                page.tick();
                if page.is_stopped() {
                    // Again each time: the request may be on its way to the host. One that is gone has
                    // nothing left to stop.
                    let _ = client::cancel_session(socket, session);
                }
                thread::sleep(LOOK);
            }
        });
        let _over = Over(&is_over);
        host::ask(commands, request, &mut |event| match event {
            Event::Token(token) => page.text().push(&token.text, Instant::now()),
            other => {
                if let Event::Progress(news) = &other {
                    page.text().wait_for(activity(news));
                }
                bar.hear(other);
            }
        })
    })
}

fn print(
    commands: &Commands,
    request: Request,
    bar: &mut Bar<'_>,
    out: &Publisher,
) -> Result<Response, CellError> {
    let mut is_begun = false;
    let answer = host::ask(commands, request, &mut |event| match event {
        Event::Token(token) => {
            is_begun = true;
            out.stream(Stream::Stdout, &token.text);
        }
        other => bar.hear(other),
    });
    if is_begun {
        out.stream(Stream::Stdout, "\n");
    }
    answer
}

/// Ends the thread beside a request, also when what asks panics: the scope waits for it.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn only(response: Response) -> Result<Generated, CellError> {
    match response {
        Response::Generated(generated) => generated.into_iter().next().ok_or_else(host::unexpected),
        _ => Err(host::unexpected()),
    }
}

/// A text on the page.
pub(super) struct Page<'a> {
    text: Mutex<LiveText>,
    display_id: String,
    is_stopped: AtomicBool,
    widgets: &'a Widgets,
    out: &'a Publisher,
}

impl<'a> Page<'a> {
    fn open(widgets: &'a Widgets, out: &'a Publisher) -> Self {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let display_id = format!("warmcell-text-{id}");
        let text = LiveText::new(id, Instant::now());
        let (calls, bundle) = text.open();
        for call in calls {
            widgets.carry_out(call);
        }
        out.display(bundle, Some(&display_id));
        Self {
            text: Mutex::new(text),
            display_id,
            is_stopped: AtomicBool::new(false),
            widgets,
            out,
        }
    }

    fn text(&self) -> MutexGuard<'_, LiveText> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the button was pressed.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::SeqCst)
    }

    /// Draws what is due, and looks at the button.
    fn tick(&self) {
        let now = Instant::now();
        let mut text = self.text();
        let mut calls = Vec::new();
        if text.due() <= now {
            calls = text.frame(now);
        }
        if let Some(bundle) = text.renewed(now) {
            self.out.update_display(bundle, &self.display_id);
        }
        let is_new = self.is_pressed(&text) && !self.is_stopped.swap(true, Ordering::SeqCst);
        if is_new {
            calls.extend(text.stopping());
        }
        for call in calls {
            self.widgets.carry_out(call);
        }
    }

    fn is_pressed(&self, text: &LiveText) -> bool {
        let id = text.stop_button();
        matches!(
            self.widgets.carry_out(WidgetCall::Read { id }),
            KernelMessage::Widget(WidgetAnswer::State { clicks, .. }) if clicks > 0
        )
    }

    /// The finished text, or what there is of it.
    pub fn close(&self, generated: Option<&Generated>) {
        let (calls, bundle) = match generated {
            Some(generated) => self.text().finish(generated),
            None => self.text().fail(),
        };
        self.end(calls, bundle);
    }

    /// Something else in the text's place, and a line below the text where its widgets still show it.
    pub fn replace(&self, bundle: Bundle, summary: &str) {
        let (calls, _) = self.text().end(summary);
        self.end(calls, bundle);
    }

    fn end(&self, calls: Vec<WidgetCall>, bundle: Bundle) {
        for call in calls {
            self.widgets.carry_out(call);
        }
        self.out.update_display(bundle, &self.display_id);
    }
}
