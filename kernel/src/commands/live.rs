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
use display::LiveText;
use jupyter::{CellError, Publisher, Stream};
use wire::{
    cell::KernelMessage,
    generate::Generated,
    host::{Event, Request, Response},
    widget::{WidgetAnswer, WidgetCall},
};

use super::{Commands, host, load::Bar};
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
    let widgets = &commands.widgets;
    if !widgets.has_front_end() {
        return print(commands, request, name, out);
    }
    let page = Page::open(widgets, out);
    let (socket, session) = (&commands.place.host_socket, &commands.place.session);
    let is_over = AtomicBool::new(false);
    let mut bar = Bar::new(out, name.to_owned());
    let answer = thread::scope(|scope| {
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
            other => news(other, &mut bar, out),
        })
    });
    let generated = answer.and_then(only);
    page.close(generated.as_ref().ok());
    Ok(Written {
        generated: generated?,
        is_stopped: page.is_stopped(),
    })
}

fn print(
    commands: &Commands,
    request: Request,
    name: &str,
    out: &Publisher,
) -> Result<Written, CellError> {
    let mut bar = Bar::new(out, name.to_owned());
    let answer = host::ask(commands, request, &mut |event| match event {
        Event::Token(token) => out.stream(Stream::Stdout, &token.text),
        other => news(other, &mut bar, out),
    });
    out.stream(Stream::Stdout, "\n");
    Ok(Written {
        generated: only(answer?)?,
        is_stopped: false,
    })
}

fn news(event: Event, bar: &mut Bar<'_>, out: &Publisher) {
    match event {
        Event::Progress(news) => bar.draw(news),
        Event::Notice(line) => out.stream(Stream::Stderr, &format!("{line}\n")),
        _ => {}
    }
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
struct Page<'a> {
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
    fn is_stopped(&self) -> bool {
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

    fn close(&self, generated: Option<&Generated>) {
        let (calls, bundle) = match generated {
            Some(generated) => self.text().finish(generated),
            None => self.text().fail(),
        };
        for call in calls {
            self.widgets.carry_out(call);
        }
        self.out.update_display(bundle, &self.display_id);
    }
}
